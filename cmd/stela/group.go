package main

import "github.com/spf13/cobra"

func newGroup(g *general) *cobra.Command {
	return parent("group", "Show, move and delete consumer groups",
		newGroupList(g), newGroupDescribe(g), newGroupSeek(g), newGroupDelete(g))
}
