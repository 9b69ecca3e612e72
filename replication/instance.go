package replication

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

const (
	maxAppendEntries = 128
	// drainPatience bounds how long closing waits for proposals that are under way.
	drainPatience = 10 * time.Second
	// snapshotPause lies between a snapshot that failed and the next attempt.
	snapshotPause = 5 * time.Second
)

// gates says which of the three gates stand open whatever the disk does. None does but in tests that
// see to it that an open gate is noticed: nothing outside this package can set it.
type gates struct {
	success bool // of an append, on a follower
	applied bool
	commit  bool // the index that followers hear of
	own     bool // no gate: raft's own entries pass StoreLogs before they are durable, as commands do
}

func (open gates) apply(wire *transport.ShardConfig, in *instance) {
	ungated := func(record.Index, record.Term) error { return nil }
	if open.success {
		wire.Durable = ungated
	}
	if open.applied {
		in.fsm.gate = ungated
	}
	if open.commit {
		wire.Commit = func(i record.Index) record.Index { return i }
	}
	in.store.own = open.own
}

// instance is one life of a group's raft: a group gets another when a snapshot is
// installed, since raft cannot take one whose place in its log another history holds.
type instance struct {
	group     *Group
	raft      *raft.Raft
	transport *transport.Shard
	store     *store
	fsm       *fsm
	failure   *failure
	proposals *proposals
	notify    chan bool     // raft tells leadership; always read
	changed   chan struct{} // of one place: leadership moved
	stop      chan struct{} // closed when this instance is to end
	running   sync.WaitGroup
	local     atomic.Uint64 // the term in which this node leads and has applied all before; 0: it does not
	transfers atomic.Int64  // since when every proposal met a leadership transfer, in ns since 1970

	mu      sync.Mutex // guards all below
	leading bool       // as raft told last
	changes uint64     // how often it told
	closing bool
	under   int                            // proposals and other futures that raft has not answered
	idle    chan struct{}                  // closed when closing and under is 0
	brought map[raft.ServerID]record.Index // to which snapshots followers are being brought
}

func (g *Group) raftConfig(notify chan bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = g.node.self().ServerID()
	c.HeartbeatTimeout = g.node.config.HeartbeatTimeout
	c.ElectionTimeout = g.node.config.HeartbeatTimeout
	c.LeaderLeaseTimeout = g.node.config.HeartbeatTimeout * 4 / 5
	c.CommitTimeout = g.node.config.CommitTimeout
	c.MaxAppendEntries = maxAppendEntries
	c.BatchApplyCh = false // the unbuffered channel is the sequencer's clock
	c.ShutdownOnRemove = false
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.TrailingLogs = g.node.config.TrailingEntries
	c.SnapshotThreshold = math.MaxInt64 // fsm decides
	c.SnapshotInterval = 24 * time.Hour
	c.NotifyCh = notify
	c.Logger = newRaftLogger(g.logger)
	return c
}

// newInstance starts raft on what the store holds. bootstrap, if not empty, is written
// to an empty store first.
func (g *Group) newInstance(bootstrap raft.Configuration) (*instance, error) {
	in := &instance{
		group: g, failure: newFailure(g.node.fatal), proposals: newProposals(),
		notify: make(chan bool, 1), changed: make(chan struct{}, 1), stop: make(chan struct{}), idle: make(chan struct{}),
		brought: map[raft.ServerID]record.Index{},
	}
	stable := newStableStore(g.stable, in.failure)
	in.store = &store{
		log: g.node.config.Log, shard: g.log, pool: g.node.config.Pool, stable: stable, snapshots: g.snapshots, failure: in.failure, needed: in.needed,
		corrupt: in.stepAside,
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	in.fsm = &fsm{
		machine: g.machine, shard: g.log, gate: in.store.waitDurable, failure: in.failure,
		settled: in.proposals.settled, snapshot: make(chan struct{}, 1),
		limits: snapshotLimits{g.node.config.SnapshotEntries, g.node.config.SnapshotBytes},
	}
	in.fsm.applied.Store(uint64(g.machine.Applied()))
	in.fsm.handed.Store(uint64(g.SnapshotIndex()))
	g.log.SetApplied(g.machine.Applied())
	wire := transport.ShardConfig{
		Number:    g.number,
		Pin:       in.store.pin,
		Commit:    in.store.durable,
		Durable:   in.store.waitDurable,
		Stalled:   in.store.isStalled,
		BeatPause: g.node.config.HeartbeatTimeout / 8,
		Fetch:     g.fetch,
		Install:   in.install,
	}
	g.node.open.apply(&wire, in)
	in.transport = g.node.endpoint.Shard(wire)
	config := g.raftConfig(in.notify)
	err := in.bootstrap(bootstrap)
	if err == nil {
		in.raft, err = raft.NewRaft(config, in.fsm, in.store, stable, g.snapshots, in.transport)
	}
	if err != nil {
		in.transport.End()
		return nil, fmt.Errorf("start raft of shard %d: %w", g.number, err)
	}
	in.run(in.settle) // ends when settling is closed
	in.run(in.watchLeadership)
	in.run(in.tellLeadership)
	in.run(in.takeSnapshots)
	return in, nil
}

// check refuses a store that has lost what it once had, since it may have voted and
// acknowledged; and it makes the log fit the newest snapshot.
func (in *instance) check() error {
	g := in.group
	appended, err := in.store.stable.marked(keyAppended)
	if err != nil {
		return err
	}
	meta := g.snapshots.newest()
	if appended && g.log.Last() == 0 && meta == nil {
		return fmt.Errorf("shard %d: the log is empty although it was not: empty the data folder so that the node comes back from its peers", g.number)
	}
	in.store.appended.Store(appended)
	if meta == nil {
		return nil
	}
	return in.store.reconcile(meta, g.machine.Applied())
}

// bootstrap gives an empty store the first entry of every founder's log. Raft's own
// BootstrapCluster stores the term first, and does nothing after a crash in between.
func (in *instance) bootstrap(configuration raft.Configuration) error {
	if len(configuration.Servers) == 0 || in.store.appended.Load() || in.group.log.Last() > 0 || in.group.snapshots.newest() != nil {
		return nil
	}
	first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configuration)}
	if err := in.store.StoreLog(first); err != nil {
		return err
	}
	term, err := in.store.stable.GetUint64([]byte(keyCurrentTerm))
	if err != nil || term > 0 {
		return err
	}
	return in.store.stable.SetUint64([]byte(keyCurrentTerm), 1)
}

// run starts a goroutine that ends after close.
func (in *instance) run(f func()) {
	in.running.Go(f)
}

// begin counts something that waits for raft; false when the instance is closing.
func (in *instance) begin() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closing {
		return false
	}
	in.under++
	return true
}

func (in *instance) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.under--
	if in.under == 0 && in.closing {
		close(in.idle)
	}
}

// await waits for a future of raft, or for ctx. The future is waited for in any case,
// before the instance ends: raft answers none after it has ended.
func (in *instance) await(ctx context.Context, start func() raft.Future) error {
	if in == nil || !in.begin() {
		return ErrNotReady
	}
	done := make(chan error, 1)
	go func() { // ends with raft's answer
		defer in.end()
		done <- start().Error()
	}()
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) {
			err = fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends this life. Everything that was proposed has been answered when it
// returns. The order matters: first nothing goes out or comes in any more, then those
// who met a broken disk may go on, then raft can end, then what it had is released.
func (in *instance) close() {
	in.mu.Lock()
	in.closing = true
	in.local.Store(0)
	if in.under == 0 {
		close(in.idle)
	}
	in.mu.Unlock()
	in.abandon()
	timer := time.NewTimer(drainPatience)
	select {
	case <-in.idle: // a leader has lost its followers, and so answers all with an error
	case <-timer.C:
		in.group.logger.Warn("raft has not answered everything before it ends")
	}
	timer.Stop()
	if err := in.raft.Shutdown().Error(); err != nil {
		in.group.logger.Warn("shut raft down", "error", err)
	}
	close(in.stop)
	close(in.proposals.settling)
	in.transport.End()
	in.running.Wait()
}

// abandon lets what a failed disk holds up go on to its end, when no message goes in or out any more.
func (in *instance) abandon() {
	in.transport.Stop()
	in.failure.release()
}

// takeSnapshots takes a snapshot whenever fsm finds that it is time. It ends with the instance.
func (in *instance) takeSnapshots() {
	for {
		select {
		case <-in.fsm.snapshot:
		case <-in.stop:
			return
		}
		err := in.await(context.Background(), func() raft.Future { return in.raft.Snapshot() })
		if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) || errors.Is(err, ErrNotReady) {
			continue
		}
		in.group.logger.Warn("take a snapshot", "error", err)
		timer := time.NewTimer(snapshotPause)
		select {
		case <-timer.C:
		case <-in.stop:
			timer.Stop()
			return
		}
	}
}

// watchTransfer restarts the instance when raft answers every proposal with a
// leadership transfer that never ends (hashicorp/raft issue 696).
func (in *instance) watchTransfer(err error) {
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		in.transfers.Store(0)
		return
	}
	now := time.Now().UnixNano()
	if in.transfers.CompareAndSwap(0, now) {
		return
	}
	if now-in.transfers.Load() > 3*int64(in.group.node.config.HeartbeatTimeout) {
		in.transfers.Store(0)
		in.group.restart(in, "a leadership transfer does not end")
	}
}
