// Package frame holds the memory in which record batches travel: pooled,
// reference-counted buffers that are filled once from a socket and then written
// to the log, sent to followers and served to consumers without being copied.
//
// It knows sizes and references; it does not know what the bytes mean.
//
// A frame is drawn as
//
//	0        Prefix               Prefix+n                 capacity
//	| id ... | n usable bytes     | slack up to a power of two |
//	^ tag    ^ Bytes()
//
// Frames of one size are cut from slabs. A slab of which no frame is in use is kept for the next ones, of whatever
// size, up to the pool's limit, and its memory given back beyond that. A pool's memory is the runtime's, or lies beside it
// (NewMappedPool): the garbage collector then neither sees it nor leaves as much again unused.
//
// The start lies at a page of memory, so Bytes is aligned for writes that go past the system's page
// cache; in a frame of GetAfter the room before Bytes is, since a header is written there.
//
// The first bytes hold the frame's number within its pool. A slice of them, the
// Tag, can travel through an API that passes byte slices only (the Extensions of
// a raft log entry) and lead back to the frame by Pool.Find.
//
// Concurrency: a Pool and the reference count of a Frame may be used from any
// goroutine. The bytes belong to whoever filled them until they are shared;
// after that nobody writes them. Using a frame after its last Release is a bug
// and panics where it can be seen.
package frame

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// Prefix is the room in bytes before Bytes: it holds the tag, and whoever owns
	// the frame may use the last Room bytes of it for a header.
	Prefix = 512
	// Room is how many bytes before Bytes the owner may write (see Frame.WithRoom).
	Room = Prefix - tagBytes

	tagBytes = 8

	minClass = 12 // 4 KiB
	maxClass = 28 // 256 MiB

	// MinMemory is what the smallest frame takes of memory, in bytes: who bounds memory counts no less for a frame.
	MinMemory = 1 << minClass

	// MaxBytes is the largest n that Get accepts.
	MaxBytes = 1<<maxClass - Prefix
)

// A Pool hands out frames and takes them back. The zero value is not usable: call NewPool.
type Pool struct {
	source    source
	keepBytes int64
	total     atomic.Int64 // bytes of all slabs that have memory

	mu    sync.Mutex // guards the rest, and all slabs
	open  [maxClass + 1][]*slab
	slabs []*slab  // by number
	spare []uint32 // numbers of slabs without memory
	idle  int64    // bytes of open slabs of which no frame is in use
}

// NewPool returns a pool that keeps at most keepBytes of unused slabs for reuse;
// what comes back above that is left to the garbage collector.
func NewPool(keepBytes int64) *Pool { return &Pool{keepBytes: keepBytes, source: heap()} }

// NewMappedPool is NewPool with memory that the garbage collector does not know, in pages of 2 MiB for large frames where the system
// has them. It stays with the process as long as frames are in use: for pools that live as long as that.
func NewMappedPool(keepBytes int64) *Pool { return &Pool{keepBytes: keepBytes, source: mapped()} }

// Like returns a pool of its own whose memory is of the same kind.
func (p *Pool) Like(keepBytes int64) *Pool { return &Pool{keepBytes: keepBytes, source: p.source} }

// Bytes returns how many bytes the pool's slabs hold, in use or free.
func (p *Pool) Bytes() int64 { return p.total.Load() }

// A Frame is one buffer with a reference count.
type Frame struct {
	slab  *slab
	id    uint32
	refs  atomic.Int32
	mem   []byte
	start int // of the usable bytes
	size  int
}

// Get returns a frame of n usable bytes, not cleared, with one reference. They begin at a
// multiple of Prefix in memory. n must be in [0, MaxBytes].
func (p *Pool) Get(n int) *Frame { return p.get(n, Prefix) }

// GetAfter is Get of a frame in which not the usable bytes but the room before them, WithRoom(room), begins
// at a multiple of Prefix in memory, so that both can be written to a disk together without a copy. room
// must be at most Room.
func (p *Pool) GetAfter(room, n int) *Frame {
	if room < 0 || room > Room {
		panic(fmt.Sprintf("BUG: %d bytes of room in a frame, limit %d", room, Room))
	}
	return p.get(n, Prefix+room)
}

func (p *Pool) get(n, start int) *Frame {
	if n < 0 || n > MaxBytes+Prefix-start {
		panic(fmt.Sprintf("BUG: frame of %d bytes after %d, limit %d", n, start, MaxBytes+Prefix-start))
	}
	class := max(minClass, bits.Len(uint(n+start-1)))
	f := p.take(class)
	f.start, f.size = start, n
	binary.LittleEndian.PutUint32(f.mem, f.id)
	f.refs.Store(1)
	return f
}

// MemoryOf returns how many bytes a frame of Get(n) holds in all.
func MemoryOf(n int) int { return 1 << max(minClass, bits.Len(uint(n+Prefix-1))) }

// Find returns the frame that tag was taken from, or nil when tag is not one of this pool's.
// It adds no reference: the caller must know that somebody holds one.
func (p *Pool) Find(tag []byte) *Frame {
	if len(tag) != tagBytes {
		return nil
	}
	id := binary.LittleEndian.Uint32(tag)
	p.mu.Lock()
	defer p.mu.Unlock()
	number, i := id>>frameBits, id&(1<<frameBits-1)
	if int(number) >= len(p.slabs) || int(i) >= len(p.slabs[number].frames) || &p.slabs[number].frames[i].mem[0] != &tag[0] {
		return nil
	}
	return &p.slabs[number].frames[i]
}

// Bytes returns the usable bytes.
func (f *Frame) Bytes() []byte { return f.mem[f.start : f.start+f.size : f.start+f.size] }

// WithRoom returns the last n bytes before Bytes and then Bytes, as one slice. n must be at most Room.
func (f *Frame) WithRoom(n int) []byte {
	if n > Room {
		panic(fmt.Sprintf("BUG: %d bytes of room in a frame, limit %d", n, Room))
	}
	return f.mem[f.start-n : f.start+f.size]
}

// Cap returns how many bytes Resize may ask for.
func (f *Frame) Cap() int { return len(f.mem) - f.start }

// Memory returns how many bytes the frame holds in all.
func (f *Frame) Memory() int { return len(f.mem) }

// Resize changes the number of usable bytes to n, at most Cap. Only the sole owner may do so.
func (f *Frame) Resize(n int) {
	if n < 0 || n > f.Cap() {
		panic(fmt.Sprintf("BUG: frame resized to %d bytes, capacity %d", n, f.Cap()))
	}
	f.size = n
}

// Tag returns the bytes by which Pool.Find finds this frame again. They must not be changed.
func (f *Frame) Tag() []byte { return f.mem[:tagBytes:tagBytes] }

// Retain adds a reference.
func (f *Frame) Retain() {
	if f.refs.Add(1) <= 1 {
		panic("BUG: a released frame was retained")
	}
}

// Release drops a reference; the last one returns the frame to its pool.
func (f *Frame) Release() {
	switch n := f.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("BUG: a frame was released more often than retained")
	}
	f.slab.pool.give(f)
}
