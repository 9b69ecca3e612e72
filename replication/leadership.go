package replication

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

const (
	// firstStand is how long a leader must be gone before anybody stands: one that was
	// stopped in order has a successor, who must not be disturbed.
	firstStand = 25 * time.Millisecond
	// standPause lies between the candidates that stand then.
	standPause = 40 * time.Millisecond
)

// watchLeadership takes what raft tells, at once: raft's main loop waits for it.
func (in *instance) watchLeadership() {
	for {
		select {
		case leading := <-in.notify:
			in.mu.Lock()
			in.leading = leading
			in.changes++
			in.local.Store(0)
			in.mu.Unlock()
			if leading {
				in.transport.ForgetMatches()
			}
			select {
			case in.changed <- struct{}{}:
			default:
			}
		case <-in.stop:
			return
		}
	}
}

// isLeading tells whether raft leads, and which of its changes told so.
func (in *instance) isLeading() (bool, uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.leading && !in.closing, in.changes
}

// lead marks this node as the shard's leader in term, unless leadership has changed since.
func (in *instance) lead(term, change uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.leading || in.closing || in.changes != change {
		return false
	}
	in.local.Store(term)
	return true
}

// tellLeadership calls Lead and Follow, one at a time. Changes that come while the
// machine is being told are seen afterwards.
func (in *instance) tellLeadership() {
	g := in.group
	led := uint64(0) // what the machine was told last
	follow := func() {
		if led != 0 {
			g.logger.Info("no longer the leader", "term", led)
			g.machine.Follow()
			led = 0
		}
	}
	for {
		select {
		case <-in.changed:
		case <-in.stop:
			follow()
			return
		}
		for {
			if led != 0 && in.local.Load() != led {
				follow()
			}
			leading, change := in.isLeading()
			if led != 0 || !leading {
				break
			}
			if term, ok := in.barrier(); ok && in.lead(term, change) {
				led = term
				g.logger.Info("leader", "term", term)
				g.machine.Lead(record.Term(term))
			}
		}
	}
}

// barrier waits until everything before this leadership is applied. It returns the
// term only when that is certainly the term in which the barrier was appended.
func (in *instance) barrier() (uint64, bool) {
	before := in.raft.CurrentTerm()
	err := in.await(context.Background(), func() raft.Future { return in.raft.Barrier(0) })
	after := in.raft.CurrentTerm()
	if err != nil {
		// Leadership is over, which notify tells soon, or a transfer is under way.
		timer := time.NewTimer(in.group.node.config.HeartbeatTimeout / 10)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-in.stop:
		}
		return 0, false
	}
	return after, before == after && in.raft.State() == raft.Leader
}

// Leader returns who leads the shard as far as this node knows.
func (g *Group) Leader() Leadership {
	in := g.current()
	if in == nil {
		return Leadership{Node: -1}
	}
	l := Leadership{Node: -1, Term: record.Term(in.raft.CurrentTerm())}
	if _, id := in.raft.LeaderWithID(); id != "" {
		if peer, err := transport.ParseServerID(id); err == nil {
			l.Node = peer.Node
		}
	}
	if local := in.local.Load(); local != 0 {
		l.Node, l.Term, l.Local = g.node.config.Node, record.Term(local), true
	}
	return l
}

// stand makes this node a candidate at once, if it is a voter and follows.
func (in *instance) stand() {
	if in.raft.State() != raft.Follower {
		return
	}
	self := in.group.node.self().ServerID()
	for _, s := range in.raft.GetConfiguration().Configuration().Servers {
		if s.ID == self && s.Suffrage == raft.Voter {
			in.transport.Stand()
			return
		}
	}
}

// stepAside gives leadership to another node, because this one cannot read what a follower lacks: raft would try for ever.
// The entry stays as it is, for a person to look at, and the node goes on as a follower.
func (in *instance) stepAside(cause error) {
	g := in.group
	g.node.spawn(func() {
		g.logger.Error("an entry that a follower lacks cannot be read: another node is to lead", "error", cause)
		ctx, cancel := context.WithTimeout(g.node.ctx, transferPatience)
		defer cancel()
		if err := g.Transfer(ctx); err != nil {
			g.logger.Error("nobody can lead instead: a follower stays behind until another node is back", "error", err)
		}
	})
}

// leaderGone is told that nothing listens any more where the node was. If it led, this
// node stands without waiting for its own timeout, after those whose turn is first.
func (g *Group) leaderGone(node int32) {
	in := g.current()
	if in == nil || in.raft.State() != raft.Follower {
		return
	}
	_, id := in.raft.LeaderWithID()
	if peer, err := transport.ParseServerID(id); id == "" || err != nil || peer.Node != node {
		return
	}
	time.AfterFunc(firstStand+time.Duration(g.node.rank(node))*standPause, func() {
		_, now := in.raft.LeaderWithID()
		if g.current() == in && (now == id || now == "" && !in.store.stable.hasVoted(in.raft.CurrentTerm())) {
			in.stand() // whoever stood before has less than we, or nobody did
		}
	})
}
