package main

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
)

func newStream(g *general) *cobra.Command {
	return parent("stream", "Append to and read the events of one key",
		newStreamAppend(g), newStreamRead(g))
}

// parseExpected reads --expect.
func parseExpected(text string) (client.Expected, error) {
	switch text {
	case "any":
		return client.ExpectAny, nil
	case "none":
		return client.ExpectNone, nil
	case "exists":
		return client.ExpectExists, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, command.Usagef("--expect is %q; use any, none, exists or the version that the last event must have", text)
	}
	return client.Expected(n), nil
}

// printedEvent is an event as -o json and yaml show it.
type printedEvent struct {
	Version    int64             `json:"version"`
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Source     string            `json:"source"`
	Subject    string            `json:"subject,omitempty"`
	Time       string            `json:"time,omitempty"`
	Extensions map[string]string `json:"extensions,omitempty"`
	Data       any               `json:"data"`
}

func printEvent(event client.Event) printedEvent {
	printed := printedEvent{
		Version: event.Version, ID: event.ID, Type: event.Type, Source: event.Source, Subject: event.Subject,
		Data: textOrBytes(event.Data),
	}
	if json.Valid(event.Data) {
		var data any
		if json.Unmarshal(event.Data, &data) == nil {
			printed.Data = data
		}
	}
	if !event.Time.IsZero() {
		printed.Time = event.Time.UTC().Format(time.RFC3339Nano)
	}
	for _, extension := range event.Extensions {
		if printed.Extensions == nil {
			printed.Extensions = map[string]string{}
		}
		printed.Extensions[extension.Name] = extension.Value
	}
	return printed
}

// explainStream says what to do about what the event store's door refused.
func explainStream(err error) error {
	var conflict *client.ConflictError
	var refused *client.StatusError
	switch {
	case errors.As(err, &conflict):
		if conflict.Actual < 0 {
			return command.Advise(err, "the stream has no event yet: use --expect none")
		}
		return command.Advise(err, "read what came in between ('stela stream read'), decide again, and use --expect %d", conflict.Actual)
	case errors.Is(err, client.ErrNoStream):
		return command.Advise(err, "append its first event with 'stela stream append'")
	case errors.As(err, &refused) && refused.Status == 404:
		return command.Advise(err, "create the topic with 'stela topic create TOPIC -c eventstore.enable=true'")
	case errors.As(err, &refused) && refused.Kind == "not-event-store":
		return command.Advise(err, "use another topic, made with 'stela topic create TOPIC -c eventstore.enable=true'")
	}
	return err
}

// eventRow is one line of a table.
func eventRow(t *command.Table, event client.Event) {
	at := ""
	if !event.Time.IsZero() {
		at = event.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	t.Add(event.Version, at, event.Type, string(event.Data))
}
