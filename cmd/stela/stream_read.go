package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
)

type streamRead struct {
	*general
	from     int64
	limit    int
	backward bool
	until    string
	timeout  time.Duration
}

type readStream struct {
	Version int64          `json:"version"`
	Events  []printedEvent `json:"events"`
}

func newStreamRead(g *general) *cobra.Command {
	c := &streamRead{general: g}
	cmd := &cobra.Command{
		Use:   "read TOPIC KEY",
		Short: "Print the events of one key",
		Example: `  stela stream read ledger acct-1
  stela stream read ledger acct-1 --backward --limit 1 -o json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0], args[1]) },
	}
	flags := cmd.Flags()
	flags.Int64Var(&c.from, "from", -1, "begin at this `version` (default the first, with --backward the last)")
	flags.IntVarP(&c.limit, "limit", "n", 0, "at most this many events; 0 for all")
	flags.BoolVar(&c.backward, "backward", false, "newest first")
	flags.StringVar(&c.until, "until", "", "no event stored after this `time`, RFC 3339 or a duration ago such as 1h")
	flags.DurationVar(&c.timeout, "timeout", answerTimeout, "how long to try while the cluster does not answer")
	return cmd
}

// pieceEvents is how many events one request asks for.
const pieceEvents = 1000

func (c *streamRead) run(ctx context.Context, topic, key string) error {
	request := client.ReadRequest{From: max(c.from, 0), FromEnd: c.backward && c.from < 0, Backward: c.backward}
	if c.limit < 0 {
		return command.Usagef("--limit is %d; use a positive number, or 0 for all", c.limit)
	}
	if c.until != "" {
		until, err := parseTime(c.until)
		if err != nil {
			return command.Usage(err)
		}
		request.Until = until
	}
	cl, err := c.library()
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer := readStream{Version: -1, Events: []printedEvent{}}
	t := &command.Table{Head: []string{"VERSION", "TIME", "TYPE", "DATA"}}
	for c.limit == 0 || len(answer.Events) < c.limit {
		request.Limit = pieceEvents
		if c.limit > 0 {
			request.Limit = min(pieceEvents, c.limit-len(answer.Events))
		}
		events, head, err := cl.Stream(topic, key).Read(ctx, request)
		if err != nil {
			return explainStream(err)
		}
		answer.Version = head
		for _, event := range events {
			answer.Events = append(answer.Events, printEvent(event))
			eventRow(t, event)
		}
		if len(events) < request.Limit {
			break
		}
		last := events[len(events)-1].Version
		if last == 0 && c.backward {
			break
		}
		request.FromEnd, request.From = false, last+1
		if c.backward {
			request.From = last - 1
		}
	}
	return c.print(answer, t)
}
