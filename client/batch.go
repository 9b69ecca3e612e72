package client

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

const (
	batchHeaderBytes = 61
	batchCRCFrom     = 21 // a batch's checksum covers what follows it
)

// encodeBatch returns the events as one record batch (KIP-98, format 2) whose records have the headers that the HTTP door
// gives them: the CloudEvents binding for Kafka, binary mode.
func encodeBatch(key string, events []Event, now time.Time) ([]byte, error) {
	b := make([]byte, batchHeaderBytes, batchHeaderBytes+len(events)*256)
	first := events[0].Time
	if first.IsZero() {
		first = now
	}
	newest := first
	var record []byte
	for i := range events {
		e := &events[i]
		if err := e.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(events[:i], func(earlier Event) bool { return earlier.ID == e.ID }) {
			return nil, fmt.Errorf("event %d has the id of an earlier one", i)
		}
		at := e.Time
		if at.IsZero() {
			at = now
		}
		if at.After(newest) {
			newest = at
		}
		record = appendRecord(record[:0], at.UnixMilli()-first.UnixMilli(), int64(i), key, e)
		b = append(binary.AppendVarint(b, int64(len(record))), record...)
	}
	const format, noProducer = 2, ^uint64(0)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = format
	binary.BigEndian.PutUint32(b[23:], uint32(len(events)-1))
	binary.BigEndian.PutUint64(b[27:], uint64(first.UnixMilli()))
	binary.BigEndian.PutUint64(b[35:], uint64(newest.UnixMilli()))
	binary.BigEndian.PutUint64(b[43:], noProducer)
	binary.BigEndian.PutUint16(b[51:], uint16(noProducer&0xffff))
	binary.BigEndian.PutUint32(b[53:], uint32(noProducer&0xffffffff))
	binary.BigEndian.PutUint32(b[57:], uint32(len(events)))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[batchCRCFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return b, nil
}

// appendRecord appends one record without its length.
func appendRecord(b []byte, timeDelta, offsetDelta int64, key string, e *Event) []byte {
	headers := append(make([]Attribute, 0, 8), Attribute{"ce_id", e.ID}, Attribute{"ce_specversion", "1.0"},
		Attribute{"ce_type", e.Type}, Attribute{"ce_source", e.Source})
	if e.Subject != "" {
		headers = append(headers, Attribute{"ce_subject", e.Subject})
	}
	if !e.Time.IsZero() {
		headers = append(headers, Attribute{"ce_time", e.Time.UTC().Format(time.RFC3339Nano)})
	}
	for _, a := range e.Extensions {
		headers = append(headers, Attribute{"ce_" + a.Name, a.Value})
	}
	headers = append(headers, Attribute{"content-type", e.contentType()})
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendText(b, key)
	b = append(binary.AppendVarint(b, int64(len(e.Data))), e.Data...)
	b = binary.AppendVarint(b, int64(len(headers)))
	for _, h := range headers {
		b = appendText(appendText(b, h.Name), h.Value)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendVarint(b, int64(len(text))), text...)
}
