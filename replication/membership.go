package replication

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

const (
	memberPause    = 500 * time.Millisecond
	memberPatience = 5 * time.Second
	// closeEnough is how many entries a new member may lack when it gets its vote.
	closeEnough = 64
)

// look makes keepMembers look now.
func (n *Node) look() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// keepMembers makes the members of the groups that this node leads those that the
// configuration names, in the lives that answer now. It ends with the node.
func (n *Node) keepMembers() {
	timer := time.NewTimer(memberPause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.ctx.Done():
			return
		}
		timer.Reset(memberPause)
		if !n.who().isFormed() {
			continue
		}
		for _, g := range n.allGroups() {
			if in := g.current(); in != nil && in.local.Load() != 0 {
				g.keepMembers(in)
			}
		}
	}
}

// keepMembers takes at most one step for each connected peer: a new life of a node is
// added without a vote, catches up, replaces the old life and gets its vote.
func (g *Group) keepMembers(in *instance) {
	for _, p := range g.node.endpoint.Peers() {
		if !p.Connected || p.Incarnation == [16]byte{} {
			continue
		}
		configuration := in.raft.GetConfiguration()
		if configuration.Error() != nil {
			return
		}
		servers := configuration.Configuration().Servers
		member, old := find(servers, p.Peer)
		id := p.ServerID()
		switch {
		case member == nil:
			g.change(in, "add a node without a vote", p.Peer, func() raft.IndexFuture {
				return in.raft.AddNonvoter(id, raft.ServerAddress(id), 0, memberPatience)
			})
		case old != nil && (member.Suffrage == raft.Voter || g.isClose(in, id)):
			g.change(in, "remove a node's earlier life", *old, func() raft.IndexFuture {
				return in.raft.RemoveServer(old.ServerID(), 0, memberPatience)
			})
		case member.Suffrage != raft.Voter && g.isClose(in, id):
			g.change(in, "give a node its vote", p.Peer, func() raft.IndexFuture {
				return in.raft.AddVoter(id, raft.ServerAddress(id), 0, memberPatience)
			})
		}
	}
}

// find returns the peer among the servers, and another life of the same node.
func find(servers []raft.Server, peer transport.Peer) (member *raft.Server, old *transport.Peer) {
	for i := range servers {
		other, err := transport.ParseServerID(servers[i].ID)
		switch {
		case err != nil || other.Node != peer.Node:
		case other == peer:
			member = &servers[i]
		default:
			old = &other
		}
	}
	return member, old
}

// isClose tells whether the server has nearly all that this leader has.
func (g *Group) isClose(in *instance, id raft.ServerID) bool {
	match, last := in.transport.Match(id), record.Index(in.raft.LastIndex())
	return match > 0 && match+closeEnough >= last
}

func (g *Group) change(in *instance, what string, peer transport.Peer, start func() raft.IndexFuture) {
	ctx, cancel := context.WithTimeout(g.node.ctx, memberPatience)
	defer cancel()
	g.logger.Info(what, "node", peer.Node, "server", peer.ServerID())
	if err := in.await(ctx, func() raft.Future { return start() }); err != nil && g.node.ctx.Err() == nil {
		g.logger.Warn(what, "node", peer.Node, "error", err)
	}
}
