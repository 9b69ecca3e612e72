package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// The media types of events.
const (
	contentBatch = "application/cloudevents-batch+json"
	contentEvent = "application/cloudevents+json"
)

const (
	// maxAttributes bounds the attributes of one event.
	maxAttributes = 64
	// maxAttributeBytes bounds the text of one attribute.
	maxAttributeBytes = 4 << 10
	// maxIDBytes bounds an event's id.
	maxIDBytes = broker.MaxEventIDBytes
	// maxNameBytes bounds the name of one attribute.
	maxNameBytes = 64
)

// The record headers of the CloudEvents binding for Kafka, binary mode.
const (
	headerPrefix      = "ce_"
	headerContentType = "content-type"
)

// required are the attributes that every event must have. They become headers in this
// order; the broker itself writes that of the id.
var required = [...]string{"id", "specversion", "type", "source"}

// ours are the attributes that the server adds to events that are read. On an
// append they are ignored, so that what was read can be appended elsewhere.
var ours = [...]string{"sequence", "offset"}

// parseEvents reads a batch, or a single event when single says so. What it returns
// refers to body. An error says what is wrong and where.
func parseEvents(body []byte, single bool) ([]broker.Event, error) {
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	first := body[skipSpace(body, 0)]
	if single {
		if first != '{' {
			return nil, errors.New("the body must be one event, a json object")
		}
		e, err := parseEvent(body)
		if err != nil {
			return nil, err
		}
		return []broker.Event{e}, nil
	}
	if first != '[' {
		return nil, errors.New("the body must be a json array of events")
	}
	var events []broker.Event
	seen := map[string]int{}
	for element := range elements(body) {
		if len(events) == broker.MaxAppendEvents {
			return nil, fmt.Errorf("more than %d events in one append", broker.MaxAppendEvents)
		}
		if element[0] != '{' {
			return nil, fmt.Errorf("event %d is not a json object", len(events))
		}
		e, err := parseEvent(element)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(events), err)
		}
		if at, ok := seen[e.ID]; ok {
			return nil, fmt.Errorf("event %d has the id of event %d", len(events), at)
		}
		seen[e.ID] = len(events)
		events = append(events, e)
	}
	if len(events) == 0 {
		return nil, errors.New("an append needs at least one event")
	}
	return events, nil
}

// parseEvent reads one event; object is valid JSON.
func parseEvent(object []byte) (broker.Event, error) {
	attributes := map[string]string{}
	var names []string
	var data, encoded []byte
	for quoted, value := range members(object) {
		name, err := unquote(quoted)
		if err != nil {
			return broker.Event{}, err
		}
		switch name {
		case "data":
			if data != nil {
				return broker.Event{}, errors.New("data is given twice")
			}
			data = value
			continue
		case "data_base64":
			if encoded != nil {
				return broker.Event{}, errors.New("data_base64 is given twice")
			}
			encoded = value
			continue
		}
		text, err := attributeText(name, value)
		if err != nil {
			return broker.Event{}, err
		}
		if _, ok := attributes[name]; ok {
			return broker.Event{}, fmt.Errorf("attribute %s is given twice", name)
		}
		if len(names) == maxAttributes {
			return broker.Event{}, fmt.Errorf("more than %d attributes", maxAttributes)
		}
		if string(value) == "null" {
			continue // as good as absent, says the specification
		}
		attributes[name] = text
		names = append(names, name)
	}
	return assemble(attributes, names, data, encoded)
}

// attributeText returns the text of an attribute: strings are unquoted, numbers and booleans are as written.
func attributeText(name string, value []byte) (string, error) {
	if !isAttribute(name) {
		return "", fmt.Errorf("attribute name %q: lower-case letters and digits only, at most %d", clip(name), maxNameBytes)
	}
	text := string(value)
	switch value[0] {
	case '{', '[':
		return "", fmt.Errorf("attribute %s must be a string, a number or a boolean", name)
	case '"':
		var err error
		if text, err = unquote(value); err != nil {
			return "", fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	if len(text) > maxAttributeBytes {
		return "", fmt.Errorf("attribute %s has %d bytes, limit %d", name, len(text), maxAttributeBytes)
	}
	return text, nil
}

// isAttribute reports whether CloudEvents allows the name.
func isAttribute(name string) bool {
	return name != "" && len(name) <= maxNameBytes && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// assemble makes an event of its parts. names holds the attributes in the order in which they were written.
func assemble(attributes map[string]string, names []string, data, encoded []byte) (broker.Event, error) {
	for _, name := range required {
		if attributes[name] == "" {
			return broker.Event{}, fmt.Errorf("attribute %s is missing", name)
		}
	}
	if n := len(attributes["id"]); n > maxIDBytes {
		return broker.Event{}, fmt.Errorf("attribute id has %d bytes, limit %d", n, maxIDBytes)
	}
	if v := attributes["specversion"]; v != "1.0" {
		return broker.Event{}, fmt.Errorf("specversion %q, wanted 1.0", clip(v))
	}
	e := broker.Event{ID: attributes["id"], Headers: make([]record.Header, 0, len(names)+1)}
	if text, ok := attributes["time"]; ok {
		var err error
		if e.Time, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return broker.Event{}, fmt.Errorf("attribute time %q is not a time of rfc 3339", clip(text))
		}
	}
	content, ok := attributes["datacontenttype"]
	if !ok {
		content = contentJSON
	}
	var err error
	if e.Value, err = valueOf(content, data, encoded); err != nil {
		return broker.Event{}, err
	}
	for _, name := range required[1:] {
		e.Headers = append(e.Headers, record.Header{Key: []byte(headerPrefix + name), Value: []byte(attributes[name])})
	}
	for _, name := range names {
		if name == "datacontenttype" || slices.Contains(required[:], name) || slices.Contains(ours[:], name) {
			continue
		}
		e.Headers = append(e.Headers, record.Header{Key: []byte(headerPrefix + name), Value: []byte(attributes[name])})
	}
	e.Headers = append(e.Headers, record.Header{Key: []byte(headerContentType), Value: []byte(content)})
	return e, nil
}

// valueOf returns the bytes of a record's value. JSON stays as it was written.
func valueOf(content string, data, encoded []byte) ([]byte, error) {
	switch {
	case data != nil && encoded != nil:
		return nil, errors.New("data and data_base64 exclude each other")
	case encoded != nil:
		if encoded[0] != '"' {
			return nil, errors.New("data_base64 must be a string")
		}
		text, err := unquote(encoded)
		if err != nil {
			return nil, fmt.Errorf("data_base64: %w", err)
		}
		value, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("data_base64: %w", err)
		}
		return value, nil
	case data == nil:
		return nil, nil
	case isJSON(content):
		return data, nil
	case data[0] == '"':
		text, err := unquote(data)
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		return []byte(text), nil
	default:
		return nil, fmt.Errorf("data of type %q must be a string, or be given as data_base64", clip(content))
	}
}

// isJSON reports whether a media type is JSON.
func isJSON(content string) bool {
	media, _, _ := strings.Cut(content, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == contentJSON || strings.HasSuffix(media, "+json")
}

// appendEvent appends the event as a CloudEvent. Records that were produced without
// CloudEvents headers get an id that names their place, and say that they are records.
func appendEvent(b []byte, topic string, e *broker.StreamEvent) []byte {
	b = append(b, `{"specversion":"1.0"`...)
	var hasID, hasType, hasSource, hasTime bool
	content := ""
	for i, header := range e.Headers {
		if string(header.Key) == headerContentType {
			content = string(header.Value)
			continue
		}
		name, ok := strings.CutPrefix(string(header.Key), headerPrefix)
		if !ok || !isAttribute(name) || slices.ContainsFunc(e.Headers[:i], func(earlier record.Header) bool {
			return bytes.Equal(earlier.Key, header.Key)
		}) {
			continue
		}
		switch name {
		case "specversion", "datacontenttype", "data", "sequence", "offset":
			continue // written from what is known better
		case "id":
			hasID = true
		case "type":
			hasType = true
		case "source":
			hasSource = true
		case "time":
			hasTime = true
		}
		b = appendMember(b, name, string(header.Value))
	}
	offset := strconv.FormatInt(int64(e.Offset), 10)
	if !hasID {
		b = appendMember(b, "id", topic+"/"+strconv.Itoa(int(e.Partition))+"/"+offset)
	}
	if !hasType {
		b = appendMember(b, "type", "record")
	}
	if !hasSource {
		b = appendMember(b, "source", "/topics/"+topic)
	}
	if !hasTime {
		b = appendMember(b, "time", time.UnixMilli(e.Timestamp).UTC().Format(time.RFC3339Nano))
	}
	b = appendMember(b, "sequence", strconv.FormatInt(e.Version, 10))
	b = appendMember(b, "offset", offset)
	if content != "" {
		b = appendMember(b, "datacontenttype", content)
	}
	switch {
	case e.Value == nil:
	case (content == "" || isJSON(content)) && utf8.Valid(e.Value) && json.Valid(e.Value):
		b = append(append(b, `,"data":`...), e.Value...)
	default:
		b = append(b, `,"data_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, e.Value), '"')
	}
	return append(b, '}')
}

func appendMember(b []byte, name, text string) []byte {
	b = append(b, ',')
	b = appendString(b, name)
	b = append(b, ':')
	return appendString(b, text)
}

// clip shortens what a client sent for use in an answer.
func clip(s string) string {
	const limit = 100
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
