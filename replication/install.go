package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

// How a leader brings a follower to a snapshot: it asks the follower again and again
// to install it, until that says it has; the follower fetches what it lacks (catchup.go).
const (
	installPause    = 100 * time.Millisecond
	installPatience = 5 * time.Second // without any answer
	partBytes       = 1 << 20
	// fetchAhead is how many entries are looked up at once for a follower.
	fetchAhead = 32 << 10
)

// installRequest is what a leader asks:
//
//	0 shard u8   1 incarnation [16] of the follower   17 term u64   25 index u64   33 its term u64
//	41 file bytes u64   49 first retained index u64   57 proceed u8
type installRequest struct {
	shard       record.Shard
	incarnation [16]byte
	term        uint64 // of the leader
	index       uint64 // of the snapshot
	indexTerm   uint64
	fileBytes   uint64
	first       uint64 // entry that is retained
	proceed     bool   // to the installation, when all has been fetched
}

const installRequestBytes = 58

func (r *installRequest) id() string {
	return (&snapshotMeta{Index: r.index, Term: r.indexTerm}).id()
}

func (r *installRequest) bytes() []byte {
	b := append([]byte{byte(r.shard)}, r.incarnation[:]...)
	for _, v := range []uint64{r.term, r.index, r.indexTerm, r.fileBytes, r.first} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	if r.proceed {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseInstallRequest(b []byte) (*installRequest, error) {
	if len(b) != installRequestBytes || b[57] > 1 {
		return nil, fmt.Errorf("request to install of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	r := &installRequest{shard: record.Shard(b[0]), incarnation: [16]byte(b[1:17]), proceed: b[57] == 1}
	for i, v := range []*uint64{&r.term, &r.index, &r.indexTerm, &r.fileBytes, &r.first} {
		*v = binary.LittleEndian.Uint64(b[17+8*i:])
	}
	return r, nil
}

// installState is what a follower answers; its term u64 follows.
type installState uint8

const (
	installWorking installState = iota
	installDone
	installRefused // the leader's term is over
	installFetched // everything is here, and waits for the leader to say that it still fits its log
)

// errTooOld is why a leader begins again with a newer snapshot: its log does not reach
// back to this one any more.
var errTooOld = errors.New("the snapshot has become too old")

// install is the leader's side, called by raft through the transport.
func (in *instance) install(to transport.Peer, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, stop <-chan struct{}) error {
	g := in.group
	meta, release := g.snapshots.hold((&snapshotMeta{Index: request.LastLogIndex, Term: request.LastLogTerm}).id())
	if meta == nil {
		return fmt.Errorf("snapshot at %d: %w", request.LastLogIndex, log.ErrNotFound)
	}
	defer release()
	in.bring(to.ServerID(), record.Index(meta.Index)) // stays noted after a success: the follower goes on from there
	defer func() {
		if !response.Success {
			in.bring(to.ServerID(), 0)
		}
	}()
	ask := installRequest{
		shard: g.number, incarnation: to.Incarnation, term: request.Term,
		index: meta.Index, indexTerm: meta.Term, fileBytes: uint64(meta.FileBytes), first: uint64(g.log.RetainedFirst()),
	}
	g.logger.Info("bring a follower to a snapshot", "node", to.Node, "index", meta.Index)
	heard := time.Now()
	for {
		state, term, err := g.askInstall(to.Node, &ask)
		var failed *transport.RemoteError // what the follower tried has failed: raft tries again with its newest snapshot
		switch {
		case err == nil:
			heard = time.Now()
		case errors.As(err, &failed):
			in.renewCorrupt(meta)
			return err
		case time.Since(heard) > installPatience:
			return err
		}
		switch {
		case err != nil || state == installWorking:
		case state == installFetched:
			if first := uint64(g.log.First()); first > meta.Index+1 {
				return fmt.Errorf("install on node %d: %w", to.Node, errTooOld)
			}
			ask.proceed = true
		default:
			response.Term, response.Success = term, state == installDone
			return nil
		}
		if err := in.pauseInstall(request.Term, stop); err != nil {
			return fmt.Errorf("install on node %d: %w", to.Node, err)
		}
	}
}

// renewCorrupt takes a new snapshot if the one that a follower could not install is corrupt here: it would be offered for ever.
func (in *instance) renewCorrupt(meta *snapshotMeta) {
	g := in.group
	err := g.snapshots.verify(g.snapshots.path(meta.id()))
	if !errors.Is(err, record.ErrCorrupt) {
		return
	}
	g.logger.Error("a snapshot is corrupt: another one is taken", "error", err)
	if err := in.await(g.node.ctx, func() raft.Future { return in.raft.Snapshot() }); err != nil {
		g.logger.Error("no snapshot takes the place of the corrupt one yet", "error", err)
	}
}

// pauseInstall lets some time pass and tells whether there is still reason to go on.
func (in *instance) pauseInstall(term uint64, stop <-chan struct{}) error {
	timer := time.NewTimer(installPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
		return transport.ErrClosed
	}
	if in.raft.CurrentTerm() != term || in.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	return nil
}

// bring notes to which snapshot a follower is being brought, 0 for none.
func (in *instance) bring(id raft.ServerID, index record.Index) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.brought[id] = index; index == 0 {
		delete(in.brought, id)
	}
}

// needed returns the first entry that a connected follower may ask this leader for, or 0.
func (in *instance) needed() record.Index {
	if leading, _ := in.isLeading(); !leading {
		return 0
	}
	lowest := record.Index(0)
	for _, p := range in.group.node.endpoint.Peers() {
		if !p.Connected {
			continue
		}
		id := p.ServerID()
		in.mu.Lock()
		has := in.brought[id]
		in.mu.Unlock()
		if has = max(has, in.transport.Match(id)); has != 0 && (lowest == 0 || has < lowest) {
			lowest = has
		}
	}
	return lowest
}

func (g *Group) askInstall(node int32, ask *installRequest) (installState, uint64, error) {
	ctx, cancel := context.WithTimeout(g.node.ctx, installPatience)
	defer cancel()
	b, err := g.node.endpoint.Call(ctx, node, kindInstall, ask.bytes())
	if err == nil && len(b) != 9 {
		err = fmt.Errorf("answer to install of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	if err != nil {
		return 0, 0, err
	}
	return installState(b[0]), binary.LittleEndian.Uint64(b[1:]), nil
}

// answerInstall is the follower's side.
func (n *Node) answerInstall(_ context.Context, from transport.Peer, request []byte) ([]byte, error) {
	r, err := parseInstallRequest(request)
	if err != nil {
		return nil, err
	}
	if r.incarnation != n.config.Incarnation {
		return nil, fmt.Errorf("this is another life of node %d", n.config.Node)
	}
	state, term, err := n.Group(r.shard).catchup.ask(from, r)
	if err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint64([]byte{byte(state)}, term), nil
}

// answerSnapshotPart serves a piece of a snapshot's file: shard u8, index, term, offset u64.
func (n *Node) answerSnapshotPart(_ context.Context, _ transport.Peer, request []byte) ([]byte, error) {
	if len(request) != 25 {
		return nil, fmt.Errorf("request for a part of a snapshot of %d bytes: %w", len(request), record.ErrCorrupt)
	}
	g := n.Group(record.Shard(request[0]))
	if g.current() == nil {
		return nil, g.Ready()
	}
	meta := &snapshotMeta{Index: binary.LittleEndian.Uint64(request[1:]), Term: binary.LittleEndian.Uint64(request[9:])}
	return g.snapshots.readAt(meta.id(), int64(binary.LittleEndian.Uint64(request[17:])), partBytes)
}

// served remembers where the entries lie that a follower fetches, so that the log is
// not searched for each piece.
type served struct {
	infos   []log.EntryInfo // in order, at least one
	through record.Index    // what was asked for when they were looked up
}

var errEnough = errors.New("enough entries")

// fetch returns retained entries from an index on, for a follower; none means that
// there are none up to through, so this node must have applied that far. The transport releases them.
func (g *Group) fetch(ctx context.Context, peer transport.Peer, from, through record.Index, bytes int) ([]transport.Entry, error) {
	if has := g.SnapshotIndex(); has < through {
		if in := g.current(); in == nil || record.Index(in.raft.AppliedIndex()) < through {
			return nil, fmt.Errorf("entries up to %d, this node has not applied that far: %w", through, ErrNotReady)
		}
	}
	select {
	case g.serving <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-g.serving }()
	for {
		infos, err := g.lookUp(peer.Node, from, through)
		if err != nil {
			return nil, err
		}
		entries, err := g.pinSome(infos, through, bytes)
		if err != nil {
			return nil, fmt.Errorf("read entries for node %d: %w", peer.Node, err)
		}
		if len(entries) > 0 || len(infos) == 0 {
			return entries, nil
		}
		from = infos[len(infos)-1].Index + 1 // retention has just removed all of these
	}
}

// pinSome returns the entries that are still there, at least one if there is any, else up to so many bytes.
func (g *Group) pinSome(infos []log.EntryInfo, through record.Index, bytes int) ([]transport.Entry, error) {
	var entries []transport.Entry
	size := 0
	for _, info := range infos {
		size += transport.EntryHeaderBytes + int(info.Bytes)
		if len(entries) > 0 && size > bytes || info.Index > through {
			break
		}
		e := transport.Entry{Index: uint64(info.Index), Term: uint64(info.Term), Kind: raft.LogType(info.Kind)}
		var err error
		if info.Bytes > 0 {
			e.Payload, e.Frame, err = g.log.PinAt(info)
		}
		if errors.Is(err, log.ErrNotFound) { // retention has just removed it
			continue
		}
		if err != nil {
			transport.ReleaseAll(entries)
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// lookUp returns where the entries from an index on lie. The serving lock is held.
func (g *Group) lookUp(node int32, from, through record.Index) ([]log.EntryInfo, error) {
	if s := g.serves[node]; s != nil && s.through == through && s.infos[0].Index <= from && s.infos[len(s.infos)-1].Index >= from {
		for s.infos[0].Index < from {
			s.infos = s.infos[1:]
		}
		return s.infos, nil
	}
	s := &served{through: through}
	err := g.log.Scan(from, through, func(info log.EntryInfo, _ []byte) error {
		if len(s.infos) == fetchAhead {
			return errEnough
		}
		s.infos = append(s.infos, info)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("look up entries %d to %d: %w", from, through, err)
	}
	if delete(g.serves, node); len(s.infos) > 0 {
		g.serves[node] = s
	}
	return s.infos, nil
}
