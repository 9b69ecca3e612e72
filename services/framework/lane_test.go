package framework

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
)

// An input is put aside only when it is to blame: a wrong clock passes, and what would
// befall every input ends the service.
func TestRefusals(t *testing.T) {
	for kind, want := range map[string]string{
		"invalid-time":     "retried",
		"unknown-topic":    "retried",
		"events-too-large": "put aside",
		"body-too-large":   "put aside",
		"invalid-event":    "put aside",
		"bad-request":      "put aside",
		"policy-violation": "ended",
		"not-event-store":  "ended",
		"of-the-future":    "ended",
	} {
		t.Run(kind, func(t *testing.T) {
			var requests atomic.Int64
			door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if requests.Add(1) == 1 {
					w.WriteHeader(http.StatusUnprocessableEntity)
					fmt.Fprintf(w, `{"type":"urn:stela:problem:%s","title":"no"}`, kind)
					return
				}
				w.WriteHeader(http.StatusCreated)
				fmt.Fprint(w, `{"firstVersion":0,"lastVersion":1,"partition":0,"firstOffset":0}`)
			}))
			defer door.Close()
			log, err := client.New(client.Config{HTTP: []string{strings.TrimPrefix(door.URL, "http://")}})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			core, definition := newCore(t), toy()
			ctx, cancel := context.WithCancelCause(t.Context())
			s := &session{
				definition: &definition, client: log, core: core, logger: slog.New(slog.DiscardHandler), now: time.Now, counts: &counts{},
				folded: newPosition(client.Cut{definition.Topic: {9}}), cancel: cancel,
			}
			got := ""
			in := Input{Recorded: event.Recorded{Topic: event.OrderEvents, ID: "i"}}
			s.decide(ctx, "s", []task{{input: in, done: func(result Result, err error) {
				tx := core.Database().Begin()
				defer tx.Discard()
				_, asides := tx.Asides(0)
				switch {
				case result.Wrote && err == nil && asides == 0:
					got = "retried"
				case asides == 1 && errors.Is(err, errPutAside) && context.Cause(ctx) == nil:
					got = "put aside"
				case err != nil && !errors.Is(err, errPutAside) && context.Cause(ctx) != nil: // and read again
					got = "ended"
				}
			}}})
			if got != want {
				t.Errorf("it was %q, wanted %q", got, want)
			}
		})
	}
}
