package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

const (
	// demoTimeout bounds the tour; `--exit` promises its end within 90 s.
	demoTimeout = 85 * time.Second
	demoNodes   = 3
	demoOrders  = 200

	defaultShopPort = 8088
)

// demo is the tour: what it was told and what runs.
type demo struct {
	*general
	exit bool
	data string

	stage   *stage
	cluster demoCluster
	shop    demoShop
}

func newDemo(g *general) *cobra.Command {
	d := &demo{general: g}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The tour: a cluster, order services, a crash, a rebuild",
		Long: `The tour, on this machine, with real processes: three nodes form a cluster, the
order services start on it, an unmodified kafkajs places the order of the article
(franz-go does it where node or npm is missing), 200 further orders come in, the
leading node is killed with kill -9 in the middle, every order is accounted for,
and the payment service's database is deleted and comes back from the log with
the same digest. Then everything stays up until Ctrl-C.

Ports that are taken are avoided. The data lies in a temporary folder, which goes
away in the end unless --data names one.`,
		Example: `  stela demo
  stela demo --exit --data /tmp/tour`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&d.exit, "exit", false, "end after the tour, with status 0 if all was as promised, else 1")
	flags.StringVar(&d.data, "data", "", "an empty or new `folder` for the data, which then stays")
	return cmd
}

// run prepares the folder, gives the tour and takes everything down again.
func (d *demo) run(ctx context.Context) error {
	d.stage = newStage(d.Out)
	remove, err := d.folder()
	if err != nil {
		return err
	}
	defer remove()
	defer d.close()
	touring, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	if err := d.tour(touring); err != nil {
		return d.ended(ctx.Err() != nil, err)
	}
	if d.exit {
		d.stage.say("All as promised.")
		return nil
	}
	d.invite()
	<-ctx.Done()
	d.stage.say("Stopping.")
	return nil
}

// ended says how a tour that did not come to its end is to be taken. Ctrl-C is how a
// spectator leaves; whoever asked for a status must not be told that all was as promised.
func (d *demo) ended(interrupted bool, err error) error {
	switch {
	case interrupted && !d.exit:
		return nil
	case interrupted:
		return errors.New("the tour was interrupted; run it again to its end")
	}
	d.stage.failed()
	if d.data != "" {
		return command.Advise(err, "the logs are in %s", d.cluster.logs())
	}
	return command.Advise(err, "run it again with --data FOLDER to keep the logs")
}

// folder makes the data folder and returns what removes it again.
func (d *demo) folder() (remove func(), err error) {
	if d.data == "" {
		dir, err := os.MkdirTemp("", "stela-demo-")
		if err != nil {
			return nil, fmt.Errorf("make a temporary folder: %w", err)
		}
		d.cluster.Data = dir
		return func() { _ = os.RemoveAll(dir) }, nil // What is left of a temporary folder harms nobody.
	}
	entries, err := os.ReadDir(d.data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look into the data folder: %w", err)
	}
	if len(entries) > 0 {
		return nil, command.Advise(fmt.Errorf("folder %s is not empty", d.data), "name a new one: the tour begins with nothing")
	}
	if err := os.MkdirAll(d.data, 0o755); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	d.cluster.Data = d.data
	return func() {}, nil
}

// tour does everything that is shown, in order.
func (d *demo) tour(ctx context.Context) error {
	for _, part := range []struct {
		title string
		show  func(context.Context) error
	}{
		{"a cluster of three processes", d.showCluster},
		{"the order services on it, each a process with a database of its own", d.showShop},
		{"the article's order", d.showArticle},
		{fmt.Sprintf("%d further orders, and kill -9 in the middle", demoOrders), d.showOrders},
		{"every order accounted for", d.showAccounts},
		{"payment's database deleted and rebuilt from the log", d.showRebuild},
	} {
		d.stage.begin(part.title)
		if err := part.show(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
		d.stage.end()
	}
	return nil
}

// close ends all processes, the services first.
func (d *demo) close() {
	d.shop.stop()
	stopAll(d.cluster.running())
}
