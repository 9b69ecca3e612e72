package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// A machine is the state machine of a data shard: it turns committed entries into rows of the index, asserts that they
// are what the sequencer promised, and publishes high watermarks. Replication calls its methods one at a time.
type machine struct {
	shard   *shard
	applied atomic.Uint64 // record.Index: what is committed to the index
	reached record.Index  // what is in the batch
	chain   chain
	segment segmentTally
	failed  error // what was promised was not kept: nothing is applied any more

	// of the present Apply
	round     uint64
	batch     *index.Batch
	runs      []appliedRun
	producers *lru[producerKey, producerState]
	dirty     []producerKey
	heads     *lru[streamKey, streamHead]
	woken     []*partitionState // whose begin moved, or that were dropped
	row       []byte
	outcomes  []error
}

// A chain is the stamp and term of the last entry that was applied.
type chain struct {
	term       record.Term
	generation uint64
	number     uint64
}

// follows reports whether an entry stamped s in term continues the chain.
func (c chain) follows(term record.Term, s stamp) bool {
	if term == c.term && s.generation == c.generation {
		return s.number == c.number+1
	}
	return s.number == 1 && (term > c.term || s.generation > c.generation)
}

// An applyingPartition is the state machine's state of a partition: what is applied
// or about to be.
type applyingPartition struct {
	ready  bool
	next   record.Offset
	term   record.Term // of the last run
	latest int64       // running maximum of timestamps, ms
	tally  partitionTally
}

type appliedRun struct {
	state *partitionState
	run   index.Run
}

// A streamHead is the newest version of a stream.
type streamHead struct {
	version int64
	round   uint64 // of the Apply that changed it
}

func newMachine(s *shard) *machine {
	m := &machine{shard: s}
	m.producers = newLRU[producerKey, producerState](producerLimit, func(p *producerState) bool { return p.mark == m.round })
	m.heads = newLRU[streamKey, streamHead](streamLimit, func(h *streamHead) bool { return h.round == m.round })
	return m
}

// load reads what the index holds of the shard, at the start and after a restore.
func (m *machine) load() error {
	db := m.shard.broker.config.Index
	applied, err := db.Applied(m.shard.id)
	if err != nil {
		return fmt.Errorf("shard %d: read applied index: %w", m.shard.id, err)
	}
	m.applied.Store(uint64(applied))
	m.reached = applied
	m.chain = chain{}
	row, ok, err := db.Get(m.shard.id, []byte{rowChain})
	if err != nil {
		return fmt.Errorf("shard %d: read chain: %w", m.shard.id, err)
	}
	if ok {
		if len(row) != 24 {
			return fmt.Errorf("shard %d: chain row of %d bytes: %w", m.shard.id, len(row), record.ErrCorrupt)
		}
		m.chain = chain{
			term:       record.Term(binary.LittleEndian.Uint64(row)),
			generation: binary.LittleEndian.Uint64(row[8:]),
			number:     binary.LittleEndian.Uint64(row[16:]),
		}
	}
	m.producers.clear()
	m.heads.clear()
	if err := m.loadSegment(); err != nil {
		return err
	}
	return m.shard.coordinator.load()
}

// Applied implements replication.StateMachine. Any goroutine may call it.
func (m *machine) Applied() record.Index { return record.Index(m.applied.Load()) }

// Lead implements replication.StateMachine.
func (m *machine) Lead(term record.Term) { m.shard.lead(term) }

// Follow implements replication.StateMachine.
func (m *machine) Follow() { m.shard.follow() }

// Apply implements replication.StateMachine.
func (m *machine) Apply(entries []replication.Committed) []error {
	outcomes := slices.Grow(m.outcomes[:0], len(entries))[:len(entries)]
	clear(outcomes)
	m.outcomes = outcomes
	if m.failed != nil {
		for i := range outcomes {
			outcomes[i] = m.failed
		}
		return outcomes
	}
	m.begin()
	for i := range entries {
		outcomes[i] = m.applyEntry(&entries[i])
		if m.failed != nil {
			break
		}
		m.reached = entries[i].Index
	}
	m.end()
	if m.failed != nil {
		for i := range outcomes {
			outcomes[i] = m.failed
		}
	}
	return outcomes
}

func (m *machine) begin() {
	m.round++
	m.batch = m.shard.broker.config.Index.NewBatch()
	m.runs, m.dirty, m.woken = m.runs[:0], m.dirty[:0], m.woken[:0]
}

// end commits the batch and publishes what is in it, unless the machine failed.
func (m *machine) end() {
	defer m.batch.Close()
	if m.failed != nil {
		return
	}
	if err := m.commit(); err != nil {
		m.fail(err)
		return
	}
	m.applied.Store(uint64(m.reached))
	m.publish()
}

// fail stops the node: going on would make replicas differ.
func (m *machine) fail(err error) {
	m.failed = fmt.Errorf("shard %d: %w", m.shard.id, err)
	m.shard.broker.fatal(m.failed)
}

// applyEntry puts one entry's rows into the batch.
func (m *machine) applyEntry(e *replication.Committed) error {
	if e.Tail == nil { // Raft's own
		return nil
	}
	tail, err := record.ParseTail(e.Tail)
	if err != nil {
		m.fail(fmt.Errorf("entry %d: %w", e.Index, err))
		return nil
	}
	if tail.Term != e.Term {
		return replication.ErrSkipped
	}
	s, err := stampOf(tail)
	if err != nil {
		m.fail(fmt.Errorf("entry %d: %w", e.Index, err))
		return nil
	}
	if !m.chain.follows(e.Term, s) {
		m.batch.Put(m.shard.id, skippedKey(e.Index), nil)
		return replication.ErrSkipped
	}
	if err := m.applyNotes(e, tail, s); err != nil {
		m.fail(fmt.Errorf("entry %d: %w", e.Index, err))
	}
	return nil
}

// applyNotes applies an entry whose turn it is. Notes that remove rows come before the
// entry's batches, in a batch of the index of their own: they find only what is committed.
func (m *machine) applyNotes(e *replication.Committed, tail record.Tail, s stamp) error {
	if removes(tail) {
		if m.end(); m.failed != nil {
			return m.failed
		}
		m.begin()
	}
	m.chain = chain{e.Term, s.generation, s.number}
	m.enterSegment(e)
	for note := range tail.Notes() {
		if isRemoval(note.Kind) {
			if err := m.applyRemoval(e, note); err != nil {
				return err
			}
		}
	}
	if err := m.applyRows(e, tail, s.time); err != nil {
		return err
	}
	for note := range tail.Notes() {
		if !isRemoval(note.Kind) {
			if err := m.applyNote(note, s.time); err != nil {
				return err
			}
		}
	}
	return nil
}

// stampOf returns the stamp, which is the first note of every entry.
func stampOf(tail record.Tail) (stamp, error) {
	for note := range tail.Notes() {
		if note.Kind == noteStamp {
			return parseStamp(note.Body)
		}
		break
	}
	return stamp{}, fmt.Errorf("entry without a stamp: %w", record.ErrCorrupt)
}

// applyRows adds one run for each partition of the entry.
func (m *machine) applyRows(e *replication.Committed, tail record.Tail, now int64) error {
	count := tail.RowCount()
	for i := 0; i < count; {
		first := tail.Row(i)
		run := index.Run{
			Partition: first.Partition, First: first.BaseOffset, Index: e.Index, Term: e.Term,
			Position: e.Position, Start: first.Position,
		}
		p := m.shard.broker.states.get(first.Partition, m.shard)
		a, err := m.enter(p)
		if err != nil {
			return err
		}
		next, latest := a.next, noTimestamp
		for ; i < count; i++ {
			row := tail.Row(i)
			if row.Partition != first.Partition {
				break
			}
			if p.row.dropped {
				continue
			}
			if row.BaseOffset != next || row.Position != run.Start+run.Bytes {
				return fmt.Errorf("partition %d: batch at offset %d byte %d, the replica is at offset %d byte %d",
					row.Partition, row.BaseOffset, row.Position, next, run.Start+run.Bytes)
			}
			next = row.NextOffset()
			run.Bytes += row.Bytes
			latest = max(latest, row.MaxTimestamp)
			if row.ProducerID >= 0 {
				b := producerBatch{row.BaseSequence, lastSequence(row.BaseSequence, row.LastOffsetDelta), row.BaseOffset}
				if err := m.push(producerKey{row.Partition, row.ProducerID}, row.ProducerEpoch, b, now); err != nil {
					return err
				}
			}
		}
		if p.row.dropped {
			continue
		}
		run.Last, run.MaxTimestamp = next-1, max(a.latest, latest)
		m.addRun(p, run)
		m.tally(p, run, latest)
	}
	return nil
}

// addRun puts a run's rows into the batch and notes it for publish.
func (m *machine) addRun(p *partitionState, run index.Run) {
	a := &p.applying
	if !p.row.exists {
		m.putRow(p, run.Index, func(*partitionRow) {})
	}
	if run.Term != a.term {
		m.batch.PutEpoch(m.shard.id, p.id, run.Term, run.First)
	}
	a.next, a.term, a.latest = run.Last+1, run.Term, run.MaxTimestamp
	m.batch.PutRun(m.shard.id, run)
	m.runs = append(m.runs, appliedRun{p, run})
}

// enter makes the state machine's state of a partition from what is applied.
func (m *machine) enter(p *partitionState) (*applyingPartition, error) {
	a := &p.applying
	if a.ready {
		return a, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil && !errors.Is(err, ErrUnknownTopicOrPartition) {
		return nil, err
	}
	*a = applyingPartition{ready: true, next: p.next, term: p.row.term, latest: p.row.floor}
	if n := len(p.recent); n > 0 {
		a.term, a.latest = p.recent[n-1].Term, p.recent[n-1].MaxTimestamp
	}
	return a, nil
}

// putRow changes a partition's row as change says and puts it into the batch.
func (m *machine) putRow(p *partitionState, entry record.Index, change func(*partitionRow)) {
	a := &p.applying
	p.mu.Lock()
	r := &p.row
	r.exists, r.next, r.entry, r.term, r.floor = true, a.next, entry, a.term, a.latest
	change(r)
	m.row = r.append(m.row[:0])
	p.mu.Unlock()
	p.dropped.Store(r.dropped)
	m.batch.Put(m.shard.id, partitionKey(p.id), m.row)
}

// push moves a producer's window. It is written once per Apply.
func (m *machine) push(key producerKey, epoch int16, b producerBatch, now int64) error {
	p := m.producers.get(key)
	if p == nil {
		state, err := m.shard.loadProducer(key)
		if err != nil {
			return fmt.Errorf("producer %d of partition %d: %w", key.id, key.partition, err)
		}
		p = m.producers.add(key, state)
	}
	p.push(epoch, b)
	p.time = now
	if p.mark != m.round {
		p.mark = m.round
		m.dirty = append(m.dirty, key)
	}
	return nil
}

// commit puts what changed once per Apply into the batch and applies it.
func (m *machine) commit() error {
	for _, key := range m.dirty {
		if p := m.producers.get(key); p != nil {
			m.row = p.append(key.append(m.row[:0]))
			m.batch.Put(m.shard.id, m.row[:producerKeyBytes], m.row[producerKeyBytes:])
		}
	}
	m.row = binary.LittleEndian.AppendUint64(m.row[:0], uint64(m.chain.term))
	m.row = binary.LittleEndian.AppendUint64(m.row, m.chain.generation)
	m.row = binary.LittleEndian.AppendUint64(m.row, m.chain.number)
	m.batch.Put(m.shard.id, []byte{rowChain}, m.row)
	m.batch.SetApplied(m.shard.id, m.reached)
	if err := m.batch.Commit(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// publish makes what was applied visible and wakes who waited for it.
func (m *machine) publish() {
	for i := range m.runs {
		p, run := m.runs[i].state, &m.runs[i].run
		p.mu.Lock()
		p.next = run.Last + 1
		if len(p.recent) == recentRuns {
			copy(p.recent, p.recent[1:])
			p.recent[recentRuns-1] = *run
		} else {
			p.recent = append(p.recent, *run)
		}
		p.waiters.arrived(int64(run.Bytes))
		p.mu.Unlock()
	}
	for _, p := range m.woken {
		p.mu.Lock()
		keep := p.recent[:0]
		for _, run := range p.recent {
			if run.Last >= p.row.start && !p.row.dropped {
				keep = append(keep, run)
			}
		}
		p.recent = keep
		p.waiters.wakeAll()
		p.mu.Unlock()
		if p.dropped.Load() {
			m.shard.broker.states.remove(p.id)
		}
	}
}
