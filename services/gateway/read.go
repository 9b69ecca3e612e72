package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/web"
)

// get answers with an order as the read model has it, or as it was at a time or at a
// version of its stream in order-events.
func (g *Gateway) get(r *web.Request) error {
	at, version := r.Query("at"), r.Query("version")
	if at == "" && version == "" {
		return g.pass(r, event.Query, r.Path())
	}
	until, last, err := travelTo(at, version)
	if err != nil {
		return err
	}
	id := r.Name("id")
	events, missing, err := g.events(r.Context(), id)
	if err != nil {
		return err
	}
	if missing != nil {
		return web.Refuse(http.StatusServiceUnavailable, "what happened in the warehouse cannot be found: %v", missing).Later(1)
	}
	if last >= 0 {
		// A version of the order's own stream stands for the time at which it was written.
		i := slices.IndexFunc(events, func(e event.Recorded) bool { return e.Topic == event.OrderEvents && e.Version == last })
		if i < 0 {
			return web.Refuse(http.StatusNotFound, "order %q has no version %d", id, last)
		}
		until = events[i].Time
	}
	var d query.Document
	found := false
	for _, e := range events {
		if e.Time.After(until) || e.Data == nil || (last >= 0 && e.Topic == event.OrderEvents && e.Version > last) {
			continue
		}
		found = true
		d.Apply(e)
	}
	if !found {
		return web.Refuse(http.StatusNotFound, "there was no order %q at that point", id)
	}
	view := d.View(id, until)
	view.Degraded = false // nobody waits in the past
	return r.JSON(http.StatusOK, view)
}

func travelTo(at, version string) (until time.Time, last int64, err error) {
	last = -1
	switch {
	case at != "" && version != "":
		return until, last, web.Refuse(http.StatusBadRequest, "at and version exclude each other")
	case at != "":
		if until, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return until, last, web.Refuse(http.StatusBadRequest, "at=%.40s: wanted a time such as 2026-11-22T10:00:00Z", at)
		}
	default:
		if last, err = strconv.ParseInt(version, 10, 64); err != nil || last < 0 {
			return until, last, web.Refuse(http.StatusBadRequest, "version=%.40s: wanted a number from 0", version)
		}
	}
	return until, last, nil
}

// A HistoryEvent is an event of an order, as a CloudEvent with its place in the log.
type HistoryEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Source      string          `json:"source"`
	Subject     string          `json:"subject,omitempty"`
	Time        time.Time       `json:"time"`
	Correlation string          `json:"correlationid,omitempty"`
	Causation   string          `json:"causationid,omitempty"`
	Topic       string          `json:"topic"`
	Sequence    string          `json:"sequence"` // version in its stream
	Data        json.RawMessage `json:"data,omitempty"`
}

// missingText is what the Warning header of a history says.
const missingText = "events of the warehouse are missing: the read model does not answer or is behind"

// history answers with all events of an order, over all topics, causes before effects.
func (g *Gateway) history(r *web.Request) error {
	id := r.Name("id")
	events, missing, err := g.events(r.Context(), id)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return web.Refuse(http.StatusNotFound, "there is no order %q", id)
	}
	if missing != nil {
		r.SetHeader("Warning", `199 stela "`+missingText+`"`)
	}
	list := make([]HistoryEvent, 0, len(events))
	for _, e := range events {
		h := HistoryEvent{
			SpecVersion: "1.0", ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Stream, Time: e.Time, Topic: e.Topic,
			Correlation: e.Correlation, Causation: e.Causation, Sequence: strconv.FormatInt(e.Version, 10),
		}
		if json.Valid(e.Value) {
			h.Data = e.Value
		}
		list = append(list, h)
	}
	return r.JSON(http.StatusOK, list)
}

// events reads all events of an order from the log, by key, causes before effects.
// missing says why those in the warehouse's stream are not among them: only the read
// model knows which they are.
func (g *Gateway) events(ctx context.Context, id string) (events []event.Recorded, missing, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	topics := []string{event.OrderCommands, event.OrderEvents, event.PaymentEvents, event.ShippingEvents}
	parts, errs := make([][]event.Recorded, len(topics)+1), make([]error, len(topics)+1)
	var wait sync.WaitGroup
	for i, topic := range topics {
		wait.Go(func() { parts[i], errs[i] = g.stream(ctx, topic, id) })
	}
	wait.Wait()
	// The warehouse comes last, so that what the streams above were caused by is in it.
	parts[len(topics)], errs[len(topics)] = g.warehouseEvents(ctx, id)
	missing = errs[len(topics)]
	if err := errors.Join(errs[:len(topics)]...); err != nil {
		if ctx.Err() != nil {
			return nil, nil, web.Refuse(http.StatusServiceUnavailable, "the log does not answer").Later(1)
		}
		return nil, nil, err
	}
	return causal(slices.Concat(parts...)), missing, nil
}

// stream reads one stream from its beginning.
func (g *Gateway) stream(ctx context.Context, topic, key string) ([]event.Recorded, error) {
	all, err := g.config.Client.Stream(topic, key).All(ctx)
	if errors.Is(err, client.ErrNoStream) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(topic, key, all), nil
}

// decode reads events; one that cannot be read is shown as it is.
func decode(topic, key string, all []client.Event) []event.Recorded {
	events := make([]event.Recorded, 0, len(all))
	for _, wire := range all {
		e, err := framework.Decode(topic, key, wire)
		if err != nil || e.Foreign {
			e.ID, e.Type, e.Source, e.Data = wire.ID, wire.Type, wire.Source, nil
		}
		events = append(events, e)
	}
	return events
}

// warehouseEvents reads an order's events in the streams of warehouses, up to where these
// end now: the read model says which they are once it has come there.
func (g *Gateway) warehouseEvents(ctx context.Context, id string) ([]event.Recorded, error) {
	end, err := g.config.Client.Cut(ctx, event.InventoryEvents)
	if err != nil {
		return nil, err
	}
	var positions []query.Position
	path := "/v1/orders/" + url.PathEscape(id) + "/positions?cut=" + url.QueryEscape(end.String())
	_, err = g.clients[event.Query].Do(ctx, web.Call{Path: path, Into: &positions})
	if err != nil {
		return nil, err
	}
	var events []event.Recorded
	for _, p := range positions {
		all, _, err := g.config.Client.Stream(p.Topic, p.Stream).Read(ctx, client.ReadRequest{From: p.Version, Limit: 1})
		if err != nil {
			return nil, fmt.Errorf("read version %d: %w", p.Version, err)
		}
		events = append(events, decode(p.Topic, p.Stream, all)...)
	}
	return events, nil
}

// causal orders events so that each comes after its cause and after what precedes it in
// its stream; where neither says anything, by time.
func causal(events []event.Recorded) []event.Recorded {
	slices.SortFunc(events, func(a, b event.Recorded) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Version, b.Version))
	})
	waitsFor := func(effect, cause event.Recorded) bool {
		sameStream := effect.Topic == cause.Topic && effect.Stream == cause.Stream
		return (effect.Causation == cause.ID && effect.ID != cause.ID) || (sameStream && cause.Version < effect.Version)
	}
	sorted := make([]event.Recorded, 0, len(events))
	for left := slices.Clone(events); len(left) > 0; {
		next := slices.IndexFunc(left, func(e event.Recorded) bool {
			return !slices.ContainsFunc(left, func(other event.Recorded) bool { return waitsFor(e, other) })
		})
		if next < 0 {
			return events // causes in a circle: somebody wrote them by hand
		}
		sorted = append(sorted, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return sorted
}
