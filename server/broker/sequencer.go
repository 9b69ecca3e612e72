package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// A sequencer decides the order of a shard's batches while its node leads: one goroutine that checks each batch against
// what is applied or already proposed, gives it its offset, and packs batches into
// entries. While Raft takes one entry, the next one gathers in the queue, so that
// entries are as large as the load makes them and an idle shard waits for nothing.
type sequencer struct {
	shard      *shard
	reign      uint64 // shard.reign at begin; states of partitions of another are void
	term       record.Term
	generation uint64
	first      uint64 // number before the generation's first entry
	number     uint64 // of the last entry proposed, over all generations

	have      []item // taken from the queue
	at        int    // the first of have that is not in an entry yet
	producers *lru[producerKey, producerState]
	streams   *lru[streamKey, streamState]

	// of the entry that is being built
	accepted []int // places in have, in the order of partitions in the end
	rows     []record.Row
	notes    []byte
	scratch  []byte
}

// A sequencePartition is the sequencer's state of a partition.
type sequencePartition struct {
	reign uint64
	next  record.Offset
}

// A proposal is one entry on its way, or answers that must not overtake those before them.
type proposal struct {
	raft   *replication.Proposal // nil when nothing had to be replicated, or when Raft refused it
	err    error                 // why Raft refused it
	reign  uint64
	number uint64
	items  []item
	bytes  int64
}

func newSequencer(s *shard) *sequencer {
	q := &sequencer{shard: s}
	q.producers = newLRU[producerKey, producerState](producerLimit, func(p *producerState) bool { return p.mark > s.pipeline.settled.Load() })
	q.streams = newLRU[streamKey, streamState](streamLimit, func(p *streamState) bool { return p.mark > s.pipeline.settled.Load() })
	return q
}

// run orders items until the shard is closed.
func (q *sequencer) run() {
	for q.take() {
		p := q.build()
		q.shard.pipeline.proposals <- p
	}
}

// take waits until there is something to order and this node leads. It returns false when the shard is closed.
func (q *sequencer) take() bool {
	s := q.shard
	s.mu.Lock()
	for {
		switch {
		case !s.leading || s.closed:
			if q.refuse() {
				continue
			}
			if s.closed {
				s.mu.Unlock()
				return false
			}
		case s.broken:
			if s.underway == 0 { // all is known now: begin anew in the same term
				s.broken = false
				s.reign++
				continue
			}
		case s.reign != q.reign:
			q.begin()
			continue
		case q.at < len(q.have):
			s.mu.Unlock()
			return true
		case len(s.queue) > 0:
			clear(q.have)
			q.have, s.queue, q.at = s.queue, q.have[:0], 0
			continue
		}
		s.work.Wait()
	}
}

// begin forgets what was promised in the last reign. The caller holds the shard's mu.
func (q *sequencer) begin() {
	s := q.shard
	if q.term != s.term {
		q.generation = 0
	}
	q.term, q.reign = s.term, s.reign
	q.generation++
	q.first = q.number
	q.producers.clear()
	q.streams.clear()
}

// refuse answers all that is queued with ErrNotLeader; it reports whether there was anything. The caller holds the
// shard's mu, which is released meanwhile.
func (q *sequencer) refuse() bool {
	s := q.shard
	items := append(slices.Clone(q.have[q.at:]), s.queue...)
	if len(items) == 0 {
		return false
	}
	clear(q.have)
	clear(s.queue)
	q.have, q.at, s.queue = q.have[:0], 0, s.queue[:0]
	s.mu.Unlock()
	var bytes int64
	for i := range items {
		bytes += items[i].bytes
		items[i].drop(ErrNotLeader)
	}
	s.settle(bytes, 0)
	s.mu.Lock()
	return true
}

// build makes one entry of the next items and proposes it.
func (q *sequencer) build() *proposal {
	s := q.shard
	p := s.pipeline.spare.Get().(*proposal)
	*p = proposal{items: p.items[:0], reign: q.reign, number: q.number}
	first := q.at
	payload := q.gather()
	if len(q.accepted) > 0 || len(q.notes) > record.NoteHeaderBytes+stampBytes {
		q.number++
		p.number = q.number
		s.mu.Lock()
		s.underway++
		s.mu.Unlock()
		p.raft, p.err = q.propose(payload)
		if p.err != nil {
			s.breakReign(p.reign)
		}
	}
	for i := first; i < q.at; i++ {
		it := &q.have[i]
		if it.frame != nil {
			it.frame.Release()
		}
		it.frame, it.batch, it.streams, it.notes = nil, nil, nil, nil
		p.bytes += it.bytes
		p.items = append(p.items, *it)
	}
	return p
}

// gather checks and stamps items until the entry is full, and returns the bytes of its batches.
func (q *sequencer) gather() int {
	limit := q.shard.broker.config.Settings.EntryBytes
	q.accepted, q.notes = q.accepted[:0], q.notes[:0]
	now := stamp{generation: q.generation, number: q.number + 1 - q.first, time: time.Now().UnixMilli()}
	q.notes = record.AppendNote(q.notes, noteStamp, now.append(q.scratch[:0]))
	payload := 0
	for ; q.at < len(q.have); q.at++ {
		it := &q.have[q.at]
		more := len(it.batch) + record.RowBytes + len(it.notes)
		if it.streams != nil {
			more += it.streams.bytes
		}
		size := payload + len(q.accepted)*record.RowBytes + len(q.notes)
		if size+more > limit && size > record.NoteHeaderBytes+stampBytes {
			break
		}
		if it.noted != nil {
			q.notes = append(q.notes, it.notes...)
			continue
		}
		switch accepted, err := q.check(it); {
		case err != nil:
			it.refuse(err)
		case accepted:
			q.accepted = append(q.accepted, q.at)
			payload += len(it.batch)
		}
	}
	return payload
}

// refuse notes why a batch is not taken.
func (it *item) refuse(err error) {
	it.result = ProduceResult{Err: err, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1}
	if it.streams != nil && errors.Is(err, ErrVersionConflict) {
		it.result.RecordErrors = []RecordError{{Index: int32(it.streams.culprit), Message: err.Error()}}
	}
}

// check decides about a batch: accepted with a base offset, a repetition (false, nil)
// whose result is that of the first time, or an error. Only an accepted batch, or a repetition that moves its
// producer's sequence, changes anything.
func (q *sequencer) check(it *item) (bool, error) {
	p := it.state
	if err := q.enter(p); err != nil {
		return false, err
	}
	batch := it.batch
	var producer *producerState
	sequence := producerBatch{first: batch.BaseSequence()}
	key := producerKey{p.id, batch.ProducerID()}
	if key.id >= 0 {
		var err error
		if producer, err = q.producer(key); err != nil {
			return false, err
		}
		sequence.last = lastSequence(sequence.first, batch.LastOffsetDelta())
		original, repeated, err := producer.check(batch.ProducerEpoch(), sequence.first, sequence.last)
		if err != nil {
			return false, err
		}
		if repeated {
			it.result.BaseOffset = original
			return false, nil
		}
	}
	sequence.base = p.sequence.next
	accepted := true
	if it.streams != nil {
		outcome, original, err := q.checkStreams(p.id, it.streams)
		if err != nil {
			return false, err
		}
		if outcome == verdictDuplicate {
			sequence.base, accepted = original, false
		}
		it.result.FirstVersion, it.result.Duplicate = it.streams.first, it.streams.duplicate
	}
	it.result.BaseOffset = sequence.base
	if producer != nil {
		producer.push(batch.ProducerEpoch(), sequence)
		producer.mark = q.number + 1
		if !accepted { // the client goes on with the next sequence number, and so must all replicas
			q.notes = appendProducer(q.notes, key, batch.ProducerEpoch(), sequence)
		}
	}
	if accepted {
		p.sequence.next += record.Offset(batch.LastOffsetDelta()) + 1
		if it.streams != nil {
			q.assignVersions(p.id, it.streams, sequence.base)
		}
	}
	return accepted, nil
}

// enter makes the sequencer's state of a partition, from what is applied, when it is of another reign.
func (q *sequencer) enter(p *partitionState) error {
	if p.sequence.reign == q.reign && !p.dropped.Load() {
		return nil
	}
	_, next, err := p.bounds()
	if err != nil {
		return err
	}
	p.sequence = sequencePartition{reign: q.reign, next: next}
	return nil
}

// producer returns the sequencer's state of a producer.
func (q *sequencer) producer(key producerKey) (*producerState, error) {
	if p := q.producers.get(key); p != nil {
		return p, nil
	}
	p, err := q.shard.loadProducer(key)
	if err != nil {
		return nil, fmt.Errorf("producer %d: %w: %w", key.id, ErrStorage, err)
	}
	return q.producers.add(key, p), nil
}

// propose copies the accepted batches, those of one partition beside each other, into a frame and hands it to Raft.
func (q *sequencer) propose(payload int) (*replication.Proposal, error) {
	byPartition := func(a, b int) int { return int(q.have[a].state.id) - int(q.have[b].state.id) }
	if !slices.IsSortedFunc(q.accepted, byPartition) {
		slices.SortStableFunc(q.accepted, byPartition)
	}
	f := q.shard.broker.config.Pool.GetAfter(log.HeaderBytes, payload+record.TailBytes(len(q.accepted), len(q.notes)))
	entry := f.Bytes()[:0]
	q.rows = q.rows[:0]
	for _, i := range q.accepted {
		it := &q.have[i]
		at := len(entry)
		entry = append(entry, it.batch...)
		stored := record.Batch(entry[at:])
		stored.Stamp(it.result.BaseOffset, q.term.Epoch())
		q.rows = append(q.rows, record.Row{
			Partition:       it.state.id,
			BaseOffset:      it.result.BaseOffset,
			LastOffsetDelta: stored.LastOffsetDelta(),
			Position:        uint32(at),
			Bytes:           uint32(len(stored)),
			ProducerID:      stored.ProducerID(),
			ProducerEpoch:   stored.ProducerEpoch(),
			Attributes:      stored.Attributes(),
			BaseSequence:    stored.BaseSequence(),
			MaxTimestamp:    stored.MaxTimestamp(),
		})
	}
	entry = record.AppendTail(entry, q.rows, q.notes, q.term)
	if len(entry) != len(f.Bytes()) {
		panic(fmt.Sprintf("BUG: entry of %d bytes in a frame of %d", len(entry), len(f.Bytes())))
	}
	return q.shard.group.Propose(f, q.term)
}

// breakReign notes that a proposal of a reign was not taken although this node still leads.
func (s *shard) breakReign(reign uint64) {
	s.mu.Lock()
	if s.reign == reign {
		s.broken = true
		s.work.Signal()
	}
	s.mu.Unlock()
}

// answerAll settles proposals in their order until the sequencer has ended.
func (s *shard) answerAll() {
	var failed error // of the reign
	var reign uint64
	for p := range s.pipeline.proposals {
		if p.reign != reign {
			reign, failed = p.reign, nil
		}
		err := p.err
		proposals := 0
		if p.raft != nil {
			_, err = p.raft.Wait()
		}
		if p.raft != nil || p.err != nil {
			proposals = 1
		} else {
			err = failed
		}
		if err != nil && failed == nil {
			failed = err
			s.breakReign(reign)
		}
		s.pipeline.settled.Store(p.number)
		if proposals == 0 && err == nil && p.refused() {
			s.pipeline.running.Go(func() { // ends when a majority has answered, or none can
				s.answer(p, s.confirm(context.Background(), p.reign), 0)
			})
			continue
		}
		s.answer(p, clientError(err), proposals)
	}
}

// refused reports whether a batch of the proposal was refused. Unless entries of the same proposal prove it, that is not
// told before a majority has said that this node still leads: a deposed leader would refuse what its
// successor takes.
func (p *proposal) refused() bool {
	for i := range p.items {
		if p.items[i].result.Err != nil {
			return true
		}
	}
	return false
}

// answer answers all items of a proposal and gives back their room.
func (s *shard) answer(p *proposal, err error, proposals int) {
	for i := range p.items {
		p.items[i].answer(err)
	}
	s.settle(p.bytes, proposals)
	clear(p.items)
	p.raft = nil
	s.pipeline.spare.Put(p)
}

// isDefinite reports whether an error of a proposal says that the entry is not and never will be applied.
func isDefinite(err error) bool {
	return errors.Is(err, replication.ErrNotLeader) || errors.Is(err, replication.ErrSkipped) || errors.Is(err, replication.ErrNotReady)
}

// clientError says what a client may conclude from the error of a proposal.
func clientError(err error) error {
	switch {
	case err == nil:
		return nil
	case isDefinite(err):
		return ErrNotLeader
	}
	return fmt.Errorf("%w: %w", ErrTimedOut, err)
}
