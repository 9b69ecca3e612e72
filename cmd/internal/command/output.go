package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// A Table is what -o table prints: a heading and rows.
type Table struct {
	Head []string
	Rows [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = fmt.Sprint(cell)
	}
	t.Rows = append(t.Rows, row)
}

// Write draws the table.
func (t *Table) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(t.Head) > 0 {
		fmt.Fprintln(tw, strings.Join(t.Head, "\t"))
	}
	for _, row := range t.Rows {
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return tw.Flush()
}

// CheckFormat refuses what Print does not know.
func CheckFormat(format string) error {
	switch format {
	case "table", "json", "yaml":
		return nil
	}
	return Usagef("--output is %q; use table, json or yaml", strings.TrimSpace(format))
}

// Print writes value as format says: json, yaml, or the tables that draw it for people.
func Print(w io.Writer, format string, value any, tables ...*Table) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case "yaml":
		return printYAML(w, value)
	}
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := t.Write(w); err != nil {
			return err
		}
	}
	return nil
}

// PrintOne writes one value of many as they come: a line of json, a document of yaml, or what
// text writes for people.
func PrintOne(w io.Writer, format string, value any, text func() error) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	case "yaml":
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return printYAML(w, value)
	}
	return text()
}

// printYAML writes value with the names that its JSON has.
func printYAML(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	var document yaml.Node // JSON is YAML, and a node keeps the order of its keys
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	block(&document)
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return encoder.Close()
}

// block drops JSON's braces and quotes.
func block(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		block(child)
	}
}
