package rows

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

// AppendString appends the length of s in bytes, and s.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// A Decoder reads numbers and strings from the front of a slice. The first mistake sticks; after it everything reads
// as zero.
type Decoder struct {
	what string
	rest []byte
	err  error
}

// NewDecoder returns a Decoder of b; what names the thing in errors. What it returns shares b's memory.
func NewDecoder(what string, b []byte) Decoder { return Decoder{what: what, rest: b} }

// Fail notes a mistake, unless there was one before.
func (d *Decoder) Fail(reason string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %s with %d bytes left: %w", d.what, reason, len(d.rest), record.ErrCorrupt)
	}
	d.rest = nil
}

// Err returns the first mistake so far.
func (d *Decoder) Err() error { return d.err }

// Rest returns what is not read yet.
func (d *Decoder) Rest() []byte { return d.rest }

// Byte reads one byte.
func (d *Decoder) Byte() byte {
	if len(d.rest) == 0 {
		d.Fail("byte")
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// Uint reads an unsigned varint.
func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.Fail("number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// Int reads a signed varint.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.Fail("number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// Number reads an unsigned varint that is at most limit.
func (d *Decoder) Number(limit uint64) uint64 {
	v := d.Uint()
	if v > limit {
		d.Fail(fmt.Sprintf("number %d, limit %d,", v, limit))
		return 0
	}
	return v
}

// Count reads how many things follow, each of which takes at least size bytes, so that there is room for them.
func (d *Decoder) Count(size int) int {
	return int(d.Number(uint64(len(d.rest) / size)))
}

// Bytes reads n bytes.
func (d *Decoder) Bytes(n int) []byte {
	if n > len(d.rest) {
		d.Fail(fmt.Sprintf("%d bytes", n))
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// String reads a string with its length before it.
func (d *Decoder) String() string { return string(d.Bytes(d.Count(1))) }

// End returns the first mistake, or one when bytes are left.
func (d *Decoder) End() error {
	if d.err == nil && len(d.rest) > 0 {
		d.Fail("unexpected end")
	}
	return d.err
}
