package group

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

// A decoder reads what the append functions wrote. The first mistake sticks in err; after
// it everything reads as zero. It never allocates more than it was given.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("group record: %s with %d bytes left: %w", what, len(d.rest), record.ErrCorrupt)
	}
	d.rest = nil
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail("byte")
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// number reads an unsigned number that is at most limit.
func (d *decoder) number(limit uint64) uint64 {
	v := d.uint()
	if v > limit {
		d.fail(fmt.Sprintf("number %d, limit %d,", v, limit))
		return 0
	}
	return v
}

// count reads how many things follow, each of which takes at least size bytes.
func (d *decoder) count(size int) int {
	return int(d.number(uint64(len(d.rest) / size)))
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.fail(fmt.Sprintf("%d bytes", n))
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.count(1))) }

// end returns the first error, or one when bytes are left.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("unexpected end")
	}
	return d.err
}
