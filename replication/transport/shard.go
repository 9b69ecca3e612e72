package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

const (
	// consumerLength bounds requests that wait for raft's main loop.
	consumerLength = 64
	// appendTimeout is how long an append may take: the peer's disk is in it.
	appendTimeout = 10 * time.Second
	// linkPatience is how long an append waits for a link before it fails. Raft's pause
	// after a failure doubles up to ten seconds: few and late failures keep it short.
	linkPatience = 30 * time.Second
)

var (
	errOtherLife = errors.New("the node runs on another folder now")
	errStalled   = errors.New("this node's disk does not answer")
)

// ShardConfig says what one raft instance's transport leads to.
type ShardConfig struct {
	Number record.Shard
	// Pin returns an entry's payload and a frame to release, or nil when the payload is a copy.
	Pin func(index record.Index, term record.Term, kind raft.LogType) (Entry, error)
	// Commit bounds the commit index that followers hear of by what is durable on this node.
	Commit func(record.Index) record.Index
	// Durable waits until the entry of that index and term is durable on this node; an
	// error says that it will not be. Nil: what raft has taken is durable. It must
	// return soon after the disk has failed or hung.
	Durable func(index record.Index, term record.Term) error
	// Stalled tells that the disk hangs or failed, so that nothing goes out any more
	// that followers take for a sign of life, and this node neither asks for votes nor gives any.
	Stalled func() bool
	// BeatPause is by how much heartbeats are put off beyond raft's own interval (50 to 100 ms with its timeout of
	// 500 ms), unless Hurry was called: each costs a leader without load three wakes.
	BeatPause time.Duration
	// Fetch returns retained entries from an index on, about that many bytes, for a
	// peer that is far behind. The caller releases their frames.
	Fetch func(ctx context.Context, peer Peer, from, through record.Index, bytes int) ([]Entry, error)
	// Install brings a peer that is too far behind for the log to a snapshot.
	Install func(to Peer, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, stop <-chan struct{}) error
}

// Shard is the transport of one raft instance. It implements raft.Transport and raft.WithPreVote.
type Shard struct {
	endpoint  *Endpoint
	config    ShardConfig
	consumer  chan raft.RPC
	heartbeat atomic.Pointer[func(raft.RPC)]
	stopped   chan struct{} // closed by Stop
	closed    chan struct{} // closed by Close
	once      [2]sync.Once  // of stopped and closed

	mu      sync.Mutex // guards all below
	match   map[raft.ServerID]record.Index
	hurried time.Time     // until then heartbeats are not put off
	hurry   chan struct{} // closed, and replaced, by Hurry
}

// Shard makes the transport of a new raft instance and directs the shard's requests to it.
func (e *Endpoint) Shard(config ShardConfig) *Shard {
	s := &Shard{
		endpoint: e, config: config, consumer: make(chan raft.RPC, consumerLength),
		stopped: make(chan struct{}), closed: make(chan struct{}), match: map[raft.ServerID]record.Index{}, hurry: make(chan struct{}),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shards[config.Number] = s
	return s
}

// Stop ends requests of this instance that are under way and takes no new ones, in
// either direction, so that raft can end.
func (s *Shard) Stop() {
	s.endpoint.mu.Lock()
	if s.endpoint.shards[s.config.Number] == s {
		delete(s.endpoint.shards, s.config.Number)
	}
	s.endpoint.mu.Unlock()
	s.once[0].Do(func() { close(s.stopped) })
}

// End releases what raft had not answered. Only after raft has ended.
func (s *Shard) End() {
	s.Stop()
	s.once[1].Do(func() { close(s.closed) })
}

// current makes an error of an answer that raft gave after Stop: those who met a broken disk are told then that all went
// well, so that they end, and raft may believe that a term, a vote or an entry is stored that is not.
func (s *Shard) current(a raft.RPCResponse) raft.RPCResponse {
	select {
	case <-s.stopped:
		return raft.RPCResponse{Error: errNoShard}
	default:
		return a
	}
}

func (s *Shard) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// offer hands a request to raft unless too many wait already.
func (s *Shard) offer(rpc raft.RPC) error {
	select {
	case <-s.stopped:
		return errNoShard
	default:
	}
	select {
	case s.consumer <- rpc:
		return nil
	default:
		return errBusy
	}
}

// Stand makes this node's raft stand for election at once.
func (s *Shard) Stand() {
	id := []byte(s.endpoint.config.Self.ServerID())
	// The answer is of no interest, but raft must not wait for somebody to take it.
	_ = s.offer(raft.RPC{
		Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: protocolVersion, ID: id, Addr: id}},
		RespChan: make(chan raft.RPCResponse, 1),
	})
}

// Match returns the last index that the peer is known to have, as long as this instance leads.
func (s *Shard) Match(id raft.ServerID) record.Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.match[id]
}

// ForgetMatches forgets what Match knows; for a new leadership.
func (s *Shard) ForgetMatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.match)
}

func (s *Shard) matched(id raft.ServerID, r *raft.AppendEntriesRequest) {
	last := record.Index(r.PrevLogEntry)
	if n := len(r.Entries); n > 0 {
		last = record.Index(r.Entries[n-1].Index)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.match[id] = max(s.match[id], last)
}

// link returns the connection to exactly the server that raft means.
func (s *Shard) link(id raft.ServerID, c class, atMost time.Duration) (*link, error) {
	number, _, _ := strings.Cut(string(id), "-")
	node, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("server id %q: %w", id, err)
	}
	r := s.endpoint.remotes[int32(node)]
	if r == nil {
		return nil, fmt.Errorf("node %d is not among the peers: %w", node, ErrUnreachable)
	}
	k, err := r.lines[c].wait(atMost, false, s.stopped)
	if err != nil {
		return nil, err
	}
	if k.id != id {
		return nil, fmt.Errorf("node %d: %w", node, errOtherLife)
	}
	return k, nil
}

// Consumer implements raft.Transport.
func (s *Shard) Consumer() <-chan raft.RPC { return s.consumer }

// LocalAddr implements raft.Transport: addresses are server ids here.
func (s *Shard) LocalAddr() raft.ServerAddress {
	return raft.ServerAddress(s.endpoint.config.Self.ServerID())
}

// EncodePeer implements raft.Transport.
func (s *Shard) EncodePeer(_ raft.ServerID, address raft.ServerAddress) []byte {
	return []byte(address)
}

// DecodePeer implements raft.Transport.
func (s *Shard) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport.
func (s *Shard) SetHeartbeatHandler(handle func(raft.RPC)) { s.heartbeat.Store(&handle) }

// InstallSnapshot implements raft.Transport. The data is not read here: the peer
// fetches what it lacks, and goes on where it was when the transfer is interrupted.
func (s *Shard) InstallSnapshot(id raft.ServerID, _ raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, _ io.Reader) error {
	if _, err := s.link(id, classBulk, linkPatience); err != nil {
		return err
	}
	peer, err := ParseServerID(id)
	if err != nil {
		return err
	}
	if err := s.config.Install(peer, request, response, s.stopped); err != nil {
		return err
	}
	if response.Success {
		s.matched(id, &raft.AppendEntriesRequest{PrevLogEntry: request.LastLogIndex})
	}
	return nil
}

// RequestVote implements raft.Transport. A node whose disk hangs does not stand: it could
// not lead, and others would give it their votes.
func (s *Shard) RequestVote(id raft.ServerID, _ raft.ServerAddress, request *raft.RequestVoteRequest, response *raft.RequestVoteResponse) error {
	if s.config.Stalled() {
		return errStalled
	}
	head := appendBallot(nil, ballot{request.Term, request.LastLogIndex, request.LastLogTerm, request.LeadershipTransfer})
	b, err := s.ask(id, kindVote, head)
	if err != nil {
		return err
	}
	response.ProtocolVersion = protocolVersion
	response.Term, response.Granted, err = parseVote(b)
	return err
}

// RequestPreVote implements raft.WithPreVote.
func (s *Shard) RequestPreVote(id raft.ServerID, _ raft.ServerAddress, request *raft.RequestPreVoteRequest, response *raft.RequestPreVoteResponse) error {
	if s.config.Stalled() {
		return errStalled
	}
	head := appendBallot(nil, ballot{term: request.Term, lastIndex: request.LastLogIndex, lastTerm: request.LastLogTerm})
	b, err := s.ask(id, kindPreVote, head)
	if err != nil {
		return err
	}
	response.ProtocolVersion = protocolVersion
	response.Term, response.Granted, err = parseVote(b)
	return err
}

// TimeoutNow implements raft.Transport.
func (s *Shard) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, _ *raft.TimeoutNowRequest, _ *raft.TimeoutNowResponse) error {
	_, err := s.ask(id, kindStand, nil)
	return err
}

// ask sends one of raft's small requests over the control connection.
func (s *Shard) ask(id raft.ServerID, k kind, head []byte) ([]byte, error) {
	timeout := s.endpoint.config.Timeout
	l, err := s.link(id, classControl, timeout/2)
	if err != nil {
		return nil, err
	}
	return l.ask(header{kind: k, shard: s.config.Number}, head, timeout, s.stopped)
}
