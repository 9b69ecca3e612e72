package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const jsonContent = "application/json"

// encodeEvents writes the events as a CloudEvents JSON batch.
func encodeEvents(events []Event) ([]byte, error) {
	b := []byte{'['}
	for i := range events {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendEvent(b, &events[i]); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	return append(b, ']'), nil
}

// check reports what the server would refuse.
func (e *Event) check() error {
	if e.ID == "" || e.Type == "" || e.Source == "" {
		return fmt.Errorf("an event needs id, type and source; got id %q type %q source %q", e.ID, e.Type, e.Source)
	}
	for _, a := range e.Extensions {
		if !isExtension(a.Name) {
			return fmt.Errorf("extension attribute %q: wanted 1 to 20 lower-case letters and digits that CloudEvents does not use itself", a.Name)
		}
	}
	if isJSON(e.contentType()) && !json.Valid(e.Data) {
		return errors.New("data is not valid json")
	}
	return nil
}

func (e *Event) contentType() string {
	if e.ContentType == "" {
		return jsonContent
	}
	return e.ContentType
}

func appendEvent(b []byte, e *Event) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	b = append(b, `{"specversion":"1.0"`...)
	b = appendAttribute(b, "id", e.ID)
	b = appendAttribute(b, "type", e.Type)
	b = appendAttribute(b, "source", e.Source)
	if e.Subject != "" {
		b = appendAttribute(b, "subject", e.Subject)
	}
	if !e.Time.IsZero() {
		b = appendAttribute(b, "time", e.Time.UTC().Format(time.RFC3339Nano))
	}
	content := e.contentType()
	b = appendAttribute(b, "datacontenttype", content)
	for _, a := range e.Extensions {
		b = appendAttribute(b, a.Name, a.Value)
	}
	if isJSON(content) {
		b = append(append(b, `,"data":`...), e.Data...)
	} else {
		b = append(b, `,"data_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, e.Data), '"')
	}
	return append(b, '}'), nil
}

func appendAttribute(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	quoted, _ := json.Marshal(value) // a string always marshals
	return append(b, quoted...)
}

func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(strings.ToLower(media))
	return media == jsonContent || strings.HasSuffix(media, "+json")
}

// reserved are the attributes that CloudEvents defines and those that the server adds.
func isReserved(name string) bool {
	return slices.Contains([]string{
		"specversion", "id", "type", "source", "subject", "time",
		"datacontenttype", "dataschema", "data", "sequence", "partition", "offset",
	}, name)
}

func isExtension(name string) bool {
	if name == "" || len(name) > 20 || isReserved(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// decodeEvents reads a batch and gives each event its version when the server did not say it.
func decodeEvents(body []byte, request ReadRequest) ([]Event, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("parse events: %w", err)
	}
	events := make([]Event, 0, len(raw))
	for i, one := range raw {
		event, err := decodeEvent(one)
		if err != nil {
			return nil, fmt.Errorf("parse event %d: %w", i, err)
		}
		if event.Version < 0 && !request.Backward {
			event.Version = request.From + int64(i)
		}
		events = append(events, event)
	}
	return events, nil
}

func decodeEvent(raw []byte) (Event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return Event{}, err
	}
	e := Event{Version: -1, Offset: -1}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := e.setField(name, fields[name]); err != nil {
			return Event{}, fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return e, nil
}

func (e *Event) setField(name string, raw json.RawMessage) error {
	switch name {
	case "data":
		e.Data = bytes.Clone(raw)
		return nil
	case "data_base64":
		return json.Unmarshal(raw, &e.Data)
	case "specversion":
		return nil
	}
	text := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	}
	var err error
	switch name {
	case "id":
		e.ID = text
	case "type":
		e.Type = text
	case "source":
		e.Source = text
	case "subject":
		e.Subject = text
	case "time":
		e.Time, err = time.Parse(time.RFC3339Nano, text)
	case "datacontenttype":
		e.ContentType = text
	case "sequence":
		e.Version, err = strconv.ParseInt(text, 10, 64)
	case "offset":
		e.Offset, err = strconv.ParseInt(text, 10, 64)
	default:
		e.Extensions = append(e.Extensions, Attribute{Name: name, Value: text})
	}
	return err
}
