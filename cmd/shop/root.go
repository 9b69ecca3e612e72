package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

const (
	// answerTimeout bounds one question to a service.
	answerTimeout = 15 * time.Second
	environment   = "SHOP_"
)

// general holds the flags that every command has.
type general struct {
	terminal

	Brokers []string
	HTTP    []string
	Gateway string
	Data    string
	Output  string
}

func newRoot(t terminal) *cobra.Command {
	g := &general{terminal: t}
	root := &cobra.Command{
		Use:   "shop",
		Short: "Order services on a Stela event log",
		Long: `Shop runs order, payment, inventory, shipping, query and gateway on a Stela event
log, each with a private database that can be deleted and comes back from the log.

Every flag is also a key of the YAML file named by --config, and an environment
variable: --data is SHOP_DATA. The command line wins over the environment, the
environment over the file.`,
		Example: `  stela serve &                          a log on this machine
  shop up &                              all services
  shop submit --sku BOOK --qty 2 --wait  an order, and what becomes of it
  shop history 9827                      its events, read from the log by key
  shop rebuild --all --verify            every state from offset 0, compared with the live one`,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return command.Usage(err) })
	flags := root.PersistentFlags()
	flags.String("config", "", "YAML `file` with flags as keys")
	flags.StringSliceVarP(&g.Brokers, "brokers", "b", []string{client.DefaultBroker}, "Kafka `addresses` of the log, comma separated")
	flags.StringSliceVar(&g.HTTP, "http", []string{client.DefaultHTTP}, "HTTP `addresses` of the log's nodes, comma separated")
	flags.StringVar(&g.Gateway, "gateway", services.DefaultAddress, "`address` of the gateway; the other services have the following ports")
	flags.StringVar(&g.Data, "data", services.DefaultData, "`folder` of the services' folders")
	flags.StringVarP(&g.Output, "output", "o", "table", "table, json or yaml")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := command.ApplySettings(cmd, environment, t.Getenv); err != nil {
			return err
		}
		return command.CheckFormat(g.Output)
	}
	root.AddCommand(newUp(g), newSubmit(g), newGet(g), newHistory(g), newStock(g), newStatus(g), newDigest(g), newRebuild(g))
	command.CheckArguments(root)
	return root
}

func (g *general) print(value any, tables ...*command.Table) error {
	return command.Print(g.Out, g.Output, value, tables...)
}

// config is the shop's, as the flags say.
func (g *general) config() services.Config {
	return services.Config{
		Client: client.Config{Brokers: g.Brokers, HTTP: g.HTTP, ClientID: "shop"}, Data: g.Data, Address: g.Gateway,
	}
}

// ask makes a call to the gateway with a time limit.
func (g *general) ask(cmd *cobra.Command, call func(ctx context.Context, c *gateway.Client) error) error {
	return g.askFor(cmd, answerTimeout, call)
}

func (g *general) askFor(cmd *cobra.Command, limit time.Duration, call func(ctx context.Context, c *gateway.Client) error) error {
	if _, err := services.AddressOf(g.Gateway, services.Roles()[0]); err != nil {
		return command.Usage(err)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	c := gateway.NewClient(g.Gateway, nil)
	defer c.Close()
	return call(ctx, c)
}

// report writes an error as one line and returns the exit status.
func report(w io.Writer, cmd *cobra.Command, err error) int {
	return command.Report(w, cmd, err, explain)
}

// explain adds a next step to errors that come with none.
func explain(err error) error {
	var problem *web.Problem
	var plain *client.PlainTopicError
	switch {
	case errors.As(err, &plain): // every service says the same
		return command.Advise(plain, "if what is in it is not needed, delete it with 'stela topic delete %s' and start again", plain.Topic)
	case errors.As(err, &problem):
		return explainProblem(problem)
	case errors.Is(err, state.ErrInUse):
		return command.Advise(err, "a service runs on this folder; name its address with --gateway, or stop it")
	case errors.Is(err, syscall.EADDRINUSE):
		return command.Advise(err, "stop what listens there or choose other ports with --gateway")
	case errors.Is(err, syscall.ECONNREFUSED):
		return command.Advise(err, "is it running? start the services with 'shop up', the log with 'stela serve', or name others with --gateway, --brokers, --http")
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return command.Advise(err, "the services make their topics when they start: run 'shop up', or name another log with --brokers")
	case errors.Is(err, kerr.OffsetOutOfRange), errors.Is(err, client.ErrOutOfRange):
		return command.Advise(err, "the topic no longer has all its records; a state that needs them can only be taken from a copy of its folder")
	case kerr.IsRetriable(err):
		return command.Advise(err, "the log has no leader or no quorum; look at 'stela cluster status' and try again")
	case errors.As(err, new(*kerr.Error)):
		return command.Advise(err, "the log refused it; 'stela cluster status' and 'stela topic describe' say how it is")
	case errors.Is(err, os.ErrPermission):
		return command.Advise(err, "check the owner and the mode of that path")
	case command.IsTimeout(err):
		return command.Advise(err, "no answer in time; look at 'shop status'")
	}
	return err
}

// explainProblem tells a refusal of a service in words.
func explainProblem(p *web.Problem) error {
	err := errors.New(strings.TrimSpace(p.Detail))
	if p.Detail == "" {
		err = fmt.Errorf("http %d: %s", p.Status, p.Title)
	}
	switch p.Status {
	case http.StatusNotFound:
		return command.Advise(err, "check the spelling")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return command.Advise(err, "try again in a moment; 'shop status' says what is wrong")
	case http.StatusUnprocessableEntity:
		return command.Advise(err, "choose another id or key")
	}
	return err
}
