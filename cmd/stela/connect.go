package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/cmd/internal/command"
)

// dialTimeout bounds one attempt to reach a broker.
const dialTimeout = 3 * time.Second

// connect returns a client of the cluster after one of its brokers has answered.
// The caller closes it.
func (g *general) connect(ctx context.Context, options ...kgo.Opt) (*kgo.Client, error) {
	options = append([]kgo.Opt{
		kgo.SeedBrokers(g.Brokers...),
		kgo.ClientID("stela"),
		kgo.DialTimeout(dialTimeout),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, options...)
	cl, err := kgo.NewClient(options...)
	if err != nil {
		return nil, command.Usage(fmt.Errorf("set up a client of %s: %w", strings.Join(g.Brokers, ","), err))
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("reach a broker at %s: %w", strings.Join(g.Brokers, ","), err)
	}
	return cl, nil
}

// admin is connect for administration. The caller calls the returned func at the end.
func (g *general) admin(ctx context.Context) (*kadm.Client, func(), error) {
	cl, err := g.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(int32(answerTimeout.Milliseconds()))
	return adm, cl.Close, nil
}
