package record

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
)

// MaxHeaderCount bounds the headers of one record.
const MaxHeaderCount = 1 << 16

const (
	// minRecordBytes is the least that a record takes: seven varints of one byte.
	minRecordBytes = 7
	// minHeaderBytes is the least that a header takes: two lengths.
	minHeaderBytes = 2
	// maxVarintBytes bounds a varint of 64 bits.
	maxVarintBytes = 10
)

// A Record is one event of a batch. Its slices refer to the bytes it was read from.
type Record struct {
	// OffsetDelta is the record's offset minus the batch's base offset.
	OffsetDelta int32
	// TimestampDelta is the record's time minus the batch's base timestamp, in
	// milliseconds; when the broker set the time it means nothing (see Batch.Timestamp).
	TimestampDelta int64
	// Key and Value are nil when the record has none, which differs from empty.
	Key, Value []byte
	Headers    []Header
}

// A Header is a named value beside a record. Value is nil for null.
type Header struct {
	Key, Value []byte
}

// Header returns the value of the last header of that name and whether there is one.
func (r *Record) Header(name string) ([]byte, bool) {
	for _, h := range slices.Backward(r.Headers) {
		if string(h.Key) == name {
			return h.Value, true
		}
	}
	return nil, false
}

// Offset returns the offset of r, a record of b.
func (b Batch) Offset(r *Record) Offset { return b.BaseOffset() + Offset(r.OffsetDelta) }

// Timestamp returns the time of r, a record of b, in milliseconds since 1970.
func (b Batch) Timestamp(r *Record) int64 {
	if b.IsLogAppendTime() {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + r.TimestampDelta
}

// A Reader takes the records of one batch in order, without allocating for any of them:
// Codecs.Read begins, Next goes on, Err says why Next returned false.
type Reader struct {
	// Record is what Next found. Its Key, Value and the headers' bytes stay valid as long as the batch does, or
	// what it was decompressed to; the Headers slice itself is used again for the next record.
	Record Record

	rest   []byte
	next   int32 // records before Record, and that one
	count  int32 // as the header says
	latest int32 // offset delta of the batch's last record, as the header says
	err    error
}

// Read makes r read the records of b, decompressing at most limit bytes. Its error wraps ErrCorrupt or ErrTooLarge.
func (c *Codecs) Read(r *Reader, b Batch, limit int) error {
	data := b.Records()
	*r = Reader{Record: Record{OffsetDelta: -1, Headers: r.Record.Headers[:0]}, count: b.RecordCount(), latest: b.LastOffsetDelta()}
	if r.count < 0 || r.count > MaxRecordCount {
		return fmt.Errorf("batch says %d records, limit %d: %w", r.count, MaxRecordCount, ErrCorrupt)
	}
	if codec := b.Codec(); codec != CodecNone {
		var err error
		if data, err = c.Decompress(nil, codec, data, limit); err != nil {
			return err
		}
	} else if len(data) > limit {
		return tooLarge(codec, limit)
	}
	if int(r.count) > len(data)/minRecordBytes {
		return fmt.Errorf("batch says %d records in %d bytes: %w", r.count, len(data), ErrCorrupt)
	}
	r.rest = data
	return nil
}

// Next finds the next record. It returns false after the last one, and when the bytes make no sense.
func (r *Reader) Next() bool {
	if r.next == r.count || r.err != nil {
		if len(r.rest) > 0 && r.err == nil {
			r.err = fmt.Errorf("%d bytes after the last record: %w", len(r.rest), ErrCorrupt)
		}
		return false
	}
	last := r.Record.OffsetDelta
	var err error
	if r.rest, err = nextRecord(&r.Record, r.rest); err == nil && (r.Record.OffsetDelta <= last || r.Record.OffsetDelta > r.latest) {
		err = fmt.Errorf("offset delta %d after %d, last %d: %w", r.Record.OffsetDelta, last, r.latest, ErrCorrupt)
	}
	if err != nil {
		r.err = fmt.Errorf("record %d: %w", r.next, err)
		return false
	}
	r.next++
	return true
}

// Err returns nil after the last record, else what was wrong, which wraps ErrCorrupt.
func (r *Reader) Err() error { return r.err }

// Records yields the records of b in order, decompressing at most limit bytes. The first
// error is the last thing yielded, with a zero Record; it wraps ErrCorrupt or
// ErrTooLarge. Key, Value and the headers' bytes stay valid as long as b does; the
// Headers slice itself is used again for the next record.
//
// Checked: every length and count, offset deltas ascend within LastOffsetDelta, the number
// of records is what the header says (at most MaxRecordCount), and nothing is left over.
func (c *Codecs) Records(b Batch, limit int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var r Reader
		if err := c.Read(&r, b, limit); err != nil {
			yield(Record{}, err)
			return
		}
		for r.Next() {
			if !yield(r.Record, nil) {
				return
			}
		}
		if err := r.Err(); err != nil {
			yield(Record{}, err)
		}
	}
}

// nextRecord parses the first record of b into r and returns the rest.
func nextRecord(r *Record, b []byte) ([]byte, error) {
	body := varintReader{rest: b}
	size := body.varint()
	if body.bad || size < minRecordBytes-1 || size > int64(len(body.rest)) {
		return nil, fmt.Errorf("record of %d bytes in %d: %w", size, len(b), ErrCorrupt)
	}
	rest := body.rest[size:]
	body.rest = body.rest[1:size:size] // the attributes are unused
	r.TimestampDelta = body.varint()
	offset := body.varint()
	r.OffsetDelta = int32(offset)
	r.Key = body.field()
	r.Value = body.field()
	headers := body.varint()
	if body.bad || int64(r.OffsetDelta) != offset || headers < 0 || headers > int64(min(MaxHeaderCount, len(body.rest)/minHeaderBytes)) {
		return nil, fmt.Errorf("offset delta %d, %d headers in %d bytes: %w", offset, headers, len(body.rest), ErrCorrupt)
	}
	r.Headers = r.Headers[:0]
	for range headers {
		h := Header{Key: body.field(), Value: body.field()}
		if body.bad || h.Key == nil {
			return nil, fmt.Errorf("header without a key or beyond the record: %w", ErrCorrupt)
		}
		r.Headers = append(r.Headers, h)
	}
	if len(body.rest) > 0 {
		return nil, fmt.Errorf("%d bytes after the headers: %w", len(body.rest), ErrCorrupt)
	}
	return rest, nil
}

// varintReader takes values off the front of rest; bad stays set after the first that is not there.
type varintReader struct {
	rest []byte
	bad  bool
}

func (v *varintReader) varint() int64 {
	if len(v.rest) > 0 && v.rest[0] < 0x80 { // most are this short
		x := v.rest[0]
		v.rest = v.rest[1:]
		return int64(x>>1) ^ -int64(x&1)
	}
	x, n := binary.Varint(v.rest[:min(len(v.rest), maxVarintBytes)])
	if n <= 0 {
		v.bad, v.rest = true, nil
		return 0
	}
	v.rest = v.rest[n:]
	return x
}

// field takes bytes with their length before them; -1 is nil.
func (v *varintReader) field() []byte {
	n := v.varint()
	if n == -1 {
		return nil
	}
	if n < 0 || n > int64(len(v.rest)) {
		v.bad, v.rest = true, nil
		return nil
	}
	out := v.rest[:n:n]
	v.rest = v.rest[n:]
	return out
}
