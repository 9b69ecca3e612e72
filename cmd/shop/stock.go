package main

import (
	"context"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/inventory"
	"github.com/stela-db/stela/services/query"
)

func newStock(g *general) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stock",
		Short: "Receive goods and show what is there",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStockReceive(g), newStockShow(g))
	return cmd
}

func newStockReceive(g *general) *cobra.Command {
	var reference string
	cmd := &cobra.Command{
		Use:   "receive ARTICLE PIECES",
		Short: "Receive goods into the warehouse",
		Long:  "Receive goods into the warehouse. The same --ref counts once, however often it is sent.",
		Example: `  shop stock receive BOOK 100
  shop stock receive BOOK 100 --ref delivery-17`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			pieces, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || pieces < 1 {
				return command.Usagef("%q is no number of pieces from 1", args[1])
			}
			if reference == "" {
				reference = uuid.NewString()
			}
			var received inventory.Received
			err = g.ask(cmd, func(ctx context.Context, c *gateway.Client) (err error) {
				received, err = c.Receive(ctx, args[0], pieces, reference)
				return err
			})
			if err != nil {
				return err
			}
			t := &command.Table{Head: []string{"ARTICLE", "RECEIVED", "WAREHOUSE", "REFERENCE", "BEFORE"}}
			t.Add(received.SKU, received.Quantity, received.Warehouse, received.Reference, map[bool]string{true: "yes", false: "no"}[received.Duplicate])
			return g.print(received, t)
		},
	}
	cmd.Flags().StringVar(&reference, "ref", "", "`reference` of the delivery (default a new one)")
	return cmd
}

func newStockShow(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "show [ARTICLE...]",
		Short:   "Show what is available, reserved and gone",
		Example: "  shop stock show\n  shop stock show BOOK LAMP",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var stock []query.StockView
			err := g.ask(cmd, func(ctx context.Context, c *gateway.Client) (err error) {
				stock, err = c.Stock(ctx)
				return err
			})
			if err != nil {
				return err
			}
			if len(args) > 0 {
				stock = slices.DeleteFunc(stock, func(s query.StockView) bool { return !slices.Contains(args, s.SKU) })
			}
			t := &command.Table{Head: []string{"ARTICLE", "WAREHOUSE", "AVAILABLE", "RESERVED", "COMMITTED"}}
			for _, s := range stock {
				t.Add(s.SKU, s.Warehouse, s.Available, s.Reserved, s.Committed)
			}
			return g.print(stock, t)
		},
	}
}
