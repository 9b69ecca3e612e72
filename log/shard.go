package log

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// EntryInfo says what is known of an entry without its payload.
type EntryInfo struct {
	Index    record.Index
	Term     record.Term
	Kind     uint8  // Raft's log type
	Bytes    uint32 // of the payload
	Position record.Position
}

// Entry is what Append takes.
type Entry struct {
	Index   record.Index
	Term    record.Term
	Kind    uint8 // Raft's log type; the payload of a command (0) is an entry of log/record
	Payload []byte
	// Frame holds Payload, with at least 64 bytes before it that belong to this log and
	// with Payload's capacity not cut, so that it can be found in the frame. Append takes
	// its own references. Nil: Payload is copied.
	Frame *frame.Frame
}

// Shard is one shard's part of the log: Raft's window of entries, and what is retained before it.
type Shard struct {
	log     *Log
	number  record.Shard
	applied atomic.Uint64
	told    atomic.Bool // SetApplied was called since Open: applied is more than a hint

	mu         sync.Mutex // guards the rest; taken before writer.mu and tail.mu
	synced     *sync.Cond // durable moved, the window shrank, or the log failed
	window     window
	durable    record.Index
	generation uint64 // of the window's end: what was queued before a truncation publishes nothing
}

// First returns the window's first index, 0 when it is empty.
func (s *Shard) First() record.Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.begin()
}

// Last returns the window's last index, durable or not, 0 when it is empty.
func (s *Shard) Last() record.Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.last()
}

// Durable returns the last index up to which the window is written and synced.
func (s *Shard) Durable() record.Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// LastUpTo returns the last index of the window that lies in a segment up to that number, 0 when there is none.
func (s *Shard) LastUpTo(number int64) record.Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.window.begin()
	n := sort.Search(s.window.count, func(k int) bool {
		found, _ := segment.Split(s.window.at(first + record.Index(k)).position)
		return found > number
	})
	if n == 0 {
		return 0
	}
	return first + record.Index(n) - 1
}

// Info returns what is known of an entry of the window, outside of which the error wraps ErrNotFound.
func (s *Shard) Info(i record.Index) (EntryInfo, error) {
	at, err := s.find(i)
	if err != nil {
		return EntryInfo{}, err
	}
	return EntryInfo{Index: i, Term: at.term, Kind: at.kind, Bytes: at.payloadBytes, Position: at.position}, nil
}

func (s *Shard) find(i record.Index) (slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.window.at(i); at != nil {
		return *at, nil
	}
	return slot{}, fmt.Errorf("entry %d of shard %d, window is %d to %d: %w", i, s.number, s.window.begin(), s.window.last(), ErrNotFound)
}

// Append queues entries for the disk and returns at once; WaitDurable tells when they are there.
// The first must have index Last()+1, except that an empty window begins at any index
// and that an index beyond Last()+1 forgets everything before it. Terms never fall.
// An error means that nothing was queued.
func (s *Shard) Append(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	items, err := s.prepare(entries, 0)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkOrder(entries); err != nil {
		release(items)
		return err
	}
	first := entries[0].Index
	if last := s.window.last(); last != 0 && first > last+1 {
		if _, err := s.forget(first - 1); err != nil {
			release(items)
			return err
		}
	}
	if s.window.count == 0 && s.durable >= first {
		s.generation++
		s.durable = first - 1
	}
	for i := range items {
		items[i].generation = s.generation
	}
	if err := s.log.writer.submit(items); err != nil {
		release(items)
		return err
	}
	for i := range items {
		h := &items[i].header
		s.window.push(h.Index, slot{
			position: h.Position, term: h.Term, payloadBytes: h.PayloadBytes,
			tailBytes: h.TailBytes, tailCRC: h.TailCRC, kind: h.Kind,
		})
	}
	s.log.tail.add(items, record.Position(s.log.writer.durable.Load()))
	return nil
}

// checkOrder checks that entries continue the window. s.mu is held.
func (s *Shard) checkOrder(entries []Entry) error {
	last := s.window.last()
	if entries[0].Index == 0 || last != 0 && entries[0].Index <= last {
		return fmt.Errorf("append entry %d to shard %d, which ends at %d: %w", entries[0].Index, s.number, last, ErrOutOfOrder)
	}
	term := record.Term(0)
	if last != 0 {
		term = s.window.at(last).term
	}
	for i := range entries {
		e := &entries[i]
		if e.Index != entries[0].Index+record.Index(i) || e.Term < term {
			return fmt.Errorf("append entry %d of term %d to shard %d as number %d after %d, term %d: %w",
				e.Index, e.Term, s.number, i, entries[0].Index, term, ErrOutOfOrder)
		}
		term = e.Term
	}
	return nil
}

// LargestEntry returns how many bytes the payload of an entry may have: it has to fit into a segment beside the largest head.
func (l *Log) LargestEntry() int {
	return int(l.config.SegmentBytes - segment.HeadBytes(256) - segment.HeaderBytes)
}

// prepare makes records of entries: contiguous bytes with room for the header, and a reference on their frames.
func (s *Shard) prepare(entries []Entry, flags uint8) ([]item, error) {
	items := make([]item, len(entries))
	limit := s.log.LargestEntry()
	for i := range entries {
		e := &entries[i]
		tailBytes := len(e.Payload)
		var err error
		switch {
		case e.Kind >= segment.KindTruncate:
			err = fmt.Errorf("kind %d is not Raft's: %w", e.Kind, ErrOutOfOrder)
		case len(e.Payload) > limit:
			err = fmt.Errorf("payload of %d bytes, limit %d: %w", len(e.Payload), limit, record.ErrTooLarge)
		case e.Kind == segment.KindCommand:
			tailBytes, err = record.TailOf(e.Payload)
		}
		if err != nil {
			release(items)
			return nil, fmt.Errorf("append entry %d to shard %d: %w", e.Index, s.number, err)
		}
		it := &items[i]
		it.data, it.frame = s.withRoom(e)
		it.header = segment.Header{
			Kind: e.Kind, Flags: flags, Shard: s.number, Index: e.Index, Term: e.Term,
			PayloadBytes: uint32(len(e.Payload)), TailBytes: uint32(tailBytes),
			TailCRC: record.Castagnoli(0, e.Payload[len(e.Payload)-tailBytes:]),
		}
		it.shard = s
		if flags&segment.FlagBackfill == 0 {
			it.durable = e.Index
		}
	}
	return items, nil
}

// withRoom returns the payload with room for a header before it, in the entry's frame
// when it lies there as promised, else in a new one.
func (s *Shard) withRoom(e *Entry) ([]byte, *frame.Frame) {
	if f := e.Frame; f != nil && len(e.Payload) > 0 {
		whole := f.WithRoom(segment.HeaderBytes)
		at := len(f.Bytes()) - cap(e.Payload)
		end := at + segment.HeaderBytes + len(e.Payload)
		if at >= 0 && end <= len(whole) && &whole[at+segment.HeaderBytes] == &e.Payload[0] {
			f.Retain()
			return whole[at:end:end], f
		}
	}
	f := s.log.config.Pool.GetAfter(segment.HeaderBytes, len(e.Payload))
	data := f.WithRoom(segment.HeaderBytes)
	copy(data[segment.HeaderBytes:], e.Payload)
	return data, f
}

// WaitDurable blocks until entry i is written and synced. The error wraps ErrNotFound
// when the window does not reach i (any more), else it is the log's failure or ErrClosed.
func (s *Shard) WaitDurable(i record.Index) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.durable < i {
		if err := s.log.failing.err(); err != nil {
			return err
		}
		if i > s.window.last() {
			return fmt.Errorf("wait for entry %d of shard %d, which ends at %d: %w", i, s.number, s.window.last(), ErrNotFound)
		}
		s.synced.Wait()
	}
	return nil
}

// WaitDurableIn is WaitDurable for the entry that has index i and that term. The error wraps
// ErrNotFound also when a truncation takes it back, whatever comes in its place. An
// entry before the window counts as durable: Forget is for those that were applied.
func (s *Shard) WaitDurableIn(i record.Index, term record.Term) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if i < s.window.begin() {
			return nil
		}
		at := s.window.at(i)
		switch {
		case at == nil:
			return fmt.Errorf("wait for entry %d of shard %d, which ends at %d: %w", i, s.number, s.window.last(), ErrNotFound)
		case at.term != term:
			return fmt.Errorf("wait for entry %d of shard %d and term %d, which has one of term %d: %w", i, s.number, term, at.term, ErrNotFound)
		case s.durable >= i:
			return nil
		}
		if err := s.log.failing.err(); err != nil {
			return err
		}
		s.synced.Wait()
	}
}

// publish tells that everything up to i of the window's generation is durable.
func (s *Shard) publish(generation uint64, i record.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation == s.generation && i > s.durable {
		s.durable = i
		s.synced.Broadcast()
	}
}

// Truncate drops the entries from index from on; later ones take their places. What they
// held stays on disk, superseded by a marker that is in order with later entries.
func (s *Shard) Truncate(from record.Index) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.window.last()
	if last == 0 || from > last {
		return nil
	}
	from = max(from, s.window.begin())
	number, _ := segment.Split(s.window.at(from).position)
	s.generation++
	it := s.marker(segment.KindTruncate, from, segment.Superseded{From: from, Last: last, Segment: number})
	it.durable = from - 1
	if err := s.log.writer.submit(it.alone()); err != nil {
		return err
	}
	s.window.truncate(from)
	s.durable = min(s.durable, from-1)
	s.synced.Broadcast()
	return nil
}

// Forget moves First beyond through: Raft will not ask for what is before. Nothing is removed
// from disk, Scan still finds it. When that empties the window, Forget waits until it is
// durable, so that what Raft has forgotten does not come back after a crash; if SetApplied was
// called since Open, entries beyond it then count as superseded.
func (s *Shard) Forget(through record.Index) error {
	s.mu.Lock()
	end, err := s.forget(through)
	s.mu.Unlock()
	if err != nil || end == 0 {
		return err
	}
	return s.log.writer.waitFor(end)
}

// forget is Forget with s.mu held. It returns the position to wait for, or 0.
func (s *Shard) forget(through record.Index) (record.Position, error) {
	last := s.window.last()
	if last == 0 || through < s.window.begin() {
		return 0, nil
	}
	var superseded segment.Superseded
	applied := record.Index(s.applied.Load())
	if through >= last && s.told.Load() && applied < last {
		from := max(applied+1, s.window.begin())
		number, _ := segment.Split(s.window.at(from).position)
		superseded = segment.Superseded{From: from, Last: last, Segment: number}
	}
	it := s.marker(segment.KindFirst, through+1, superseded).alone()
	if err := s.log.writer.submit(it); err != nil {
		return 0, err
	}
	s.window.forget(through)
	if s.window.count > 0 {
		return 0, nil
	}
	s.generation++
	s.synced.Broadcast()
	return it[0].header.Position + record.Position(it[0].header.Size()), nil
}

// marker returns a record of ours for this shard. s.mu is held.
func (s *Shard) marker(kind uint8, i record.Index, superseded segment.Superseded) *item {
	data := superseded.Append(make([]byte, segment.HeaderBytes, segment.Align))
	payload := data[segment.HeaderBytes:]
	return &item{
		header: segment.Header{
			Kind: kind, Shard: s.number, Index: i,
			PayloadBytes: uint32(len(payload)), TailBytes: uint32(len(payload)), TailCRC: record.Castagnoli(0, payload),
		},
		data: data, superseded: superseded, shard: s, generation: s.generation,
	}
}

func (it *item) alone() []item { return []item{*it} }

// SetApplied tells how far the state machine is, for the headers of later records, and lets go of
// tails that were kept for it. It never goes back.
func (s *Shard) SetApplied(i record.Index) {
	s.told.Store(true)
	for {
		old := s.applied.Load()
		if uint64(i) <= old {
			return
		}
		if s.applied.CompareAndSwap(old, uint64(i)) {
			break
		}
	}
	s.log.tail.applied(s.number, i)
}
