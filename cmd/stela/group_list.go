package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

type listedGroup struct {
	Group       string `json:"group"`
	State       string `json:"state"`
	Protocol    string `json:"protocol"`
	Coordinator int32  `json:"coordinator"`
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
			t := &command.Table{Head: []string{"GROUP", "STATE", "PROTOCOL", "COORDINATOR"}}
			for _, group := range groups.Sorted() {
				listed = append(listed, listedGroup{Group: group.Group, State: group.State, Protocol: group.ProtocolType, Coordinator: group.Coordinator})
				t.Add(group.Group, group.State, group.ProtocolType, group.Coordinator)
			}
			return g.print(listed, t)
		},
	}
}
