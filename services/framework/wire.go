package framework

import (
	"encoding/json"
	"fmt"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
)

// The names of our extension attributes; a header is "ce_" and the name.
const (
	correlationAttribute = "correlationid"
	causationAttribute   = "causationid"
	traceAttribute       = "traceparent"
)

// decode reads a record. Also when it returns an error, the record's place is filled in.
func decode(r *client.Record) (event.Recorded, error) {
	e := event.Recorded{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Stream: string(r.Key), Version: -1, Time: r.Time.UTC()}
	err := e.Decode(r.Header, r.Value)
	return e, err
}

// Decode reads an event of a stream that was read through the HTTP door.
func Decode(topic, stream string, e client.Event) (event.Recorded, error) {
	headers := map[string]string{
		event.HeaderID: e.ID, event.HeaderType: e.Type, event.HeaderSource: e.Source, event.HeaderSubject: e.Subject,
		event.HeaderTime:        e.Time.Format(timeFormat),
		event.HeaderCorrelation: e.Extension(correlationAttribute), event.HeaderCausation: e.Extension(causationAttribute),
		event.HeaderTraceParent: e.Extension(traceAttribute),
	}
	recorded := event.Recorded{Topic: topic, Partition: -1, Offset: e.Offset, Stream: stream, Version: e.Version, Time: e.Time}
	err := recorded.Decode(func(name string) ([]byte, bool) {
		value, ok := headers[name]
		return []byte(value), ok
	}, e.Data)
	return recorded, err
}

const timeFormat = "2006-01-02T15:04:05.999999999Z07:00"

// Encode makes an event as the HTTP door takes it: ID, Type, Source, Stream, Time, the
// causes and Data of e.
func Encode(e *event.Recorded) (client.Event, error) {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return client.Event{}, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	wire := client.Event{
		ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Stream, Time: e.Time,
		Extensions: []client.Attribute{{Name: correlationAttribute, Value: e.Correlation}, {Name: causationAttribute, Value: e.Causation}},
		Data:       data,
	}
	if e.TraceParent != "" {
		wire.Extensions = append(wire.Extensions, client.Attribute{Name: traceAttribute, Value: e.TraceParent})
	}
	return wire, nil
}
