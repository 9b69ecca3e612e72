package replication

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

// Kinds of calls that are this package's own.
const (
	kindFormation = FirstReservedKind + iota
	kindInstall
	kindSnapshotPart
)

const (
	formationPause    = 100 * time.Millisecond
	formationPatience = 2 * time.Second
	adoptionPatience  = 10 * time.Second
	complainEvery     = 10 * time.Second
)

// formation is what a node tells others of the cluster that it belongs to, if any:
//
//	0 cluster [16]   16 data shards u32   20 member count u32, members   then peer count u32, peers i32 each
type formation struct {
	cluster    [16]byte // zero: none yet
	dataShards int
	members    []transport.Peer // that formed it
	peers      []int32          // that the node is configured with, itself included, in order
}

func (f *formation) isFormed() bool { return f.cluster != [16]byte{} }

func (f *formation) bytes() []byte {
	b := append([]byte(nil), f.cluster[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(f.dataShards))
	b = appendMembers(b, f.members)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.peers)))
	for _, p := range f.peers {
		b = binary.LittleEndian.AppendUint32(b, uint32(p))
	}
	return b
}

func parseFormation(b []byte) (*formation, error) {
	if len(b) < 20 {
		return nil, fmt.Errorf("formation of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	f := &formation{cluster: [16]byte(b[:16]), dataShards: int(binary.LittleEndian.Uint32(b[16:]))}
	members, rest, err := parseMembers(b[20:])
	if err != nil {
		return nil, err
	}
	f.members = members
	if len(rest) < 4 || uint64(len(rest)-4) != 4*uint64(binary.LittleEndian.Uint32(rest)) {
		return nil, fmt.Errorf("formation with %d bytes of peers: %w", len(rest), record.ErrCorrupt)
	}
	for rest = rest[4:]; len(rest) > 0; rest = rest[4:] {
		f.peers = append(f.peers, int32(binary.LittleEndian.Uint32(rest)))
	}
	if f.isFormed() && (f.dataShards < 1 || f.dataShards > MaxDataShards) {
		return nil, fmt.Errorf("cluster with %d data shards: %w", f.dataShards, record.ErrCorrupt)
	}
	return f, nil
}

// handleOwn registers this package's own calls.
func (n *Node) handleOwn() {
	n.endpoint.Handle(kindFormation, true, n.answerFormation)
	n.endpoint.Handle(kindInstall, false, n.answerInstall)
	n.endpoint.Handle(kindSnapshotPart, false, n.answerSnapshotPart)
}

// formation returns what this node tells others.
func (n *Node) formation() *formation {
	who := n.who()
	peers := append(n.others(), n.config.Node)
	slices.Sort(peers)
	return &formation{who.Cluster, who.DataShards, who.members, peers}
}

// answerFormation exchanges formations: a caller that belongs to a cluster makes this
// node join it before it answers.
func (n *Node) answerFormation(ctx context.Context, from transport.Peer, request []byte) ([]byte, error) {
	theirs, err := parseFormation(request)
	if err != nil {
		return nil, err
	}
	if theirs.isFormed() {
		if err := n.adopt(ctx, theirs, from.Node); err != nil {
			return nil, err
		}
	}
	return n.formation().bytes(), nil
}

// exchange tells a peer this node's formation and returns the peer's.
func (n *Node) exchange(node int32, atMost time.Duration) (*formation, error) {
	ctx, cancel := context.WithTimeout(n.ctx, atMost)
	defer cancel()
	b, err := n.endpoint.Call(ctx, node, kindFormation, n.formation().bytes())
	if err != nil {
		return nil, err
	}
	return parseFormation(b)
}

// exchangeAll does so with all configured peers at once. An entry is nil for a peer that did not answer.
func (n *Node) exchangeAll(atMost time.Duration) ([]*formation, []error) {
	others := n.others()
	answers, errs := make([]*formation, len(others)), make([]error, len(others))
	var all sync.WaitGroup
	for i, node := range others {
		all.Go(func() { answers[i], errs[i] = n.exchange(node, atMost) })
	}
	all.Wait()
	return answers, errs
}

// findCluster asks the peers until one belongs to a cluster, or until all have answered
// that they belong to none and this node is the first of them: then it forms one. It
// ends with the node.
func (n *Node) findCluster() {
	var complained time.Time
	for n.ctx.Err() == nil && !n.who().isFormed() {
		reason := n.tryCluster()
		if reason != nil && time.Since(complained) > complainEvery && n.ctx.Err() == nil {
			n.config.Logger.Info("no cluster yet", "reason", reason)
			complained = time.Now()
		}
		timer := time.NewTimer(formationPause)
		select {
		case <-timer.C:
		case <-n.wake: // a peer is there
			timer.Stop()
		case <-n.ctx.Done():
			timer.Stop()
		}
	}
}

// tryCluster returns why there is no cluster yet, or nil.
func (n *Node) tryCluster() error {
	answers, errs := n.exchangeAll(formationPatience)
	for i, f := range answers {
		if f != nil && f.isFormed() {
			return n.adopt(n.ctx, f, n.others()[i])
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("all peers must answer once: %w", err)
	}
	self := n.formation()
	for i, f := range answers {
		if !slices.Equal(f.peers, self.peers) {
			return fmt.Errorf("node %d is configured with the peers %v, this node with %v", n.others()[i], f.peers, self.peers)
		}
	}
	if n.config.Node != self.peers[0] {
		return fmt.Errorf("node %d is to form the cluster", self.peers[0])
	}
	var members []transport.Peer
	for _, p := range n.endpoint.Peers() {
		if p.Incarnation == [16]byte{} {
			return fmt.Errorf("node %d has not said on which folder it runs", p.Node)
		}
		members = append(members, p.Peer)
	}
	return n.form(members)
}

// form founds a cluster of this node and the others that were met.
func (n *Node) form(others []transport.Peer) error {
	f := &formation{dataShards: n.config.DataShards, members: append([]transport.Peer{n.self()}, others...)}
	if _, err := rand.Read(f.cluster[:]); err != nil {
		return fmt.Errorf("choose a cluster id: %w", err)
	}
	// The format of a random UUID, so that tools take it for what it is.
	f.cluster[6], f.cluster[8] = f.cluster[6]&0x0f|0x40, f.cluster[8]&0x3f|0x80
	if err := n.adopt(n.ctx, f, n.config.Node); err != nil {
		return err
	}
	if len(others) > 0 {
		n.electFirst(f)
	}
	return nil
}

// electFirst tells the others and lets one member per shard stand at once, by turns, so
// that each node leads something.
func (n *Node) electFirst(f *formation) {
	_, errs := n.exchangeAll(adoptionPatience)
	for _, err := range errs {
		if err != nil {
			n.config.Logger.Info("a node has not joined the new cluster yet", "error", err)
		}
	}
	for _, g := range n.allGroups() {
		in := g.current()
		if in == nil {
			continue
		}
		turn := f.members[(max(int(g.number), 1)-1)%len(f.members)]
		if turn == n.self() {
			in.stand()
			continue
		}
		n.spawn(func() {
			id := turn.ServerID()
			if err := in.transport.TimeoutNow(id, raft.ServerAddress(id), &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}); err != nil {
				g.logger.Debug("a first leader was not told to stand", "node", turn.Node, "error", err)
			}
		})
	}
}

// adopt makes this node a part of the cluster: durably first, then it starts the
// groups. It does nothing on a node that belongs to that cluster already.
func (n *Node) adopt(ctx context.Context, f *formation, from int32) error {
	select {
	case n.forming <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-n.forming }()
	if n.ctx.Err() != nil {
		return ErrClosed
	}
	who := *n.who()
	if who.isFormed() {
		if who.Cluster != f.cluster {
			return fmt.Errorf("node %d belongs to cluster %x, not to %x", n.config.Node, who.Cluster, f.cluster)
		}
		return nil
	}
	who.Cluster, who.DataShards, who.members = f.cluster, f.dataShards, f.members
	if err := n.setIdentity(&who); err != nil {
		n.fatal(fmt.Errorf("store the cluster that was formed: %w", err))
		return err
	}
	id, _ := n.Cluster()
	n.config.Logger.Info("member of a cluster", "cluster", id, "data_shards", f.dataShards, "told_by", from,
		"founder", slices.Contains(f.members, n.self()))
	if err := n.startGroups(); err != nil {
		n.fatal(err)
		return err
	}
	n.endpoint.SetCluster(f.cluster)
	n.look()
	return nil
}
