package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

const (
	// callsAtOnce bounds the calls of one connection that are being worked on.
	callsAtOnce = 64
	// laneLength bounds the raft requests of one connection and shard that wait for their answer.
	laneLength = 2 * consumerLength
)

var (
	errNoShard  = errors.New("the shard does not run on this node")
	errBusy     = errors.New("too many requests are waiting")
	errNoMember = errors.New("this connection belongs to no cluster yet")
	errNoCall   = errors.New("nobody answers calls of this kind")
)

// RemoteError is what another node answered instead of a result.
type RemoteError struct {
	Node int32
	Text string
}

func (e *RemoteError) Error() string { return fmt.Sprintf("node %d: %s", e.Node, e.Text) }

// inbound is one connection that another node dialed: requests come in, answers go out.
type inbound struct {
	endpoint  *Endpoint
	conn      net.Conn
	ctx       context.Context // ends with the connection
	cancel    context.CancelFunc
	writing   chan struct{} // a lock that time can pass under
	calls     chan struct{} // one place per call that is being worked on
	lanes     map[*Shard]*lane
	lanesDone sync.WaitGroup
	retired   atomic.Bool // it is to end when it is idle

	// Set once, before anything is served; the endpoint's mutex guards them until then.
	peer    Peer
	limited bool
}

func newInbound(e *Endpoint, conn net.Conn) *inbound {
	in := &inbound{
		endpoint: e, conn: conn,
		writing: make(chan struct{}, 1), calls: make(chan struct{}, callsAtOnce), lanes: map[*Shard]*lane{},
	}
	in.ctx, in.cancel = context.WithCancel(e.ctx)
	return in
}

// end closes the connection; everything that serves it ends soon after.
func (in *inbound) end() {
	in.cancel()
	_ = in.conn.Close()
}

// retire ends the connection as soon as no call is being worked on.
func (in *inbound) retire() {
	in.retired.Store(true)
	if len(in.calls) == 0 {
		in.end()
	}
}

// serve reads requests until the connection ends.
func (in *inbound) serve() {
	defer in.closeLanes()
	r := newReader(in.conn, in.endpoint.config.Pool)
	id := []byte(in.peer.ServerID())
	from := raft.RPCHeader{ProtocolVersion: protocolVersion, ID: id, Addr: id}
	for {
		m, err := r.next()
		if err == nil && m.isAnswer() {
			err = fmt.Errorf("answer of kind %d where requests belong: %w", m.kind, errProtocol)
		}
		if err == nil {
			err = in.take(&m, from)
		}
		if err != nil {
			if in.ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				in.endpoint.config.Logger.Warn("close a cluster connection", "node", in.peer.Node, "error", err)
			}
			return
		}
	}
}

// take hands one request to whoever answers it. An error closes the connection.
func (in *inbound) take(m *message, from raft.RPCHeader) error {
	if in.limited && (m.kind != kindCall || !in.endpoint.handlers[m.call].open) {
		m.release()
		return in.refuse(m.header, errNoMember)
	}
	switch m.kind {
	case kindCall:
		in.takeCall(m)
		return nil
	case kindFetch:
		return in.takeFetch(m)
	default: // raft's own
	}
	s := in.endpoint.shard(m.shard)
	if s == nil {
		m.release()
		return in.refuse(m.header, errNoShard)
	}
	if m.kind != kindAppend {
		if s.config.Stalled() { // it cannot store a vote: a pre-vote that it grants would cost a term
			m.release()
			return in.refuse(m.header, errStalled)
		}
		command, err := raftCommand(m, from)
		if err != nil {
			return err
		}
		return in.lane(s).take(m, command)
	}
	request := appendRequest(m, from)
	if isHeartbeat(request) {
		return in.heartbeat(s, m.header, request)
	}
	return in.lane(s).take(m, request)
}

func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	return len(r.Entries) == 0 && r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && r.LeaderCommitIndex == 0
}

// heartbeat answers at once, beside whatever raft's main loop is doing.
func (in *inbound) heartbeat(s *Shard, h header, request *raft.AppendEntriesRequest) error {
	handle := s.heartbeat.Load()
	answers := make(chan raft.RPCResponse, 1)
	if handle != nil {
		(*handle)(raft.RPC{Command: request, RespChan: answers})
	}
	select {
	case a := <-answers:
		return in.reply(h, s.current(a))
	default: // it is being shut down
		return in.refuse(h, errNoShard)
	}
}

func (in *inbound) reply(h header, a raft.RPCResponse) error {
	if a.Error != nil {
		return in.refuse(h, a.Error)
	}
	head, err := raftReply(nil, a.Response)
	if err != nil {
		return in.refuse(h, err)
	}
	return in.answer(h, head)
}

// answer sends an answer without entries.
func (in *inbound) answer(to header, head []byte) error {
	b := make([]byte, headerBytes+len(head))
	copy(b[headerBytes:], head)
	to.flags |= flagAnswer
	to.length = uint32(len(b))
	putHeader(b, to)
	return in.write(net.Buffers{b})
}

// refuse sends an error as the answer.
func (in *inbound) refuse(to header, err error) error {
	text := err.Error()
	to.flags |= flagError
	to.count = 0
	return in.answer(to, []byte(text[:min(len(text), 4096)]))
}

func (in *inbound) write(buffers net.Buffers) error {
	select {
	case in.writing <- struct{}{}:
	case <-in.ctx.Done():
		return net.ErrClosed
	}
	err := in.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = buffers.WriteTo(in.conn)
	}
	<-in.writing
	if err != nil {
		in.end()
	}
	return err
}

// takeCall answers a call on a goroutine of its own.
func (in *inbound) takeCall(m *message) {
	h, request := m.header, append([]byte(nil), m.head...)
	in.work(h, func(ctx context.Context) error {
		handler := in.endpoint.handlers[h.call]
		if handler.answer == nil {
			return errNoCall
		}
		if h.count > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(h.count)*time.Millisecond)
			defer cancel()
		}
		head, err := handler.answer(ctx, in.peer, request)
		if err == nil && len(head) > MaxCall {
			err = fmt.Errorf("answer of %d bytes, limit %d", len(head), MaxCall)
		}
		if err != nil {
			return err
		}
		h.count = 0
		_ = in.answer(h, head) // a broken connection has ended by itself
		return nil
	})
}

func (in *inbound) takeFetch(m *message) error {
	h := m.header
	f, err := parseFetch(m.head)
	if err != nil {
		return err
	}
	s := in.endpoint.shard(h.shard)
	if s == nil || s.config.Fetch == nil {
		return in.refuse(h, errNoShard)
	}
	in.work(h, func(ctx context.Context) error {
		entries, err := s.config.Fetch(ctx, in.peer, record.Index(f.from), record.Index(f.through), int(min(f.bytes, splitBytes)))
		if err != nil {
			return err
		}
		defer ReleaseAll(entries)
		return in.answerEntries(h, entries)
	})
	return nil
}

func (in *inbound) answerEntries(to header, entries []Entry) error {
	buffers, size, err := entryBuffers(headerBytes, entries)
	if err != nil {
		return err
	}
	to.flags |= flagAnswer
	to.count, to.length = uint32(len(entries)), uint32(size)
	putHeader(buffers[0], to)
	_ = in.write(buffers) // a broken connection has ended by itself
	return nil
}

// work runs f on a goroutine that ends with it; an error becomes the answer.
func (in *inbound) work(h header, f func(context.Context) error) {
	select {
	case in.calls <- struct{}{}:
	default:
		_ = in.refuse(h, errBusy)
		return
	}
	in.endpoint.run(func() {
		defer func() {
			<-in.calls
			if in.retired.Load() && len(in.calls) == 0 {
				in.end()
			}
		}()
		if err := f(in.ctx); err != nil {
			_ = in.refuse(h, err)
		}
	})
}

// entryBuffers returns what to write for a message with entries: its first bytes,
// of which head are left for header and head, and then the entries, whose payloads
// are not copied.
func entryBuffers(head int, entries []Entry) (net.Buffers, int, error) {
	fixed := make([]byte, head, head+len(entries)*(EntryHeaderBytes+entryAlign/8))
	buffers := make(net.Buffers, 0, 2*len(entries)+1)
	from, size := 0, 0
	for i := range entries {
		n, padding := len(entries[i].Payload), 0
		if i+1 < len(entries) {
			padding = paddingAfter(size+len(fixed)-from-head+EntryHeaderBytes+n, len(entries[i+1].Payload))
		}
		var err error
		if fixed, err = appendEntryHeader(fixed, &entries[i], padding); err != nil {
			return nil, 0, fmt.Errorf("entry at index %d: %w", entries[i].Index, err)
		}
		if n > 0 {
			buffers = append(buffers, fixed[from:len(fixed):len(fixed)], entries[i].Payload)
			size += len(fixed) - from + n
			from = len(fixed)
		}
		fixed = append(fixed, make([]byte, padding)...)
	}
	if from < len(fixed) || len(entries) == 0 {
		buffers, size = append(buffers, fixed[from:]), size+len(fixed)-from
	}
	return buffers, size, nil
}

// ReleaseAll releases the frames of entries.
func ReleaseAll(entries []Entry) {
	for i := range entries {
		if f := entries[i].Frame; f != nil {
			f.Release()
		}
	}
}
