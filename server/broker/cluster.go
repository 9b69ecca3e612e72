package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

// A cluster is this node's replica of the metadata: the state machine of shard 0, the desk at which its leader takes
// requests, and the way to the leader for all others. It calls b.viewChanged after each applied change.
type cluster struct {
	broker *Broker
	group  *replication.Group

	current atomic.Pointer[meta.View] // written on the state machine's goroutine
	settled atomic.Bool               // written by register: the view has been as new as the leader's since the start

	mu       sync.Mutex // guards the fields up to creating
	state    *meta.Machine
	leading  bool
	term     record.Term
	changed  chan struct{}        // closed and replaced when the view or the leadership changes
	creating map[string]*creation // topics that are being created because someone asked for them

	applied record.Index // of the state machine's goroutine
	failed  error        // likewise: nothing is applied any more

	calls   chan *metaCall
	ctx     context.Context // ends at close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newCluster registers the node-to-node calls; nothing runs before start.
func newCluster(b *Broker) *cluster {
	c := &cluster{
		broker: b, group: b.config.Replication.Group(record.Metadata),
		changed: make(chan struct{}), creating: map[string]*creation{}, calls: make(chan *metaCall, metaQueue),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.state = c.empty()
	c.current.Store(c.state.View())
	b.config.Replication.Handle(callMeta, c.answerCall)
	b.config.Replication.Handle(callSeen, c.answerSeen)
	return c
}

// empty returns a machine without metadata.
func (c *cluster) empty() *meta.Machine {
	config := c.broker.config
	return meta.New(meta.Config{
		Node: config.Node, Nodes: len(c.broker.nodes), BrokerConfigs: config.Settings.MetaConfigs,
	})
}

// machine returns the state machine of shard 0.
func (c *cluster) machine() (replication.StateMachine, error) {
	if err := c.load(); err != nil {
		return nil, err
	}
	return (*metaMachine)(c), nil
}

// load replaces the state by what the index holds. Readers see the one or the other, nothing in between.
func (c *cluster) load() error {
	state := c.empty()
	db := c.broker.config.Index
	applied, err := db.Applied(record.Metadata)
	if err != nil {
		return fmt.Errorf("metadata: read applied index: %w", err)
	}
	rows, scanError := db.Scan(record.Metadata, nil)
	for key, value := range rows {
		if err := state.Load(key, value); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	if err := scanError(); err != nil {
		return fmt.Errorf("metadata: read rows: %w", err)
	}
	c.applied = applied
	c.mu.Lock()
	c.state = state
	c.mu.Unlock()
	c.publish()
	return nil
}

// publish shows the view to readers and wakes who waits for it.
func (c *cluster) publish() {
	c.mu.Lock()
	c.current.Store(c.state.View())
	c.wake()
	c.mu.Unlock()
}

// wake tells that something changed. The caller holds mu.
func (c *cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// watch returns a channel that is closed at the next change of view or leadership.
func (c *cluster) watch() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// view returns the metadata as it is known here.
func (c *cluster) view() *meta.View { return c.current.Load() }

// start begins to take requests and to register this node; close ends it.
func (c *cluster) start() {
	c.running.Go(c.decideAll) // ends at close
	c.running.Go(c.register)  // ends at close
}

func (c *cluster) close() {
	c.mu.Lock() // nothing is started once ctx has ended
	c.cancel()
	c.mu.Unlock()
	c.running.Wait()
}

// metaMachine is the cluster as replication sees it.
type metaMachine cluster

// Applied implements replication.StateMachine.
func (m *metaMachine) Applied() record.Index { return m.applied }

// Lead implements replication.StateMachine.
func (m *metaMachine) Lead(term record.Term) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading, m.term = true, term
	m.state.SpreadOver(m.broker.config.Replication.Shards())
	(*cluster)(m).wake()
}

// Follow implements replication.StateMachine.
func (m *metaMachine) Follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading = false
	(*cluster)(m).wake()
}

// Apply implements replication.StateMachine.
func (m *metaMachine) Apply(entries []replication.Committed) []error {
	outcomes := make([]error, len(entries))
	changed := false
	if m.failed == nil {
		m.failed = m.apply(entries, outcomes, &changed)
		if m.failed != nil {
			m.broker.fatal(m.failed)
		}
	}
	if m.failed != nil {
		for i := range outcomes {
			outcomes[i] = m.failed
		}
		return outcomes
	}
	if changed {
		(*cluster)(m).publish()
		m.broker.viewChanged()
	}
	m.broker.config.Log.Shard(record.Metadata).SetApplied(m.applied)
	return outcomes
}

// apply replays entries into the machine and the index. An error says that this replica cannot go on.
func (m *metaMachine) apply(entries []replication.Committed, outcomes []error, changed *bool) error {
	batch := m.broker.config.Index.NewBatch()
	defer batch.Close()
	put := func(key, value []byte) {
		if value == nil {
			batch.Delete(record.Metadata, key)
			return
		}
		batch.Put(record.Metadata, key, value)
	}
	for i := range entries {
		e := &entries[i]
		m.applied = e.Index
		if e.Tail == nil { // Raft's own
			continue
		}
		tail, err := record.ParseTail(e.Tail)
		if err != nil {
			return fmt.Errorf("metadata entry %d: %w", e.Index, err)
		}
		if tail.Term != e.Term {
			outcomes[i] = replication.ErrSkipped
			continue
		}
		for note := range tail.Notes() {
			if note.Kind != noteMeta {
				return fmt.Errorf("metadata entry %d: note of unknown kind %d: this node is older than what wrote it", e.Index, note.Kind)
			}
			m.mu.Lock() // not over the commit below, which may wait for the disk
			err := m.state.Replay(note.Body, put)
			m.mu.Unlock()
			if err != nil {
				return fmt.Errorf("metadata entry %d: %w", e.Index, err)
			}
			*changed = true
		}
	}
	batch.SetApplied(record.Metadata, m.applied)
	if err := batch.Commit(); err != nil {
		return fmt.Errorf("metadata: write index: %w", err)
	}
	return nil
}

// Snapshot implements replication.StateMachine. The state is the shard's rows of the index.
func (m *metaMachine) Snapshot() (write func(io.Writer) error, release func(), err error) {
	view, err := m.broker.config.Index.Snapshot()
	if err != nil {
		return nil, nil, fmt.Errorf("metadata: %w", err)
	}
	write = func(w io.Writer) error {
		if err := view.Export(record.Metadata, w); err != nil {
			return fmt.Errorf("metadata: write snapshot: %w", err)
		}
		if err := m.broker.config.Index.Flush(); err != nil {
			return fmt.Errorf("metadata: flush index: %w", err)
		}
		return nil
	}
	release = func() {
		if err := view.Close(); err != nil {
			m.broker.logger.Error("snapshot of the index cannot be closed", "shard", record.Metadata, "error", err)
		}
	}
	return write, release, nil
}

// Restore implements replication.StateMachine.
func (m *metaMachine) Restore(state io.Reader, at record.Index, _ func(visit func(replication.Committed) error) error) error {
	db := m.broker.config.Index
	if err := db.Import(record.Metadata, state); err != nil {
		return fmt.Errorf("metadata: restore: %w", err)
	}
	batch := db.NewBatch()
	batch.SetApplied(record.Metadata, at)
	err := errors.Join(batch.Commit(), db.Flush())
	batch.Close()
	if err != nil {
		return fmt.Errorf("metadata: restore: %w", err)
	}
	if err := (*cluster)(m).load(); err != nil {
		return err
	}
	m.broker.config.Log.Shard(record.Metadata).SetApplied(at)
	m.broker.viewChanged()
	return nil
}
