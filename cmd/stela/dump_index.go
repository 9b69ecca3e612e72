package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
)

type indexRow struct {
	Kind string `json:"kind"`
	Row  string `json:"row"`
}

func newDumpIndex(g *general) *cobra.Command {
	var kinds []string
	cmd := &cobra.Command{
		Use:   "index FOLDER",
		Short: "Print the rows of a stopped node's index",
		Long: `Print the rows of a stopped node's index: FOLDER is the node's data folder or
the folder index in it. The index can be deleted: it comes back from the log.`,
		Example: `  stela dump index /var/lib/stela
  stela dump index stela-data --kind run --kind applied -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return g.dumpIndex(args[0], kinds) },
	}
	cmd.Flags().StringArrayVar(&kinds, "kind", nil, "only rows of this `kind`: applied, epoch, owner, run, segment, state or version; may be repeated")
	return cmd
}

func (g *general) dumpIndex(folder string, kinds []string) error {
	if inside := filepath.Join(folder, "index"); isFolder(inside) {
		folder = inside
	}
	if !isFolder(folder) {
		return command.Advise(fmt.Errorf("no index in %s", folder), "name a node's data folder")
	}
	out := bufio.NewWriter(g.Out)
	err := index.Dump(log.OSFS(), folder, func(row index.Row) error {
		if len(kinds) > 0 && !slices.Contains(kinds, row.Kind) {
			return nil
		}
		return command.PrintOne(out, g.Output, indexRow{Kind: row.Kind, Row: row.Text}, func() error {
			_, err := fmt.Fprintf(out, "%-8s %s\n", row.Kind, row.Text)
			return err
		})
	})
	if errors.Is(err, syscall.EAGAIN) { // somebody holds Pebble's lock
		err = command.Advise(err, "stop the node first")
	}
	return firstError(err, out.Flush())
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
