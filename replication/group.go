package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

// Group is one shard's Raft group on this node. It exists from New on and runs when
// the cluster is formed or joined. All methods may be called from any goroutine.
type Group struct {
	node    *Node
	number  record.Shard
	logger  *slog.Logger
	log     *log.Shard
	running atomic.Pointer[instance] // nil while raft does not run
	life    chan struct{}            // a lock that time can pass under: starting, ending and replacing the instance

	// Set by start, before running is.
	machine   StateMachine
	stable    *log.Stable
	snapshots *snapshots
	catchup   *catchup

	serving chan struct{} // a lock that time can pass under; it guards serves
	serves  map[int32]*served
}

func newGroup(n *Node, number record.Shard) *Group {
	g := &Group{
		node: n, number: number, logger: n.config.Logger.With("shard", number), life: make(chan struct{}, 1),
		serving: make(chan struct{}, 1), serves: map[int32]*served{},
	}
	g.catchup = newCatchup(g)
	return g
}

func (g *Group) lock()   { g.life <- struct{}{} }
func (g *Group) unlock() { <-g.life }

// current returns the instance that runs, or nil.
func (g *Group) current() *instance { return g.running.Load() }

// start opens what the folder holds, restores the machine if it is behind the newest
// snapshot, and runs raft. bootstrap is the configuration of a group that is new
// everywhere, and empty otherwise.
func (g *Group) start(machine StateMachine, bootstrap raft.Configuration) error {
	g.lock()
	defer g.unlock()
	config := &g.node.config
	dir := g.dir()
	if err := makeDir(config.FS, dir); err != nil {
		return err
	}
	g.log = config.Log.Shard(g.number)
	g.machine = machine
	var err error
	if g.stable, err = log.OpenStable(config.FS, config.FS.PathJoin(dir, stableName)); err != nil {
		return fmt.Errorf("open raft's term and vote of shard %d: %w", g.number, err)
	}
	if err := g.checkStarted(); err != nil {
		return errors.Join(err, g.closeStable())
	}
	g.snapshots, err = openSnapshots(config.FS, config.FS.PathJoin(dir, snapshotsName), g.logger, g.node.fatal)
	if err == nil {
		err = g.finishInstall()
	}
	if err == nil {
		err = g.restore()
	}
	if err == nil {
		err = g.run(bootstrap)
	}
	if err != nil {
		return errors.Join(err, g.closeStable())
	}
	return nil
}

// closeStable closes raft's term and vote, if they are open. The life lock is held.
func (g *Group) closeStable() error {
	if g.stable == nil {
		return nil
	}
	stable := g.stable
	g.stable = nil
	return stable.Close()
}

// dir is where this group keeps what is raft's.
func (g *Group) dir() string {
	config := &g.node.config
	return config.FS.PathJoin(config.Dir, raftDir, fmt.Sprintf("shard-%03d", g.number))
}

// checkStarted refuses a folder whose identity says that it has held raft state which is not there.
func (g *Group) checkStarted() error {
	stable := newStableStore(g.stable, newFailure(g.node.fatal))
	had, err := stable.marked(keyStarted)
	if err != nil {
		return err
	}
	if g.node.who().started && !had {
		return fmt.Errorf("shard %d: raft's term and vote are gone: empty the data folder so that the node comes back from its peers", g.number)
	}
	if err := g.stable.SetUint64([]byte(keyStarted), 1); err != nil {
		return fmt.Errorf("store that shard %d was started: %w", g.number, err)
	}
	return nil
}

// run starts an instance. The life lock is held.
func (g *Group) run(bootstrap raft.Configuration) error {
	in, err := g.newInstance(bootstrap)
	if err != nil {
		return err
	}
	g.running.Store(in)
	return nil
}

// finishInstall makes the log fit a snapshot whose installation a crash has interrupted, before restore takes what is in the
// log for final.
func (g *Group) finishInstall() error {
	meta := g.snapshots.newest()
	if meta == nil {
		return nil
	}
	applied, ok, err := newStableStore(g.stable, newFailure(g.node.fatal)).install(meta)
	if err != nil || !ok {
		return err
	}
	s := &store{shard: g.log, snapshots: g.snapshots}
	return s.reconcile(meta, applied)
}

// restore makes the machine what the newest snapshot says, if it is behind that.
func (g *Group) restore() error {
	meta := g.snapshots.newest()
	if meta == nil || uint64(g.machine.Applied()) >= meta.Applied {
		return nil
	}
	g.logger.Info("restore a state machine from its snapshot", "index", meta.Index, "applied", g.machine.Applied())
	_, state, err := g.snapshots.openState(g.snapshots.path(meta.id()))
	if err != nil {
		return err
	}
	at := record.Index(meta.Index)
	err = g.machine.Restore(state, at, func(visit func(Committed) error) error {
		return g.log.Scan(0, at, func(info log.EntryInfo, tail []byte) error {
			c := Committed{Index: info.Index, Term: info.Term, Position: info.Position}
			if raft.LogType(info.Kind) == raft.LogCommand {
				c.Bytes, c.Tail = info.Bytes, tail
			}
			return visit(c)
		})
	})
	if err = errors.Join(err, state.Close()); err != nil {
		return fmt.Errorf("restore shard %d from its snapshot at %d: %w", g.number, meta.Index, err)
	}
	return nil
}

// restart replaces an instance that does not work any more.
func (g *Group) restart(old *instance, reason string) {
	g.node.spawn(func() {
		g.lock()
		defer g.unlock()
		if g.current() != old {
			return
		}
		g.logger.Warn("restart raft", "reason", reason)
		g.running.Store(nil)
		old.close()
		if g.node.ctx.Err() != nil {
			return
		}
		if err := g.run(raft.Configuration{}); err != nil {
			g.node.fatal(err)
		}
	})
}

// close ends the group for good.
func (g *Group) close() error {
	if in := g.current(); in != nil && in.failure.reason() != nil {
		in.abandon() // a catch-up may wait for a lock whose holder waits for this
	}
	g.catchup.close()
	g.lock()
	defer g.unlock()
	if in := g.running.Swap(nil); in != nil {
		in.close()
	}
	return g.closeStable()
}

// Ready returns nil when the group runs and this life of the node has its vote, else the
// reason. Without its vote it has not caught up, and the cluster cannot do without another node.
func (g *Group) Ready() error {
	if in := g.current(); in != nil {
		member, _ := find(in.raft.GetConfiguration().Configuration().Servers, g.node.self())
		if member == nil || member.Suffrage != raft.Voter {
			return fmt.Errorf("shard %d: this node has no vote yet: it is catching up: %w", g.number, ErrNotReady)
		}
		return nil
	}
	if _, formed := g.node.Cluster(); !formed {
		return fmt.Errorf("shard %d: the cluster is not formed yet: %w", g.number, ErrNotReady)
	}
	return fmt.Errorf("shard %d: %w", g.number, ErrNotReady)
}

// Barrier waits until everything that was committed before is applied on this node,
// which must lead.
func (g *Group) Barrier(ctx context.Context) error {
	in := g.current()
	return in.await(ctx, func() raft.Future { return in.raft.Barrier(0) })
}

// VerifyLeader asks a majority whether this node still leads.
func (g *Group) VerifyLeader(ctx context.Context) error {
	in := g.current()
	return in.await(ctx, func() raft.Future {
		in.transport.Hurry()
		return in.raft.VerifyLeader()
	})
}

// Transfer gives leadership to the follower that is connected and least behind. It does
// nothing on a node that does not lead. Raft gives an attempt up at the first failed call, which the first call over
// a connection that has just ended is, so there are a few attempts.
func (g *Group) Transfer(ctx context.Context) error {
	in := g.current()
	var err error
	for range transferAttempts {
		if in == nil || in.raft.State() != raft.Leader {
			return nil
		}
		id := in.successor()
		if id == "" {
			return fmt.Errorf("no follower is near: %w", ErrUnreachable)
		}
		err = in.await(ctx, func() raft.Future { return in.raft.LeadershipTransferToServer(id, raft.ServerAddress(id)) })
		if err == nil {
			return nil
		}
		pause := time.NewTimer(transferPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
	return err
}

const (
	// transferAttempts bounds how often Transfer tries.
	transferAttempts = 4
	// transferPause lies between two attempts: raft's first retry of a failed call is after 10 ms.
	transferPause = 20 * time.Millisecond
)

// successor returns the connected voter that has most, or nothing. (Raft itself would
// take one that it has not heard of in its term.)
func (in *instance) successor() raft.ServerID {
	var best raft.ServerID
	most := record.Index(0)
	servers := in.raft.GetConfiguration().Configuration().Servers
	for _, p := range in.group.node.endpoint.Peers() {
		member, _ := find(servers, p.Peer)
		if !p.Connected || member == nil || member.Suffrage != raft.Voter {
			continue
		}
		if match := in.transport.Match(member.ID); match > most {
			best, most = member.ID, match
		}
	}
	return best
}

// Snapshot takes a snapshot now. It does nothing when nothing was applied since the last.
func (g *Group) Snapshot() error {
	in := g.current()
	if meta := g.newestSnapshot(); in != nil && meta != nil && in.raft.AppliedIndex() <= meta.Index {
		return nil
	}
	err := in.await(context.Background(), func() raft.Future { return in.raft.Snapshot() })
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// newestSnapshot returns the newest snapshot, nil when there is none or the group has not been started.
func (g *Group) newestSnapshot() *snapshotMeta {
	if g.current() == nil {
		return nil
	}
	return g.snapshots.newest()
}

// SnapshotIndex returns the last index that the newest snapshot covers, 0 when there is none.
func (g *Group) SnapshotIndex() record.Index {
	if meta := g.snapshots.newest(); meta != nil {
		return record.Index(meta.Index)
	}
	return 0
}

// Compact makes the group let go of the segments up to that number, if it can: it takes a snapshot, if anything was applied since
// the last, and forgets the entries that lie there and that neither a restart nor a connected follower needs. Snapshots
// do so when enough entries have come; an idle shard would keep its segments for ever. It does nothing for a
// group whose entries all lie in later segments.
func (g *Group) Compact(segment int64) error {
	in := g.current()
	if in == nil || g.log.LastUpTo(segment) == 0 {
		return nil
	}
	if err := g.Snapshot(); err != nil {
		return fmt.Errorf("compact shard %d: %w", g.number, err)
	}
	return in.store.compact(segment)
}

// Status is a group's state for metrics.
type Status struct {
	Role      Role
	Term      record.Term
	First     record.Index // of Raft's window
	Last      record.Index
	Commit    record.Index // that is durable here
	Applied   record.Index
	Snapshot  record.Index // where the newest one was taken
	Contact   time.Time    // when a follower last heard of its leader
	Changes   uint64       // how often this node became the leader or ceased to be
	Followers []Follower   // on the leader
}

// Follower is how far another member is, as the leader knows.
type Follower struct {
	Node  int32
	Voter bool
	Match record.Index // the last entry that it is known to have
	Lag   uint64       // entries
}

// Status returns the group's state.
func (g *Group) Status() Status {
	in := g.current()
	if in == nil {
		return Status{Role: RoleStopped}
	}
	s := Status{
		Role:    role(in.raft.State()),
		Term:    record.Term(in.raft.CurrentTerm()),
		First:   g.log.First(),
		Last:    record.Index(in.raft.LastIndex()),
		Commit:  in.store.durable(record.Index(in.raft.CommitIndex())),
		Applied: record.Index(in.fsm.applied.Load()),
		Contact: in.raft.LastContact(),
	}
	_, s.Changes = in.isLeading()
	if meta := g.snapshots.newest(); meta != nil {
		s.Snapshot = record.Index(meta.Index)
	}
	if s.Role != RoleLeader {
		return s
	}
	self := g.node.self().ServerID()
	for _, server := range in.raft.GetConfiguration().Configuration().Servers {
		peer, err := transport.ParseServerID(server.ID)
		if err != nil || server.ID == self {
			continue
		}
		f := Follower{Node: peer.Node, Voter: server.Suffrage == raft.Voter, Match: in.transport.Match(server.ID)}
		f.Lag = uint64(s.Last - min(f.Match, s.Last))
		s.Followers = append(s.Followers, f)
	}
	return s
}

func role(state raft.RaftState) Role {
	switch state {
	case raft.Follower:
		return RoleFollower
	case raft.Candidate:
		return RoleCandidate
	case raft.Leader:
		return RoleLeader
	case raft.Shutdown:
		return RoleStopped
	}
	return RoleStopped
}
