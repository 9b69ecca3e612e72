package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services/gateway"
)

func newStatus(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show how the services are and how far behind",
		Example: "  shop status\n  shop status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var status gateway.Status
			err := g.ask(cmd, func(ctx context.Context, c *gateway.Client) (err error) {
				status, err = c.Status(ctx)
				return err
			})
			if err != nil {
				return err
			}
			t := &command.Table{Head: []string{"SERVICE", "STATE", "LAG", "SECONDS", "ASIDE", "DETAIL"}}
			for _, s := range status.Services {
				lag := fmt.Sprint(s.LagEvents)
				if s.LagEvents < 0 {
					lag = "?"
				}
				t.Add(s.Service, s.State, lag, fmt.Sprintf("%.1f", s.LagSeconds), s.Aside, s.Detail)
			}
			log := &command.Table{}
			log.Add("log", status.Log)
			return g.print(status, t, log)
		},
	}
}
