package log

import (
	"math"
	"sync"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// keptShare is the part of the limit that the tails of entries that were evicted before
// they were applied may take.
const keptShare = 4

// tail holds the frames of the newest entries of all shards, for followers, consumers
// and the state machine. It is bounded by bytes; what is not yet durable is never evicted,
// since it cannot be read from disk.
type tail struct {
	limit int64

	mu        sync.Mutex // guards the rest
	bytes     int64      // of memory of the frames in order
	entries   map[record.Position]tailEntry
	order     []tailRef // oldest first, from head on
	head      int
	lastFrame *frame.Frame // of the newest ref
	kept      map[record.Shard][]keptRef
	keptBytes int64
}

type tailEntry struct {
	payload []byte       // nil when evicted
	frame   *frame.Frame // holds payload; nil when evicted
	kept    []byte       // the payload's tail, for an evicted entry that is not yet applied
}

type tailRef struct {
	position  record.Position
	shard     *Shard
	index     record.Index
	tailBytes uint32
	memory    int64 // of the frame, on the first of those refs that share one
}

type keptRef struct {
	index    record.Index
	position record.Position
}

func newTail(limit int64) *tail {
	return &tail{limit: limit, entries: map[record.Position]tailEntry{}, kept: map[record.Shard][]keptRef{}}
}

// add puts queued records in, adding a reference to their frames. durable is the log's durable position.
func (t *tail) add(items []item, durable record.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range items {
		it := &items[i]
		if it.frame == nil {
			continue
		}
		ref := tailRef{position: it.header.Position, shard: it.shard, index: it.header.Index, tailBytes: it.header.TailBytes}
		if it.frame != t.lastFrame || t.head == len(t.order) {
			t.lastFrame = it.frame
			ref.memory = int64(it.frame.Memory())
			t.bytes += ref.memory
		}
		it.frame.Retain()
		t.entries[ref.position] = tailEntry{payload: it.data[segment.HeaderBytes:], frame: it.frame}
		t.order = append(t.order, ref)
	}
	t.shrink(durable)
}

// shrinkTo evicts what is above the limit and durable.
func (t *tail) shrinkTo(durable record.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shrink(durable)
}

// shrink is shrinkTo with t.mu held.
func (t *tail) shrink(durable record.Position) {
	for t.bytes > t.limit && t.head < len(t.order) && t.order[t.head].position < durable {
		t.evict(&t.order[t.head])
		t.order[t.head] = tailRef{}
		t.head++
	}
	if t.head > 1024 && t.head*2 > len(t.order) {
		n := copy(t.order, t.order[t.head:])
		clear(t.order[n:])
		t.order, t.head = t.order[:n], 0
	}
}

func (t *tail) evict(ref *tailRef) {
	e := t.entries[ref.position]
	t.bytes -= ref.memory
	if ref.index > record.Index(ref.shard.applied.Load()) && t.keptBytes+int64(ref.tailBytes) <= t.limit/keptShare {
		kept := append([]byte(nil), e.payload[len(e.payload)-int(ref.tailBytes):]...)
		t.entries[ref.position] = tailEntry{kept: kept}
		t.kept[ref.shard.number] = append(t.kept[ref.shard.number], keptRef{index: ref.index, position: ref.position})
		t.keptBytes += int64(len(kept))
	} else {
		delete(t.entries, ref.position)
	}
	e.frame.Release()
}

// get returns an entry's payload and its frame with a reference added, or false.
func (t *tail) get(position record.Position) ([]byte, *frame.Frame, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[position]
	if !ok || e.frame == nil {
		return nil, nil, false
	}
	e.frame.Retain()
	return e.payload, e.frame, true
}

// begin returns about where what the tail holds begins: all that lies after it is in memory.
func (t *tail) begin() record.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head == len(t.order) {
		return math.MaxInt64
	}
	return t.order[t.head].position
}

// getKept returns the tail of an entry whose frame was evicted, or false.
func (t *tail) getKept(position record.Position) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[position]
	return e.kept, ok && e.frame == nil
}

// applied drops the tails that were kept of a shard's entries up to index.
func (t *tail) applied(shard record.Shard, index record.Index) {
	t.mu.Lock()
	defer t.mu.Unlock()
	refs := t.kept[shard]
	n := 0
	for n < len(refs) && refs[n].index <= index {
		t.keptBytes -= int64(len(t.entries[refs[n].position].kept))
		delete(t.entries, refs[n].position)
		n++
	}
	if n > 0 {
		t.kept[shard] = append(refs[:0], refs[n:]...)
	}
}

// memory returns the bytes that frames and kept tails take.
func (t *tail) memory() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes + t.keptBytes
}

// close releases everything.
func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ref := range t.order[t.head:] {
		if e := t.entries[ref.position]; e.frame != nil {
			e.frame.Release()
		}
	}
	t.entries, t.order, t.head, t.bytes, t.keptBytes = map[record.Position]tailEntry{}, nil, 0, 0, 0
	t.kept, t.lastFrame = map[record.Shard][]keptRef{}, nil
}
