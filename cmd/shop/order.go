package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/query"
)

type submit struct {
	*general

	skus       []string
	quantities []int64
	customer   string
	id         string
	key        string
	method     string
	wait       bool
}

func newSubmit(g *general) *cobra.Command {
	s := &submit{general: g}
	cmd := &cobra.Command{
		Use:   "submit",
		Short: "Place an order",
		Long: `Place an order and say which one it is. It is accepted when it is in the log, not
when the services have seen it. The same --key, or the same --id, places it once,
however often it is sent.`,
		Example: `  shop submit --sku BOOK --qty 2
  shop submit --sku BOOK --sku LAMP --qty 1 --qty 3 --customer ada --wait
  shop submit --id 9827 --sku A --method declined`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&s.skus, "sku", nil, "`article`; repeat it for more lines")
	flags.Int64SliceVar(&s.quantities, "qty", nil, "`pieces` of the article at the same place (default 1)")
	flags.StringVar(&s.customer, "customer", "me", "`customer` who orders")
	flags.StringVar(&s.id, "id", "", "the order's `id` (default one that follows from customer and key)")
	flags.StringVar(&s.key, "key", "", "idempotency `key` (default a new one)")
	flags.StringVar(&s.method, "method", "card", "`payment method`; one that begins with \"declined\" is refused")
	flags.BoolVar(&s.wait, "wait", false, "wait at most 30 s until the order has come to an end, and show it")
	return cmd
}

func (s *submit) run(cmd *cobra.Command) error {
	if len(s.skus) == 0 {
		return command.Usagef("what is to be ordered? give --sku")
	}
	if len(s.quantities) > len(s.skus) {
		return command.Usagef("%d --qty for %d --sku; give one of each per line", len(s.quantities), len(s.skus))
	}
	order := gateway.NewOrder{OrderID: s.id, CustomerID: s.customer, PaymentMethod: s.method}
	for i, sku := range s.skus {
		line := gateway.NewLine{SKU: sku, Quantity: 1}
		if i < len(s.quantities) {
			line.Quantity = s.quantities[i]
		}
		order.Lines = append(order.Lines, line)
	}
	if s.key == "" && s.id == "" {
		s.key = uuid.NewString()
	}
	var accepted gateway.Accepted
	var token string
	err := s.ask(cmd, func(ctx context.Context, c *gateway.Client) (err error) {
		accepted, token, err = c.Submit(ctx, order, s.key)
		return err
	})
	if err != nil {
		return err
	}
	if s.wait {
		return s.show(cmd, accepted.OrderID, gateway.Look{Token: token, Until: query.Shipped, Wait: query.MaxWait})
	}
	t := &command.Table{Head: []string{"ORDER", "STATUS"}}
	t.Add(accepted.OrderID, accepted.Status)
	return s.print(accepted, t)
}

// show prints an order. That it has not come to the state that was waited for is an error.
func (g *general) show(cmd *cobra.Command, id string, look gateway.Look) error {
	var view query.View
	err := g.askFor(cmd, look.Wait+answerTimeout, func(ctx context.Context, c *gateway.Client) (err error) {
		view, err = c.Order(ctx, id, look)
		return err
	})
	if err == nil {
		err = g.print(view, orderTable(view))
	}
	if err == nil && look.Until != "" && view.Status != look.Until && !query.IsFinal(view.Status) {
		err = command.Advise(fmt.Errorf("order %s is %s after %s", id, view.Status, look.Wait),
			"wait on with 'shop get %s --until %s --wait %s'; 'shop status' says what is slow", id, look.Until, query.MaxWait)
	}
	return err
}

func orderTable(v query.View) *command.Table {
	t := &command.Table{}
	row := func(name, value string) {
		if value != "" {
			t.Add(name, value)
		}
	}
	money := func(m *query.Money) string {
		if m == nil {
			return ""
		}
		return event.FormatMinor(m.Minor, m.Currency)
	}
	row("order", v.OrderID)
	row("status", v.Status)
	row("reason", v.Reason)
	row("customer", v.CustomerID)
	for _, line := range v.Lines {
		row("line", strings.TrimSpace(fmt.Sprintf("%d × %s  %s", line.Quantity, line.SKU, money(line.UnitPrice))))
	}
	row("total", money(v.Total))
	if p := v.Payment; p != nil {
		row("captured", money(p.Captured))
		row("refunded", money(p.Refunded))
	}
	if s := v.Stock; s != nil {
		row("stock", s.State+" in "+s.Warehouse)
		for _, m := range s.Missing {
			row("missing", fmt.Sprintf("%s: %d wanted, %d available", m.SKU, m.Wanted, m.Available))
		}
	}
	if s := v.Shipment; s != nil {
		row("shipment", strings.Join(slices.DeleteFunc([]string{s.State, s.Carrier, s.TrackingNo}, func(part string) bool { return part == "" }), " "))
	}
	if v.Submitted != nil {
		row("submitted", v.Submitted.Local().Format("2006-01-02 15:04:05.000"))
	}
	if v.Updated != nil {
		row("updated", v.Updated.Local().Format("2006-01-02 15:04:05.000"))
	}
	return t
}

func newGet(g *general) *cobra.Command {
	var at string
	var version int64
	var until string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "get ORDER",
		Short: "Show an order, as it is or as it was",
		Example: `  shop get 9827
  shop get 9827 --until SHIPPED --wait 10s
  shop get 9827 --at 2026-11-22T10:00:00Z
  shop get 9827 --version 1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			look := gateway.Look{Until: until, Wait: wait, Version: version}
			if at != "" {
				var err error
				if look.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
					return command.Usagef("--at %q is not a time such as 2026-11-22T10:00:00Z", at)
				}
			}
			if until != "" && !slices.Contains(query.Statuses(), until) {
				return command.Usagef("--until is %q; use one of %s", until, strings.Join(query.Statuses(), ", "))
			}
			if wait < 0 || wait > query.MaxWait {
				return command.Usagef("--wait is %s; use at most %s", wait, query.MaxWait)
			}
			return g.show(cmd, args[0], look)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&at, "at", "", "as it was at this `time` (RFC 3339)")
	flags.Int64Var(&version, "version", 0, "as it was after its first `n` events in order-events")
	flags.StringVar(&until, "until", "", "wait until it has come to this `status`, or to an end")
	flags.DurationVar(&wait, "wait", 2*time.Second, "how long to wait for --until, at most 30s")
	return cmd
}

func newHistory(g *general) *cobra.Command {
	return &cobra.Command{
		Use:   "history ORDER",
		Short: "Show all events of an order, read from the log by key",
		Long: `Show all events of an order, over all services, causes before effects. They are
read from the log, stream by stream.`,
		Example: `  shop history 9827
  shop history 9827 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var events []gateway.HistoryEvent
			var warning string
			err := g.ask(cmd, func(ctx context.Context, c *gateway.Client) (err error) {
				events, warning, err = c.History(ctx, args[0])
				return err
			})
			if err != nil {
				return err
			}
			if warning != "" {
				fmt.Fprintf(g.Err, "shop: %s; look at 'shop status' and ask again\n", command.OneLine(warning))
			}
			t := &command.Table{Head: []string{"TIME", "TOPIC", "VERSION", "EVENT", "CAUSED BY"}}
			types := map[string]string{}
			for _, e := range events {
				types[e.ID] = e.Type
				cause := types[e.Causation]
				if e.Causation == e.ID {
					cause = ""
				}
				t.Add(e.Time.Local().Format("15:04:05.000"), e.Topic, e.Sequence, e.Type, cause)
			}
			return g.print(events, t)
		},
	}
}
