package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
)

type streamAppend struct {
	*general
	expect     string
	kind       string
	source     string
	id         string
	data       []string
	extensions []string
	timeout    time.Duration
}

type appendedEvents struct {
	FirstVersion int64 `json:"firstVersion"`
	LastVersion  int64 `json:"lastVersion"`
	Partition    int32 `json:"partition"`
	FirstOffset  int64 `json:"firstOffset"`
	Duplicate    bool  `json:"duplicate"`
}

func newStreamAppend(g *general) *cobra.Command {
	c := &streamAppend{general: g}
	cmd := &cobra.Command{
		Use:   "append TOPIC KEY",
		Short: "Append events to a stream, if nobody was faster",
		Long: `Append events to the stream of KEY: one for each --data, or else one for each
line of standard input. All are appended or none. --expect is the condition that
the stream must meet: no event (none), at least one (exists), or the version of
its last event. Events with the same --id are appended once, however often the
command is repeated.`,
		Example: `  stela stream append ledger acct-1 --expect none --type opened --data '{"owner":"ada"}'
  stela stream append ledger acct-1 --expect 0 --type deposited --data '{"amount":500}'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0], args[1]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.expect, "expect", "e", "any", "any, none, exists or a version")
	flags.StringVar(&c.kind, "type", "event", "what happened, for example order.placed")
	flags.StringVar(&c.source, "source", "/cli", "who says so, a URI reference")
	flags.StringVar(&c.id, "id", "", "the event's id; several events get -1, -2 … behind it (default a random one)")
	flags.StringArrayVarP(&c.data, "data", "d", nil, "the event's data, normally `JSON`; may be repeated")
	flags.StringArrayVarP(&c.extensions, "extension", "x", nil, "a CloudEvents extension `name=value`; may be repeated")
	flags.DurationVar(&c.timeout, "timeout", answerTimeout, "how long to try while the cluster does not answer")
	return cmd
}

func (c *streamAppend) run(ctx context.Context, topic, key string) error {
	expected, err := parseExpected(c.expect)
	if err != nil {
		return err
	}
	events, err := c.events(ctx)
	if err != nil {
		return err
	}
	cl, err := c.library()
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := cl.Stream(topic, key).Append(ctx, expected, events...)
	if err != nil {
		return explainStream(err)
	}
	t := &command.Table{Head: []string{"VERSIONS", "PARTITION", "OFFSET", "NEW"}}
	t.Add(fmt.Sprintf("%d-%d", answer.FirstVersion, answer.LastVersion), answer.Partition, answer.FirstOffset, !answer.Duplicate)
	return c.print(appendedEvents(answer), t)
}

func (c *streamAppend) events(ctx context.Context) ([]client.Event, error) {
	extensions, err := parseAssignments(c.extensions)
	if err != nil {
		return nil, err
	}
	data := make([][]byte, 0, len(c.data))
	for _, text := range c.data {
		data = append(data, []byte(text))
	}
	if len(data) == 0 {
		if file, ok := c.In.(*os.File); ok && isTerminal(file) {
			fmt.Fprintln(c.Err, "one event a line; end with Ctrl-D")
		}
		err := eachLine(ctx, c.In, func(_ int, line []byte) error {
			if len(strings.TrimSpace(string(line))) > 0 {
				data = append(data, line)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(data) == 0 {
		return nil, command.Usagef("nothing to append; give --data or lines on standard input")
	}
	id := c.id
	if id == "" {
		id = uuid.NewString()
	}
	now := time.Now()
	events := make([]client.Event, len(data))
	for i := range data {
		events[i] = client.Event{ID: id, Type: c.kind, Source: c.source, Time: now, Data: data[i]}
		if len(data) > 1 {
			events[i].ID = fmt.Sprintf("%s-%d", id, i+1)
		}
		for name, value := range extensions {
			events[i].Extensions = append(events[i].Extensions, client.Attribute{Name: name, Value: *value})
		}
	}
	return events, nil
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
