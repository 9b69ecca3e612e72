package bench

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// plotsFolder lies beside the page.
const plotsFolder = "plots"

// Report makes a Markdown page of the results in folder, and beside it plots and a CSV file
// of all runs. It returns what it wrote.
func Report(folder, page string) ([]string, error) {
	environments, results, err := ReadResults(folder)
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("%s has no results", filepath.Join(folder, ResultsFile))
	}
	rows := rowsOf(results)
	plots := filepath.Join(filepath.Dir(page), plotsFolder)
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for plots: %w", err)
	}
	var written []string
	write := func(path string, text []byte) error {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		written = append(written, path)
		return nil
	}
	plotted := map[string]string{}
	for _, config := range configsOf(rows) {
		drawing := plotWorkload(config, rows)
		if drawing == nil {
			continue
		}
		name := config.ID + ".svg"
		plotted[config.ID] = plotsFolder + "/" + name
		if err := write(filepath.Join(plots, name), drawing); err != nil {
			return written, err
		}
	}
	table, err := tabulate(results)
	if err != nil {
		return written, err
	}
	if err := write(filepath.Join(plots, "runs.csv"), table); err != nil {
		return written, err
	}
	return written, write(page, renderPage(environments, rows, plotted))
}

// configsOf returns the workloads of rows, in the order of Workloads.
func configsOf(rows []*row) []Config {
	var all []Config
	for _, config := range Workloads() {
		i := slices.IndexFunc(rows, func(r *row) bool { return r.workload == config.ID })
		if i >= 0 {
			all = append(all, rows[i].config)
		}
	}
	return all
}

// tabulate renders every run with all its figures as CSV.
func tabulate(results []Result) ([]byte, error) {
	names := map[string]bool{}
	for _, result := range results {
		for name := range result.Figures {
			names[name] = true
		}
	}
	var figures []string
	for name := range names {
		figures = append(figures, name)
	}
	slices.Sort(figures)
	var text bytes.Buffer
	table := csv.NewWriter(&text)
	records := [][]string{slices.Concat([]string{"workload", "part", "peer", "version", "pair", "quick", "began", "failed"}, figures)}
	for _, r := range results {
		record := []string{
			r.Workload, r.Part, r.Peer, r.Version, strconv.Itoa(r.Pair), strconv.FormatBool(r.Quick),
			r.Began.UTC().Format(time.RFC3339), r.Failed,
		}
		for _, name := range figures {
			cell := ""
			if value, ok := r.Figures[name]; ok {
				cell = strconv.FormatFloat(value, 'g', 6, 64)
			}
			record = append(record, cell)
		}
		records = append(records, record)
	}
	if err := table.WriteAll(records); err != nil {
		return nil, fmt.Errorf("render the table of runs: %w", err)
	}
	return text.Bytes(), nil
}
