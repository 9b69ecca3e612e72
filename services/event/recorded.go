package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The record headers of an event.
const (
	HeaderSpecVersion = "ce_specversion"
	HeaderID          = "ce_id"
	HeaderType        = "ce_type"
	HeaderSource      = "ce_source"
	HeaderSubject     = "ce_subject"
	HeaderTime        = "ce_time"
	HeaderCorrelation = "ce_correlationid"
	HeaderCausation   = "ce_causationid"
	HeaderTraceParent = "ce_traceparent"
	HeaderContentType = "content-type"
)

// ErrUnreadable is wrapped when a record says that its topic's writer made it and
// cannot be read all the same.
var ErrUnreadable = errors.New("event cannot be read")

// Recorded is a record of one of our topics. All that a fold or a decision may depend
// on is in here.
type Recorded struct {
	Topic     string
	Partition int32
	Offset    int64  // -1 in a draft, which has no place in the log yet
	Stream    string // the record's key; "" when it has none
	Version   int64  // position in the stream, from 0; -1 without a stream

	ID          string // ce_id; ForeignID for a record without
	Type        string
	Source      string
	Time        time.Time // ce_time, or the record's time
	Correlation string
	Causation   string
	TraceParent string

	// Data is the event. It is nil for a type that this build does not know, and for
	// foreign records.
	Data Event
	// Foreign says that another program wrote the record, whose value is Value.
	Foreign bool
	Value   []byte
}

// A Headers source gives the value of a record's first header of a name.
type Headers func(name string) ([]byte, bool)

// Decode fills ID to Value of r, whose place in the log is set, from a record's headers
// and value. The error wraps ErrUnreadable: the topic's own writer wrote what is no event.
func (r *Recorded) Decode(headers Headers, value []byte) error {
	text := func(name string) string {
		v, _ := headers(name)
		return string(v)
	}
	r.ID, r.Type, r.Source = text(HeaderID), text(HeaderType), text(HeaderSource)
	r.Correlation, r.Causation, r.TraceParent = text(HeaderCorrelation), text(HeaderCausation), text(HeaderTraceParent)
	r.Value = value
	if r.Source != Source(Writer(r.Topic)) {
		r.Foreign = true
		r.ID = ForeignID(r.Topic, r.Partition, r.Offset)
		return nil
	}
	if r.ID == "" || r.Type == "" {
		return fmt.Errorf("%s partition %d offset %d: no %s or %s: %w", r.Topic, r.Partition, r.Offset, HeaderID, HeaderType, ErrUnreadable)
	}
	at, err := time.Parse(time.RFC3339Nano, text(HeaderTime))
	if err != nil {
		return fmt.Errorf("%s partition %d offset %d: %s: %w: %w", r.Topic, r.Partition, r.Offset, HeaderTime, err, ErrUnreadable)
	}
	r.Time = at.UTC()
	read, known := decoders[r.Type]
	if !known {
		return nil
	}
	if r.Data, err = read(value); err != nil {
		return fmt.Errorf("%s partition %d offset %d: %w: %w", r.Topic, r.Partition, r.Offset, err, ErrUnreadable)
	}
	return nil
}

// A Draft is an event that was decided and is not in the log yet.
type Draft struct {
	ID          string
	Source      string
	Subject     string
	Time        time.Time
	Correlation string
	Causation   string
	TraceParent string
	Data        Event
}

// Encode returns the event's JSON.
func (d *Draft) Encode() ([]byte, error) {
	data, err := json.Marshal(d.Data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", d.Data.EventType(), err)
	}
	return data, nil
}
