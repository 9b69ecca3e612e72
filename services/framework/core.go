package framework

import (
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/state"
)

// ErrFold is wrapped when an event of a folded topic cannot be folded.
var ErrFold = errors.New("event cannot be folded")

// versions holds the newest version of each stream of the folded topics.
var versions = state.NewTable[int64]("version")

// A Core is a service without goroutines, network and clock: it folds records and
// drafts decisions. Fold is called by one goroutine at a time; the rest by any.
type Core struct {
	definition Definition
	database   *state.Database
}

// NewCore returns a core on a database.
func NewCore(definition Definition, database *state.Database) *Core {
	return &Core{definition: definition, database: database}
}

// Database returns the core's database.
func (c *Core) Database() *state.Database { return c.database }

// Fold folds records of the folded topics, in order per partition, and moves the
// checkpoints, in one transaction. Records below the checkpoint are passed over.
func (c *Core) Fold(records []client.Record) error {
	tx := c.database.Begin()
	defer tx.Discard()
	folded := tx.Folded()
	for i := range records {
		r := &records[i]
		if r.Offset < folded.Offset(r.Topic, r.Partition) {
			continue
		}
		if err := c.foldOne(tx, r); err != nil {
			return fmt.Errorf("%s: %w: %w", c.definition.Name, ErrFold, err)
		}
		folded.Set(r.Topic, r.Partition, r.Offset+1)
		tx.SetFolded(r.Topic, r.Partition, r.Offset+1)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: fold: %w", c.definition.Name, err)
	}
	return nil
}

func (c *Core) foldOne(tx *state.Tx, r *client.Record) error {
	e, err := decode(r)
	e.Version = -1
	if e.Stream != "" {
		e.Version = c.version(tx, r.Topic, e.Stream) + 1
		versions.Put(tx, e.Version, r.Topic, e.Stream)
	}
	own := r.Topic == c.definition.Topic
	switch {
	case err != nil && own:
		return err
	case err != nil:
		tx.PutAside(asideOf(&e, err.Error()))
		return nil
	case e.Foreign:
		return nil
	case e.Data == nil && own:
		return fmt.Errorf("%s partition %d offset %d: this build does not know %s", r.Topic, r.Partition, r.Offset, e.Type)
	case e.Data == nil:
		return nil
	}
	if err := c.definition.Fold(tx, e); err != nil {
		return fmt.Errorf("%s partition %d offset %d: %s: %w", r.Topic, r.Partition, r.Offset, e.Type, err)
	}
	return nil
}

func (c *Core) version(tx *state.Tx, topic, stream string) int64 {
	version, found := versions.Get(tx, topic, stream)
	if !found {
		return -1
	}
	return version
}

// Version returns the newest folded version of a stream of the own topic, -1 for none.
func (c *Core) Version(stream string) (int64, error) {
	tx := c.database.Begin()
	defer tx.Discard()
	version := c.version(tx, c.definition.Topic, stream)
	return version, tx.Err()
}

// A Draft is what decisions on one stream want to append.
type Draft struct {
	Stream   string
	Expected client.Expected // the version that was looked at
	Events   []client.Event
	Asides   []state.Aside // inputs that make no sense
}

// Decide takes the decisions on inputs of one stream, each on the state that the ones
// before it lead to, so that all can be appended as one.
func (c *Core) Decide(stream string, inputs []Input, now time.Time) (Draft, error) {
	tx := c.database.Begin()
	defer tx.Discard()
	version := c.version(tx, c.definition.Topic, stream)
	draft := Draft{Stream: stream, Expected: client.Expected(version)}
	for i := range inputs {
		in := &inputs[i]
		decision := c.definition.Decide(tx, in.Recorded)
		if decision.Aside != "" {
			draft.Asides = append(draft.Asides, asideOf(&in.Recorded, decision.Aside))
			continue
		}
		for ordinal, data := range decision.Events {
			version++
			e := c.draftEvent(in, stream, ordinal, data)
			e.Version, e.Time = version, now.UTC()
			wire, err := Encode(&e)
			if err != nil {
				return Draft{}, fmt.Errorf("%s: decide on %s: %w", c.definition.Name, in.Type, err)
			}
			draft.Events = append(draft.Events, wire)
			// The next input sees what this one leads to. Nothing of it is kept.
			if err := c.definition.Fold(tx, e); err != nil {
				return Draft{}, fmt.Errorf("%s: decide on %s: %w", c.definition.Name, in.Type, err)
			}
		}
	}
	if err := tx.Err(); err != nil {
		return Draft{}, fmt.Errorf("%s: decide: %w", c.definition.Name, err)
	}
	return draft, nil
}

func (c *Core) draftEvent(in *Input, stream string, ordinal int, data event.Event) event.Recorded {
	e := event.Recorded{
		Topic: c.definition.Topic, Partition: -1, Offset: -1, Stream: stream,
		ID: event.ID(c.definition.Name, in.ID, ordinal), Type: data.EventType(), Source: event.Source(c.definition.Name),
		Correlation: in.Correlation, Causation: in.ID, TraceParent: in.TraceParent, Data: data,
	}
	if in.Outcome {
		e.ID = event.StepID(c.definition.Name, e.Type, stream)
	}
	if e.Correlation == "" {
		e.Correlation = in.ID
	}
	return e
}

// Settle notes how far the inputs were dealt with and what was put aside.
func (c *Core) Settle(inputs client.Cut, asides []state.Aside) error {
	tx := c.database.Begin()
	defer tx.Discard()
	for topic, offsets := range inputs {
		for partition, next := range offsets {
			tx.SetInput(topic, int32(partition), next)
		}
	}
	for _, aside := range asides {
		tx.PutAside(aside)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: note inputs: %w", c.definition.Name, err)
	}
	return nil
}

func asideOf(e *event.Recorded, reason string) state.Aside {
	return state.Aside{
		Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Reason: reason,
		Preview: string(e.Value[:min(len(e.Value), 256)]), At: e.Time,
	}
}
