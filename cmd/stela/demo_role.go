package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services"
)

// newDemoRole runs one order service; the tour starts one process of it per role.
func newDemoRole(g *general) *cobra.Command {
	var data, address string
	cmd := &cobra.Command{
		Use:     "demo-role ROLE",
		Short:   "Run one of the tour's order services",
		Example: "  stela demo-role payment --data /tmp/shop --address 127.0.0.1:8088",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			logger, err := command.NewLogger(g.Err, "info", "text")
			if err != nil {
				return err
			}
			opening := services.DefaultOpening()
			opening[scarceArticle] = scarceStock
			err = services.Run(cmd.Context(), services.Config{
				Client: g.libraryConfig(), Data: data, Address: address, Roles: args, Opening: opening, Logger: logger,
				Fatal: func(err error) { os.Exit(report(g.Err, nil, err)) },
			})
			if err != nil {
				return fmt.Errorf("service %s: %w", args[0], err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&data, "data", services.DefaultData, "the `folder` of the services' databases")
	flags.StringVar(&address, "address", services.DefaultAddress, "the `address` of the shop's gateway; the others follow")
	return cmd
}
