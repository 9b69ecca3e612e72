package main

import "github.com/spf13/cobra"

func newCluster(g *general) *cobra.Command {
	return parent("cluster", "Run a local cluster or look at one", newClusterUp(g), newClusterStatus(g))
}
