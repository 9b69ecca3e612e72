package log

import (
	"reflect"

	"github.com/stela-db/stela/log/segment"
)

const (
	// Records up to smallRecord bytes are copied together, so that a buffer of a write is worth its while.
	smallRecord = 32 << 10
	// scratchBytes is how much may be copied for one write.
	scratchBytes = 1 << 20
	// maxBuffers is how many buffers one write has.
	maxBuffers = 1000
	// maxAlignment is what the places of records are a multiple of, and so the most that a disk may ask for.
	maxAlignment = segment.Align
)

// gatherer makes buffers of records that follow each other: large records as they lie in their frames,
// what is small, padding, and what is not aligned as the file wants it by copying.
type gatherer struct {
	scratch []byte // memory for copies, aligned
	used    int    // of scratch
	offset  int64  // in the file, of the first buffer
	bytes   int64  // in buffers
	buffers [][]byte
}

func newGatherer(scratch int) gatherer { return gatherer{scratch: aligned(scratch)} }

// aligned returns n bytes of memory that any file may be written from.
func aligned(n int) []byte {
	b := make([]byte, n+maxAlignment)
	skip := (maxAlignment - int(address(b)%maxAlignment)) % maxAlignment
	return b[skip : skip+n : skip+n]
}

// address returns where bytes lie in memory. Memory of this size is not moved.
func address(b []byte) uintptr { return reflect.ValueOf(b).Pointer() }

// reset begins a write at offset.
func (g *gatherer) reset(offset int64) {
	clear(g.buffers)
	g.buffers, g.used, g.bytes, g.offset = g.buffers[:0], 0, 0, offset
}

// add takes as much as fits of data, padded with zeros to size, and returns what is left of both.
func (g *gatherer) add(data []byte, size int64, alignment int) ([]byte, int64) {
	if whole := len(data) - len(data)%alignment; len(data) > smallRecord && address(data)%uintptr(alignment) == 0 {
		if len(g.buffers) == maxBuffers {
			return data, size
		}
		g.buffers = append(g.buffers, data[:whole])
		g.bytes += int64(whole)
		data, size = data[whole:], size-int64(whole)
	}
	return g.copy(data, size)
}

func (g *gatherer) copy(data []byte, size int64) ([]byte, int64) {
	n := int(min(size, int64(len(g.scratch)-g.used)))
	if n == 0 {
		return data, size
	}
	last := len(g.buffers) - 1
	if last < 0 || !g.endsWith(g.buffers[last]) {
		if len(g.buffers) == maxBuffers {
			return data, size
		}
		g.buffers = append(g.buffers, g.scratch[g.used:g.used])
		last++
	}
	to := g.scratch[g.used : g.used+n]
	copied := copy(to, data)
	clear(to[copied:])
	g.buffers[last] = g.buffers[last][:len(g.buffers[last])+n]
	g.used += n
	g.bytes += int64(n)
	return data[copied:], size - int64(n)
}

// endsWith reports whether the buffer is what was copied last.
func (g *gatherer) endsWith(buffer []byte) bool {
	n := len(buffer)
	return n > 0 && n <= g.used && &buffer[n-1] == &g.scratch[g.used-1]
}
