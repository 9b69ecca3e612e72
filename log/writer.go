package log

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// noteDelay is how long the log must be idle before it notes on disk how far it is synced.
const noteDelay = 250 * time.Millisecond

// An item is one record on its way to the disk.
type item struct {
	header     segment.Header
	data       []byte       // header and payload, contiguous; the header's bytes are filled in when it is queued
	frame      *frame.Frame // holds data, with a reference of the queue's; nil for markers
	head       []byte       // the head of the segment that begins with this record
	superseded segment.Superseded

	shard      *Shard // nil for a note
	generation uint64
	durable    record.Index // what is durable of the shard when this is; 0 for nothing new
}

// A mark is what a head must say of one shard, as of the end of the queue.
type mark struct {
	shard       *Shard
	first, last record.Index
	held        segment.Held // by the active segment
}

// A part is one segment file.
type part struct {
	number  int64
	start   record.Position
	end     record.Position // 0 while it is the active one
	created time.Time
	void    bool                          // holds no valid data: recovery passed it over
	held    map[record.Shard]segment.Held // nil while it is the active one
}

// writer gives records their places and writes them, all shards' in one sequence, on
// one goroutine that close ends. Everything that is queued when it looks is written and synced together.
type writer struct {
	log     *Log
	next    *preparer
	guard   *Watchdog
	done    chan struct{}
	durable atomic.Int64 // record.Position up to which everything is written and synced

	mu     sync.Mutex // guards the fields of this block
	wake   *sync.Cond // there is something to do for the goroutine
	synced *sync.Cond // durable moved, or failure was set
	queue  []item
	layout
	unsynced
	closing bool
	idle    *time.Timer

	file   *output // the active segment; the goroutine's own after start, as gather
	gather gatherer
	closed error // why the segment could not be closed in order; read after done
	stats  *counters
}

// layout is what lies where, as of the end of the queue.
type layout struct {
	end    record.Position // where the next record will lie
	seal   bool            // the next record begins a new segment whatever room there is
	number int64           // of the active segment, or of the one before the first
	hinted record.Position // the durable position that the newest record tells
	solid  record.Position // the end of the newest record that is not a note: a sync will come to it
	marks  map[record.Shard]*mark
	parts  []*part // ascending
}

// counters are Stats, counted by the goroutine.
type counters struct {
	syncs, writes, bytes, records, created, removed, reads, syncNanos, zeroed atomic.Int64

	extents, extentBytes, extentHits atomic.Int64
}

// submit gives the items their places and queues them. Their positions are filled in.
// apply changes what the next head says of the shard.
func (w *writer) submit(items []item) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return ErrClosed
	}
	if err := w.log.failing.err(); err != nil {
		return err
	}
	for i := range items {
		w.place(&items[i])
		w.waiting(items[i].header.Size())
	}
	w.wake.Signal()
	return nil
}

// place queues one record. w.mu is held.
func (w *writer) place(it *item) {
	size := it.header.Size()
	if _, offset := segment.Split(w.end); w.seal || offset+size > w.log.config.SegmentBytes {
		it.head = w.roll()
	}
	durable := record.Position(w.durable.Load())
	it.header.Position, it.header.Durable = w.end, durable
	if it.shard != nil {
		it.header.Applied = record.Index(it.shard.applied.Load())
		w.mark(it)
	}
	it.header.Put(it.data, w.log.readers.seed)
	w.end += record.Position(size)
	w.hinted = durable
	if it.header.Kind != segment.KindNote {
		w.solid = w.end
	}
	w.queue = append(w.queue, *it)
}

// mark notes the record for the next head. w.mu is held.
func (w *writer) mark(it *item) {
	m := w.marks[it.header.Shard]
	if m == nil {
		m = &mark{shard: it.shard}
		w.marks[it.header.Shard] = m
	}
	m.held.Add(&it.header, it.superseded)
	m.move(&it.header)
}

// move changes the window as the record does.
func (m *mark) move(h *segment.Header) {
	switch {
	case h.IsBackfill():
	case h.Kind == segment.KindTruncate:
		if m.last = h.Index - 1; m.last < m.first {
			m.first, m.last = 0, 0
		}
	case h.Kind == segment.KindFirst:
		if m.first = h.Index; m.last < m.first {
			m.first, m.last = 0, 0
		}
	case !h.IsMarker():
		if m.last = h.Index; m.first == 0 {
			m.first = h.Index
		}
	}
}

// roll ends the active segment and returns the head of the next. w.mu is held.
func (w *writer) roll() []byte {
	w.number++
	head := segment.Head{
		Number:      w.number,
		PreviousEnd: w.end,
		CreatedAt:   time.Now().Truncate(time.Millisecond),
		Incarnation: w.log.config.Incarnation,
	}
	for number, m := range w.marks {
		head.Rows = append(head.Rows, segment.Row{
			Shard: number, First: m.first, Last: m.last,
			Applied: record.Index(m.shard.applied.Load()), Held: m.held,
		})
	}
	slices.SortFunc(head.Rows, func(a, b segment.Row) int { return int(a.Shard) - int(b.Shard) })
	head.Start = segment.At(w.number, segment.HeadBytes(len(head.Rows)))
	for _, p := range slices.Backward(w.parts) {
		if p.end == 0 { // files that a crash left may lie after the active one
			p.finish(head.PreviousEnd, head.Rows)
			break
		}
	}
	for _, m := range w.marks {
		m.held = segment.Held{}
	}
	w.parts = append(w.parts, &part{number: w.number, start: head.Start, created: head.CreatedAt})
	w.end, w.seal = head.Start, false
	return head.Encode()
}

func (p *part) finish(end record.Position, rows []segment.Row) {
	p.end = end
	p.held = make(map[record.Shard]segment.Held, len(rows))
	for i := range rows {
		p.held[rows[i].Shard] = rows[i].Held
	}
}

func (w *writer) run() {
	defer close(w.done)
	defer w.finish()
	var items []item
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closing && w.log.failing.err() == nil {
			w.wake.Wait()
		}
		items, w.queue = w.queue, items[:0]
		w.taken()
		closing := w.closing
		w.mu.Unlock()
		if len(items) == 0 || w.log.failing.err() != nil {
			release(items)
			if closing || w.log.failing.err() != nil {
				return
			}
			continue
		}
		err := w.write(items, false)
		if err == nil {
			err = w.log.failing.err()
		}
		if err != nil {
			w.log.fail(err)
		} else {
			w.publish(items)
		}
		release(items)
	}
}

func release(items []item) {
	for i := range items {
		if items[i].frame != nil {
			items[i].frame.Release()
		}
	}
	clear(items)
}

// publish tells everyone that the items are durable.
func (w *writer) publish(items []item) {
	last := &items[len(items)-1]
	end := last.header.Position + record.Position(last.header.Size())
	w.mu.Lock()
	w.settled()
	for i := range items {
		if items[i].header.Kind != segment.KindNote {
			w.durable.Store(int64(end))
			break
		}
	}
	w.synced.Broadcast()
	w.armNote()
	w.mu.Unlock()
	w.log.tail.shrinkTo(record.Position(w.durable.Load()))
	for i := range items {
		it := &items[i]
		if it.durable == 0 || it.shard == nil {
			continue
		}
		if n := i + 1; n < len(items) && items[n].shard == it.shard && items[n].generation == it.generation && items[n].durable > it.durable {
			continue
		}
		it.shard.publish(it.generation, it.durable)
	}
}

// waitFor blocks until everything before position is durable.
func (w *writer) waitFor(position record.Position) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for record.Position(w.durable.Load()) < position {
		if err := w.log.failing.err(); err != nil {
			return err
		}
		w.synced.Wait()
	}
	return nil
}

// waitForAll blocks until everything that is queued now is durable.
func (w *writer) waitForAll() error {
	w.mu.Lock()
	end := w.solid
	w.mu.Unlock()
	return w.waitFor(end)
}

// onward returns where reading goes on at a position, which is in a later segment when it is the end of one, and up to
// where that segment is durable. from is 0 when there is nothing yet.
func (w *writer) onward(at record.Position) (from, to record.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	durable := record.Position(w.durable.Load())
	number, _ := segment.Split(at)
	first, _ := slices.BinarySearchFunc(w.parts, number, func(p *part, number int64) int { return int(p.number - number) })
	for _, p := range w.parts[first:] {
		from, to = max(at, p.start), p.end
		if to == 0 || to > durable {
			to = durable
		}
		if from < to {
			return from, to
		}
	}
	return 0, 0
}

// armNote has a note written when the log stays idle. w.mu is held.
func (w *writer) armNote() {
	if w.closing || len(w.queue) > 0 || record.Position(w.durable.Load()) <= w.hinted {
		return
	}
	if w.idle == nil {
		w.idle = time.AfterFunc(noteDelay, w.note)
		return
	}
	w.idle.Reset(noteDelay)
}

// note queues a record that tells how far the log is synced, so that recovery can tell
// damage to the newest records from a torn tail. It does nothing when newer records do so.
func (w *writer) note() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing || w.log.failing.err() != nil || len(w.queue) > 0 || record.Position(w.durable.Load()) <= w.hinted {
		return
	}
	it := newNote()
	w.place(&it)
	w.wake.Signal()
}

func newNote() item {
	return item{header: segment.Header{Kind: segment.KindNote}, data: make([]byte, segment.HeaderBytes)}
}

// close has what is queued written, and a last note, and waits for the goroutine to
// end, unless it is inside a call to the disk that may never return.
func (w *writer) close() error {
	w.mu.Lock()
	w.closing = true
	if w.idle != nil {
		w.idle.Stop()
	}
	w.wake.Broadcast()
	w.mu.Unlock()
	if w.guard.hung() {
		w.next.stop()
		return w.log.failing.err()
	}
	<-w.done
	w.next.stop()
	<-w.next.done
	return w.closed
}

// finish is the end of the goroutine.
func (w *writer) finish() {
	w.mu.Lock()
	release(w.queue)
	w.queue = nil
	w.mu.Unlock()
	if w.file == nil {
		return
	}
	if w.log.failing.err() == nil {
		w.closed = w.lastNote()
	}
	w.closed = errors.Join(w.closed, w.file.Close())
}

// lastNote makes the whole log provably durable.
func (w *writer) lastNote() error {
	it := newNote()
	w.mu.Lock()
	_, offset := segment.Split(w.end)
	fits := !w.seal && offset+it.header.Size() <= w.log.config.SegmentBytes
	if !fits || w.hinted >= record.Position(w.durable.Load()) {
		w.mu.Unlock()
		return nil
	}
	w.place(&it)
	w.mu.Unlock()
	return w.write(it.alone(), true)
}
