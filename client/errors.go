package client

import (
	"errors"
	"fmt"
)

// ErrClosed says that the client, producer, consumer or reader was closed.
var ErrClosed = errors.New("client is closed")

// ErrNoStream is wrapped when a stream that is read has no event.
var ErrNoStream = errors.New("no such stream")

// ErrOutOfRange is wrapped when a reader asks for an offset that the log does not have.
var ErrOutOfRange = errors.New("offset is not in the log")

// IsUnknownTopic reports whether err says that the cluster has no such topic.
func IsUnknownTopic(err error) bool {
	var refused *StatusError
	return errors.As(err, &refused) && refused.Kind == unknownTopic
}

// A ConflictError says that a stream was not at the version that an append expected.
// Nothing was appended.
type ConflictError struct {
	Topic    string
	Key      string
	Expected Expected
	Actual   int64   // the stream's version now; -1 when it has no event
	Unseen   []Event // events after the expected version, oldest first, as far as the server told: see Config.WithoutUnseen
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("append to %s stream %q: expected version %s, it is at %d", e.Topic, e.Key, e.Expected, e.Actual)
}

// A PlainTopicError says that a topic exists and keeps no streams, although it is to.
type PlainTopicError struct{ Topic string }

func (e *PlainTopicError) Error() string {
	return fmt.Sprintf("topic %s exists and keeps no streams, which is decided when a topic is created", e.Topic)
}

// A StatusError is a refusal of the HTTP door.
type StatusError struct {
	Status int    // the HTTP status
	Kind   string // what a program may tell it by, such as "no-stream"; "" when the answer is not a problem document
	Title  string // the problem's title, or the status text
	Detail string // what the server said about this case
}

func (e *StatusError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("http %d: %s", e.Status, e.Title)
	}
	return fmt.Sprintf("http %d: %s: %s", e.Status, e.Title, e.Detail)
}
