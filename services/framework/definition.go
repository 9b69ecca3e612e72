package framework

import (
	"context"
	"time"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/state"
)

// A Definition is what is particular to one service. Its functions are pure: they may
// look at their arguments only, so no clock, no randomness, no I/O.
type Definition struct {
	// Name is the service's name, such as event.Payment.
	Name string
	// Topic is the topic that the service appends to; "" for a read model.
	Topic string
	// Folds are the topics that make up the state. Default: Topic alone. A read model
	// of several topics must end up the same however these are interleaved.
	Folds []string
	// Inputs are the topics whose events are decided upon.
	Inputs []string
	// Fold changes the state by one event of Folds. Events of the own topic that this
	// build does not know never get here: they end the service. An error ends it too.
	Fold func(tx *state.Tx, e event.Recorded) error
	// Stream names the stream of Topic that an input may lead to an append to; "" says
	// that the input is of no concern.
	Stream func(in event.Recorded) string
	// Decide says what follows from an input, given the state of that stream. tx is only
	// read from.
	Decide func(tx *state.Tx, in event.Recorded) Decision
	// Effects are the calls to the outside.
	Effects []Effect
}

func (d *Definition) folds() []string {
	if len(d.Folds) > 0 {
		return d.Folds
	}
	return []string{d.Topic}
}

// A Decision is what follows from an input: events, or nothing when the facts are there
// already, or that the input makes no sense.
type Decision struct {
	Events []event.Event
	// Aside, if not "", is why the input is put aside. Then there are no events.
	Aside string
}

// Nothing is the decision that all that follows from the input has happened.
func Nothing() Decision { return Decision{} }

// Append is the decision that these happened.
func Append(events ...event.Event) Decision { return Decision{Events: events} }

// PutAside is the decision that the input makes no sense.
func PutAside(reason string) Decision { return Decision{Aside: reason} }

// An Input is what a decision is taken on: a record of an input topic, a command, or the
// outcome of a call.
type Input struct {
	event.Recorded
	// Outcome says that the input is the outcome of a call: ids of the events that it
	// leads to come from their type and stream, not from the cause.
	Outcome bool
}

// An Intent is a call to the outside that the log says is to be made.
type Intent struct {
	Stream string // where the outcome belongs; the call's idempotency key
	// Cause is the event that asked for it: its ID, Correlation and TraceParent are handed on.
	Cause event.Recorded
	Row   any // what Call needs
}

// An Effect makes the calls that the state says are pending. A call is repeated until
// its outcome is in the log, so the other side must know its idempotency key.
type Effect struct {
	// Name for logs and metrics.
	Name string
	// Pending returns at most limit intents, in the order of streams, after the stream
	// named ("" is the beginning).
	Pending func(tx *state.Tx, after string, limit int) []Intent
	// Call makes one call; its outcome is given to Decide as Data of an input. An error
	// means that nothing is known: the call is made again later.
	Call func(ctx context.Context, intent Intent) (event.Event, error)
	// Concurrency bounds the calls at one time. Default 16.
	Concurrency int
	// Rate bounds the calls in a second, so that what piled up while the other side was
	// away does not hit it at once. Default 200.
	Rate int
	// Timeout of one call. Default 5 s.
	Timeout time.Duration
	// Failures in a row open the circuit: then one call at a time tries, after Cooldown. Default 5.
	Failures int
	// Cooldown is the pause of an open circuit. Default 1 s.
	Cooldown time.Duration
}

func (e Effect) withDefaults() Effect {
	if e.Concurrency <= 0 {
		e.Concurrency = 16
	}
	if e.Rate <= 0 {
		e.Rate = 200
	}
	if e.Timeout <= 0 {
		e.Timeout = 5 * time.Second
	}
	if e.Failures <= 0 {
		e.Failures = 5
	}
	if e.Cooldown <= 0 {
		e.Cooldown = time.Second
	}
	return e
}
