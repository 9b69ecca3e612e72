package replication

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

var (
	errNoRestore = errors.New("raft restores nothing here: snapshots are installed beside it")
	// errReplaying is why no snapshot is taken for a while after a start.
	errReplaying = errors.New("the state machine has more than raft has replayed since the start")
)

// fsm hands what raft committed to the state machine. It implements raft.BatchingFSM;
// raft calls it from one goroutine.
type fsm struct {
	machine  StateMachine
	shard    *log.Shard
	gate     func(record.Index, record.Term) error // waits until the entry is durable on this node
	failure  *failure
	settled  func(l *raft.Log, err error) // tells a proposer that is waiting
	snapshot chan struct{}                // of one place: it is time for a snapshot
	limits   snapshotLimits
	applied  atomic.Uint64 // the last index that was handed over, or that the machine had before
	handed   atomic.Uint64 // the last index that this life of raft has handed over, or that its snapshot covers

	// Since the last snapshot; only raft's goroutine uses them, except that a snapshot sets them back.
	entries atomic.Uint64
	bytes   atomic.Int64

	batch  []Committed
	frames []*frame.Frame
}

type snapshotLimits struct {
	entries uint64
	bytes   int64
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. It is a gate: raft commits what this node
// may not have synced yet, but nobody sees an entry, in an answer, in the state or in a
// snapshot, before it is durable here.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	last := record.Index(logs[len(logs)-1].Index)
	if err := f.gate(last, record.Term(logs[len(logs)-1].Term)); err != nil {
		f.failure.stop(fmt.Errorf("apply up to entry %d: %w", last, err))
		return f.refuse(results)
	}
	from := 0 // of the entries that the machine has not had
	done := f.machine.Applied()
	for from < len(logs) && record.Index(logs[from].Index) <= done {
		from++
	}
	for _, l := range logs[from:] {
		c, err := f.committed(l)
		if err != nil {
			f.release()
			f.failure.stop(fmt.Errorf("read entry %d to apply it: %w", l.Index, err))
			return f.refuse(results)
		}
		f.batch = append(f.batch, c)
		f.bytes.Add(int64(c.Bytes))
	}
	f.entries.Add(uint64(len(logs)))
	if len(f.batch) > 0 {
		errs := f.machine.Apply(f.batch)
		if len(errs) != len(f.batch) {
			panic(fmt.Sprintf("BUG: the state machine answered %d of %d entries", len(errs), len(f.batch)))
		}
		for i, err := range errs {
			if err != nil {
				results[from+i] = err
			}
		}
	}
	f.release()
	f.shard.SetApplied(last)
	f.applied.Store(uint64(last))
	f.handed.Store(uint64(last))
	for i, l := range logs {
		err, _ := results[i].(error)
		f.settled(l, err)
	}
	if last >= done && (f.entries.Load() >= f.limits.entries || f.bytes.Load() >= f.limits.bytes) {
		select {
		case f.snapshot <- struct{}{}:
		default:
		}
	}
	return results
}

func (f *fsm) committed(l *raft.Log) (Committed, error) {
	c := Committed{Index: record.Index(l.Index), Term: record.Term(l.Term)}
	info, err := f.shard.Info(c.Index)
	if err != nil {
		return c, err
	}
	c.Position = info.Position
	if l.Type != raft.LogCommand {
		return c, nil
	}
	c.Bytes = info.Bytes
	tail, frame, err := f.shard.PinTail(c.Index, c.Term)
	if err != nil {
		return c, err
	}
	c.Tail = tail
	if frame != nil {
		f.frames = append(f.frames, frame)
	}
	return c, nil
}

func (f *fsm) release() {
	for _, frame := range f.frames {
		frame.Release()
	}
	clear(f.frames)
	clear(f.batch)
	f.frames, f.batch = f.frames[:0], f.batch[:0]
}

func (f *fsm) refuse(results []any) []any {
	for i := range results {
		results[i] = fmt.Errorf("apply: %w", ErrUnknownOutcome)
	}
	return results
}

// Restore implements raft.FSM. It is never called: snapshots are not restored on
// start (NoSnapshotRestoreOnStart) and installed ones do not pass through raft.
func (f *fsm) Restore(source io.ReadCloser) error {
	return errors.Join(errNoRestore, source.Close())
}

// Snapshot implements raft.FSM. Raft says that what it gets ends where raft is: after a start it replays entries that
// the machine has, and a snapshot taken meanwhile would have state from beyond its end. Whoever installed
// it would then be given those entries' successors only.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	applied := f.machine.Applied()
	if handed := f.handed.Load(); uint64(applied) > handed {
		return nil, fmt.Errorf("snapshot at entry %d of a state up to %d: %w", handed, applied, errReplaying)
	}
	write, release, err := f.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("snapshot of the state machine: %w", err)
	}
	return &machineSnapshot{write, release, applied, func() {
		f.entries.Store(0)
		f.bytes.Store(0)
	}}, nil
}

// machineSnapshot implements raft.FSMSnapshot.
type machineSnapshot struct {
	write   func(io.Writer) error
	release func()
	applied record.Index
	written func()
}

// Persist implements raft.FSMSnapshot. Raft closes the sink.
func (m *machineSnapshot) Persist(to raft.SnapshotSink) error {
	if s, ok := to.(*sink); ok {
		s.meta.Applied = uint64(m.applied)
	}
	if err := m.write(to); err != nil {
		return err
	}
	m.written()
	return nil
}

// Release implements raft.FSMSnapshot.
func (m *machineSnapshot) Release() { m.release() }
