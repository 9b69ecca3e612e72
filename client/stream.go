package client

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// Expected is the condition of an append: a version from 0, or one of the constants.
type Expected int64

// The conditions that are not versions.
const (
	// ExpectNone: the stream has no event yet.
	ExpectNone Expected = -1
	// ExpectAny: no condition. Repeated events are still recognised, by the server
	// within a bounded window.
	ExpectAny Expected = -2
	// ExpectExists: the stream has at least one event.
	ExpectExists Expected = -4
)

// String returns the condition as the Expected-Version header has it.
func (e Expected) String() string {
	switch e {
	case ExpectNone:
		return "none"
	case ExpectAny:
		return "any"
	case ExpectExists:
		return "exists"
	default:
		return strconv.FormatInt(int64(e), 10)
	}
}

// An Attribute is a CloudEvents extension attribute: its name in lower-case letters
// and digits. In the log it is the record header "ce_" + name.
type Attribute struct {
	Name, Value string
}

// An Event is one event of a stream: a CloudEvent whose data is the record's value.
type Event struct {
	// ID is unique within the stream and the same whenever the same append is repeated.
	ID string
	// Type says what happened, for example "order.placed".
	Type string
	// Source says who wrote it, for example "/services/order".
	Source string
	// Subject is what it happened to; "" leaves it out.
	Subject string
	// Time is the writer's clock; zero leaves it out.
	Time time.Time
	// ContentType is that of Data. Default: application/json.
	ContentType string
	// Extensions are further attributes, in any order.
	Extensions []Attribute
	// Data is the record's value. JSON is kept byte for byte as it is here.
	Data []byte

	// Version and Offset are the server's, on events that were read.
	Version int64
	Offset  int64
}

// Extension returns an extension attribute, "" when there is none of that name.
func (e *Event) Extension(name string) string {
	for _, a := range e.Extensions {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// Appended says where an append went. Version and offset of the last event follow
// from the first: all events of an append lie one after another.
type Appended struct {
	FirstVersion int64
	LastVersion  int64
	Partition    int32
	FirstOffset  int64
	Duplicate    bool // these very events were there already; the answer is that of the first time
}

// LastOffset returns the offset of the last event that was appended.
func (a Appended) LastOffset() int64 { return a.FirstOffset + a.LastVersion - a.FirstVersion }

// A Stream is the events of one key of one topic with eventstore.enable.
type Stream struct {
	client *Client
	topic  string
	key    string
}

// Stream names a stream; nothing is sent.
func (c *Client) Stream(topic, key string) *Stream { return &Stream{client: c, topic: topic, key: key} }

// Append stores the events, all or none of them, when the stream meets the condition;
// otherwise it returns a *ConflictError. While no leader answers, and when the outcome
// is unknown, it sends the same events again until ctx ends; the server recognises
// them by their ids, for ever with a condition that is a version or ExpectNone.
func (s *Stream) Append(ctx context.Context, expected Expected, events ...Event) (Appended, error) {
	if len(events) == 0 {
		return Appended{}, errors.New("append needs at least one event")
	}
	if s.client.quick != nil {
		if at, conflict, told := s.client.quick.append(ctx, s, expected, events); told && conflict != nil {
			return Appended{}, conflict
		} else if told {
			return at, nil
		}
	}
	return s.append(ctx, expected, events)
}

// ReadRequest says what to read of a stream. The zero value reads the first 100 events.
type ReadRequest struct {
	// From is the first version to return; FromEnd begins at the newest (with Backward).
	From    int64
	FromEnd bool
	// Backward returns older events after newer ones.
	Backward bool
	// Limit bounds the events, 1 to 10000. Default 100.
	Limit int
	// Until leaves out events that were stored after that time, to the millisecond; zero: none.
	Until time.Time
	// MinVersion waits until the stream has that version, 0 for its first event; nil: no wait.
	// It is asked for again until the call's context ends.
	MinVersion *int64
}

// Read returns events and the stream's newest version; fewer events than the limit are all
// there are. A stream without events is ErrNoStream.
func (s *Stream) Read(ctx context.Context, request ReadRequest) ([]Event, int64, error) {
	return s.read(ctx, request)
}

// All reads the whole stream, oldest event first, in pieces of 1000.
func (s *Stream) All(ctx context.Context) ([]Event, error) {
	var all []Event
	for {
		events, head, err := s.Read(ctx, ReadRequest{From: int64(len(all)), Limit: 1000})
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
		if len(events) == 0 || int64(len(all)) > head {
			return all, nil
		}
	}
}
