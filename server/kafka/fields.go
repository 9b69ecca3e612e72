package kafka

import (
	"encoding/binary"
	"fmt"
)

// fields takes values off the front of a request's body that is in memory. The first that is not there sets
// bad, and all that follow are zero.
type fields struct {
	rest     []byte
	flexible bool
	bad      error
}

func (f *fields) fail(format string, values ...any) {
	if f.bad == nil {
		f.bad = fmt.Errorf(format+": %w", append(values, errMalformed)...)
	}
	f.rest = nil
}

// take returns the next n bytes, or nil when they are not there.
func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.fail("%d bytes wanted, %d left", n, len(f.rest))
		return nil
	}
	out := f.rest[:n:n]
	f.rest = f.rest[n:]
	return out
}

func (f *fields) int8() int8 {
	if b := f.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (f *fields) int16() int16 {
	if b := f.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (f *fields) int32() int32 {
	if b := f.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (f *fields) int64() int64 {
	if b := f.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (f *fields) uuid() (id [16]byte) {
	copy(id[:], f.take(len(id)))
	return id
}

// uvarint takes an unsigned varint of at most 32 bits.
func (f *fields) uvarint() uint32 {
	x, n := binary.Uvarint(f.rest[:min(len(f.rest), binary.MaxVarintLen32)])
	if n <= 0 || x > 1<<32-1 {
		f.fail("varint")
		return 0
	}
	f.rest = f.rest[n:]
	return uint32(x)
}

// stringLength takes the length before a string: -1 for null.
func (f *fields) stringLength() int {
	if f.flexible {
		n := int64(f.uvarint()) - 1
		if f.bad == nil && n > maxStringBytes {
			f.fail("string of %d bytes", n)
		}
		return int(n)
	}
	return int(f.int16())
}

// maxStringBytes bounds strings, as the 16-bit lengths do.
const maxStringBytes = 1<<15 - 1

// string takes a string that may not be null.
func (f *fields) string() []byte {
	n := f.stringLength()
	if f.bad == nil && n < 0 {
		f.fail("null where a string must be")
	}
	return f.take(max(n, 0))
}

// count takes the length before an array of elements that take at least least bytes: -1 for null.
func (f *fields) count(least int) int {
	var n int64
	if f.flexible {
		n = int64(f.uvarint()) - 1
	} else {
		n = int64(f.int32())
	}
	if f.bad == nil && (n < -1 || n > int64(len(f.rest)/least)) {
		f.fail("array of %d elements in %d bytes", n, len(f.rest))
		return 0
	}
	return int(n)
}

// tags takes the tagged fields that end a structure of a flexible version and hands those to visit, which may be nil.
func (f *fields) tags(visit func(tag uint32, value []byte)) {
	if !f.flexible {
		return
	}
	count := f.uvarint()
	if count > maxTags {
		f.fail("%d tags, limit %d", count, maxTags)
		return
	}
	last := int64(-1)
	for range count {
		tag, size := f.uvarint(), f.uvarint()
		if f.bad == nil && (int64(tag) <= last || size > maxTagBytes) {
			f.fail("tag %d of %d bytes after tag %d", tag, size, last)
		}
		value := f.take(int(size))
		if f.bad != nil {
			return
		}
		last = int64(tag)
		if visit != nil {
			visit(tag, value)
		}
	}
}

// end checks that hardly anything is left.
func (f *fields) end() {
	if f.bad == nil && len(f.rest) > maxTrailing {
		f.fail("%d bytes after the last field", len(f.rest))
	}
}

// header is what precedes a request's body.
type header struct {
	key         int16
	version     int16
	correlation int32
	clientID    string
}

// headerBytes is how much of a header is there in every version.
const headerBytes = 8

// parseHeaderStart parses the part that is there in every version, even one that is not known.
func parseHeaderStart(b []byte) header {
	return header{
		key:         int16(binary.BigEndian.Uint16(b)),
		version:     int16(binary.BigEndian.Uint16(b[2:])),
		correlation: int32(binary.BigEndian.Uint32(b[4:])),
	}
}

// clientID takes the client id, whose length is never compact, and the header's tags.
func (f *fields) headerEnd() (clientID string) {
	n := f.int16()
	if f.bad == nil && n < -1 {
		f.fail("client id of %d bytes", n)
	}
	clientID = string(f.take(max(int(n), 0)))
	f.tags(nil)
	return clientID
}
