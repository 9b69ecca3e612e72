package broker

import (
	"errors"
	"fmt"
	"io"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// snapshotFormat begins the state of a data shard in a snapshot: what follows is index.Snapshot's.
const snapshotFormat = 1

// restoreBatch is how many entries are put into one batch of the index while restoring.
const restoreBatch = 256

// Snapshot implements replication.StateMachine. The state is the index's rows that cannot be remade from retained
// entries: partitions, epochs, producers, groups, the chain.
func (m *machine) Snapshot() (func(io.Writer) error, func(), error) {
	if m.failed != nil {
		return nil, nil, m.failed
	}
	db := m.shard.broker.config.Index
	view, err := db.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	write := func(w io.Writer) error {
		if err := db.Flush(); err != nil {
			return fmt.Errorf("flush index: %w", err)
		}
		if _, err := w.Write([]byte{snapshotFormat}); err != nil {
			return err
		}
		return view.Export(m.shard.id, w)
	}
	release := func() {
		if err := view.Close(); err != nil {
			m.shard.broker.logger.Warn("close index snapshot", "shard", m.shard.id, "error", err)
		}
	}
	return write, release, nil
}

// Restore implements replication.StateMachine: the state is imported, runs, versions and segment sums are remade from
// the retained entries.
func (m *machine) Restore(state io.Reader, at record.Index, entries func(visit func(replication.Committed) error) error) error {
	db := m.shard.broker.config.Index
	var format [1]byte
	if _, err := io.ReadFull(state, format[:]); err != nil {
		return fmt.Errorf("shard %d: read snapshot: %w", m.shard.id, err)
	}
	if format[0] != snapshotFormat {
		return fmt.Errorf("shard %d: snapshot of format %d, this release reads %d", m.shard.id, format[0], snapshotFormat)
	}
	if err := m.update(func(b *index.Batch) { b.DropShard(m.shard.id) }); err != nil {
		return err
	}
	if err := db.Import(m.shard.id, state); err != nil {
		return fmt.Errorf("shard %d: import snapshot: %w", m.shard.id, err)
	}
	if err := m.forgetSegments(); err != nil {
		return err
	}
	for _, p := range m.shard.broker.states.ofShard(m.shard) {
		p.forget()
	}
	r := restorer{machine: m, partitions: map[record.Partition]*restored{}, segments: map[int64]*restoredSegment{}}
	if err := r.run(entries); err != nil {
		return fmt.Errorf("shard %d: remake index: %w", m.shard.id, err)
	}
	if err := m.update(func(b *index.Batch) { b.SetApplied(m.shard.id, at) }); err != nil {
		return err
	}
	for _, p := range m.shard.broker.states.ofShard(m.shard) { // somebody may have looked at one meanwhile
		p.forget()
	}
	m.failed = nil
	return m.load()
}

// update applies one batch of changes.
func (m *machine) update(change func(*index.Batch)) error {
	b := m.shard.broker.config.Index.NewBatch()
	defer b.Close()
	change(b)
	if err := b.Commit(); err != nil {
		return fmt.Errorf("shard %d: write index: %w", m.shard.id, err)
	}
	return nil
}

// forgetSegments removes the rows about segments, which another node's snapshot has of its own log.
func (m *machine) forgetSegments() error {
	rows, scanError := m.shard.broker.config.Index.Scan(m.shard.id, []byte{rowSegment})
	err := m.update(func(b *index.Batch) {
		for key := range rows {
			b.Delete(m.shard.id, key)
		}
	})
	return errors.Join(err, scanError())
}

// A restorer remakes the rows that a snapshot leaves out.
type restorer struct {
	machine    *machine
	partitions map[record.Partition]*restored
	segments   map[int64]*restoredSegment
	batch      *index.Batch
	pending    int
}

type restored struct {
	row    partitionRow
	next   record.Offset // after the last run that was remade; 0 before the first
	latest int64
}

type restoredSegment struct {
	since record.Index
	sums  segmentSums
}

func (r *restorer) run(entries func(visit func(replication.Committed) error) error) error {
	r.batch = r.machine.shard.broker.config.Index.NewBatch()
	defer func() { r.batch.Close() }()
	if err := entries(r.visit); err != nil {
		return err
	}
	var newest int64
	for number := range r.segments {
		newest = max(newest, number)
	}
	for number, s := range r.segments {
		if number == newest { // may still grow
			r.batch.Put(r.machine.shard.id, segmentKey(number), appendIndex(nil, s.since))
			continue
		}
		r.batch.PutSegment(r.machine.shard.id, number, s.sums.list())
	}
	return r.batch.Commit()
}

func (r *restorer) visit(e replication.Committed) error {
	if e.Tail == nil {
		return nil
	}
	tail, err := record.ParseTail(e.Tail)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	id := r.machine.shard.id
	_, skipped, err := r.machine.shard.broker.config.Index.Get(id, skippedKey(e.Index))
	if err != nil || skipped || tail.Term != e.Term {
		return err
	}
	number := log.SegmentOf(e.Position)
	segment := r.segments[number]
	if segment == nil {
		segment = &restoredSegment{since: e.Index, sums: segmentSums{}}
		r.segments[number] = segment
	}
	segment.sums.add(tail)
	if err := r.rows(&e, tail); err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	for note := range tail.Notes() {
		if note.Kind != noteVersions {
			continue
		}
		if err := r.versions(note.Body); err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
	}
	if r.pending++; r.pending < restoreBatch {
		return nil
	}
	r.pending = 0
	if err := r.batch.Commit(); err != nil {
		return err
	}
	r.batch.Close()
	r.batch = r.machine.shard.broker.config.Index.NewBatch()
	return nil
}

// rows remakes the runs of one entry.
func (r *restorer) rows(e *replication.Committed, tail record.Tail) error {
	count := tail.RowCount()
	for i := 0; i < count; {
		first := tail.Row(i)
		p, err := r.partition(first.Partition)
		if err != nil {
			return err
		}
		run := index.Run{
			Partition: first.Partition, First: first.BaseOffset, Last: first.BaseOffset - 1, Index: e.Index, Term: e.Term,
			Position: e.Position, Start: first.Position,
		}
		latest := noTimestamp
		for ; i < count; i++ {
			row := tail.Row(i)
			if row.Partition != first.Partition {
				break
			}
			if row.BaseOffset != run.Last+1 {
				return fmt.Errorf("partition %d: batch at offset %d after %d: %w", row.Partition, row.BaseOffset, run.Last, record.ErrCorrupt)
			}
			run.Last = row.NextOffset() - 1
			run.Bytes += row.Bytes
			latest = max(latest, row.MaxTimestamp)
		}
		if p.row.dropped || run.Last < p.row.start {
			continue
		}
		if p.next > 0 && run.First != p.next || p.next == 0 && run.First > p.row.start {
			return fmt.Errorf("partition %d: offset %d follows %d, what is between is missing: %w",
				run.Partition, run.First, max(p.next, p.row.start), record.ErrCorrupt)
		}
		p.next, p.latest = run.Last+1, max(p.latest, latest)
		run.MaxTimestamp = p.latest
		r.batch.PutRun(r.machine.shard.id, run)
	}
	return nil
}

func (r *restorer) partition(id record.Partition) (*restored, error) {
	if p := r.partitions[id]; p != nil {
		return p, nil
	}
	p := &restored{row: partitionRow{floor: noTimestamp}, latest: noTimestamp}
	row, ok, err := r.machine.shard.broker.config.Index.Get(r.machine.shard.id, partitionKey(id))
	if err != nil {
		return nil, err
	}
	if ok {
		if p.row, err = parsePartitionRow(row); err != nil {
			return nil, err
		}
		p.latest = p.row.floor
	}
	r.partitions[id] = p
	return p, nil
}

func (r *restorer) versions(body []byte) error {
	return visitVersions(body, func(partition record.Partition, key []byte, version int64, offset record.Offset, id eventID) error {
		p, err := r.partition(partition)
		if err != nil || p.row.dropped {
			return err
		}
		r.batch.PutVersion(r.machine.shard.id, index.StreamVersion{Partition: partition, Key: key, Version: version, Offset: offset, EventID: id})
		return nil
	})
}
