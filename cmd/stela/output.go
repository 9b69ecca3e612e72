package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// A table is what -o table prints: a heading and rows.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = fmt.Sprint(cell)
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(t.head) > 0 {
		fmt.Fprintln(tw, strings.Join(t.head, "\t"))
	}
	for _, row := range t.rows {
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return tw.Flush()
}

// print writes value as the chosen format says; tables draw it for people.
func (g *general) print(value any, tables ...*table) error {
	switch g.Output {
	case "json":
		encoder := json.NewEncoder(g.Out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case "yaml":
		encoder := yaml.NewEncoder(g.Out)
		encoder.SetIndent(2)
		if err := encoder.Encode(value); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		return encoder.Close()
	}
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(g.Out)
		}
		if err := t.write(g.Out); err != nil {
			return err
		}
	}
	return nil
}
