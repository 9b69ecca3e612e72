package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/cmd/internal/command"
)

func newGroupDelete(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "delete GROUP...",
		Short:   "Delete groups without members and their committed offsets",
		Example: "  stela group delete audit",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			answers, err := adm.DeleteGroups(cmd.Context(), args...)
			if err != nil {
				return fmt.Errorf("delete groups: %w", err)
			}
			t := &command.Table{Head: []string{"GROUP", "STATUS"}}
			for _, name := range args {
				answer, ok := answers[name]
				if !ok {
					answer.Err = kerr.GroupIDNotFound
				}
				if answer.Err != nil {
					return fmt.Errorf("delete group %s: %w", name, answer.Err)
				}
				t.Add(name, "deleted")
			}
			return g.print(map[string]any{"deleted": args}, t)
		},
	}
}
