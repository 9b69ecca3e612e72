package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

func newDigest(g *general) *cobra.Command {
	var cut string
	cmd := &cobra.Command{
		Use:   "digest [SERVICE...]",
		Short: "Show a fingerprint of each service's state",
		Long: `Show the SHA-256 over each service's rows, and the cut of the log that they stand at.
Two states that were folded from the same events have the same digest. A service
that runs is asked; of one that does not, the folder below --data is read.`,
		Example: "  shop digest\n  shop digest payment -o json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			roles, err := chosen(args)
			if err != nil {
				return err
			}
			var reports []framework.DigestReport
			t := &command.Table{Head: []string{"SERVICE", "KEYS", "DIGEST"}}
			for _, role := range roles {
				report, err := g.digest(cmd.Context(), role, cut)
				if err != nil {
					return err
				}
				reports = append(reports, report)
				t.Add(report.Service, report.Keys, report.Digest)
			}
			return g.print(reports, t)
		},
	}
	cmd.Flags().StringVar(&cut, "cut", "", "wait until the state stands at this `cut`, as -o json shows it")
	return cmd
}

// chosen returns the services that were named, or all.
func chosen(args []string) ([]string, error) {
	if len(args) == 0 {
		return services.Stateful(), nil
	}
	for _, role := range args {
		if !slices.Contains(services.Stateful(), role) {
			return nil, command.Usagef("%q keeps no state that is folded from the log; use %s", role, strings.Join(services.Stateful(), ", "))
		}
	}
	return args, nil
}

// running returns a client of a service, or nil when it does not run.
func (g *general) running(ctx context.Context, role string) (*framework.Client, error) {
	address, err := services.AddressOf(g.Gateway, role)
	if err != nil {
		return nil, command.Usage(err)
	}
	c := framework.NewClient(address, nil)
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err = c.Alive(ctx)
	if _, ok := errors.AsType[*web.Problem](err); ok {
		return nil, fmt.Errorf("ask what runs at %s: %w", address, err)
	}
	if err != nil {
		return nil, nil //nolint:nilnil // nothing runs there
	}
	return c, nil
}

// digest asks a running service, or reads the state of one that does not run.
func (g *general) digest(ctx context.Context, role, cut string) (framework.DigestReport, error) {
	service, err := g.running(ctx, role)
	if err != nil {
		return framework.DigestReport{}, err
	}
	if service != nil {
		ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
		defer cancel()
		return service.Digest(ctx, cut)
	}
	var report framework.DigestReport
	err = g.stopped(role, func(tx *state.Tx) error {
		digest, err := tx.Digest()
		report = framework.Report(role, digest)
		return err
	})
	if err == nil && cut != "" && report.Cut != cut {
		err = fmt.Errorf("the state of %s stands at %q", role, report.Cut)
	}
	return report, err
}

// stopped gives read access to the state of a service that does not run.
func (g *general) stopped(role string, visit func(tx *state.Tx) error) error {
	config := g.config().StateOf(role)
	if !state.Exists(config.FS, config.Dir) {
		return command.Advise(fmt.Errorf("%s neither runs nor has a state in %s", role, config.Dir),
			"start it with 'shop up', rebuild it with 'shop rebuild %s', or name its folder with --data", role)
	}
	database, err := state.Open(config)
	if err != nil {
		return err
	}
	tx := database.Begin()
	err = visit(tx)
	tx.Discard()
	return errors.Join(err, database.Close())
}
