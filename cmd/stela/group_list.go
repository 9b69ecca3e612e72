package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

type listedGroup struct {
	Group       string `json:"group" yaml:"group"`
	State       string `json:"state" yaml:"state"`
	Protocol    string `json:"protocol" yaml:"protocol"`
	Coordinator int32  `json:"coordinator" yaml:"coordinator"`
}

func newGroupList(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List consumer groups",
		Example: "  stela group list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			groups, err := adm.ListGroups(cmd.Context())
			if err != nil {
				return fmt.Errorf("list groups: %w", err)
			}
			listed := []listedGroup{}
			t := &table{head: []string{"GROUP", "STATE", "PROTOCOL", "COORDINATOR"}}
			for _, group := range groups.Sorted() {
				listed = append(listed, listedGroup{Group: group.Group, State: group.State, Protocol: group.ProtocolType, Coordinator: group.Coordinator})
				t.add(group.Group, group.State, group.ProtocolType, group.Coordinator)
			}
			return g.print(listed, t)
		},
	}
}
