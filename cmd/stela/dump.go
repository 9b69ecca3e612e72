package main

import "github.com/spf13/cobra"

func newDump(g *general) *cobra.Command {
	return parent("dump", "Look into the files of a stopped node; nothing is changed",
		newDumpSegment(g), newDumpIndex(g))
}
