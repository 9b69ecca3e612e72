package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/bench"
	"github.com/stela-db/stela/cmd/internal/command"
)

func newBenchReport(g *general) *cobra.Command {
	var out, page string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Make a page, a CSV file and plots of the results",
		Long: `Make a Markdown page of the results in --out, with the targets that were reached
and missed, and beside the results a CSV file and SVG plots of latency, throughput
and memory. Of each workload the newest benchmark counts.`,
		Example: `  stela bench report
  stela bench report --out /tmp/results --page /tmp/results/RESULTS.md`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			written, err := bench.Report(out, page)
			if err != nil {
				return command.Advise(err, "'stela bench run' makes results")
			}
			t := &command.Table{}
			for _, file := range written {
				t.Add(file)
			}
			return g.print(written, t)
		},
	}
	cmd.Flags().StringVar(&out, "out", benchFolder, "the `folder` with the results")
	cmd.Flags().StringVar(&page, "page", filepath.Join("bench", "RESULTS.md"), "the `file` for the page")
	return cmd
}
