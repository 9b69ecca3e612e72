package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

func newTopicDelete(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "delete TOPIC...",
		Short:   "Delete topics and all their records",
		Example: "  stela topic delete trial",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			answers, err := adm.DeleteTopics(cmd.Context(), args...)
			if err != nil {
				return fmt.Errorf("delete topics: %w", err)
			}
			t := &command.Table{Head: []string{"TOPIC", "STATUS"}}
			for _, name := range args {
				answer := answers[name]
				if answer.Err != nil {
					return fmt.Errorf("delete topic %s: %w", name, firstFailure(answer.Err, answer.ErrMessage))
				}
				t.Add(name, "deleted")
			}
			return g.print(map[string]any{"deleted": args}, t)
		},
	}
}
