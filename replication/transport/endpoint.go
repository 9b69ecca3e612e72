package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log/record"
)

var (
	// ErrClosed is wrapped by everything that is asked of a closed endpoint or shard.
	ErrClosed = errors.New("transport is closed")
	// ErrUnreachable is wrapped when there is no connection to a node.
	ErrUnreachable = errors.New("node cannot be reached")
	// ErrOverdue is wrapped when an answer did not come in time.
	ErrOverdue = errors.New("answer is overdue")
)

// Config says who an endpoint is and what it may use.
type Config struct {
	Self    Peer
	Peers   map[int32]string // node to address, self included; without others nothing is listened to
	Network network.Network
	Pool    *frame.Pool
	Logger  *slog.Logger
	// Timeout is after how long a control request without an answer breaks its link.
	Timeout time.Duration
	// Gone is called when a node's connection ended and its address refuses another
	// one: nothing listens there any more. It must not block.
	Gone func(node int32)
	// Connected is called when a node's control connection is up. It must not block.
	Connected func(peer Peer)
	// Stranger is called when a node turns out to belong to another cluster. It must not block.
	Stranger func(node int32, cluster [16]byte)
}

// Handler answers a call. ctx ends when the caller's time is up or the connection ends.
type Handler func(ctx context.Context, from Peer, request []byte) ([]byte, error)

type handler struct {
	answer Handler
	open   bool
}

// Endpoint is one node's end of all connections.
type Endpoint struct {
	config   Config
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	handlers [256]handler
	remotes  map[int32]*remote // the other nodes; not changed
	running  sync.WaitGroup    // all goroutines; Close waits for them

	mu       sync.Mutex // guards all below
	cluster  [16]byte
	listener net.Listener
	inbounds map[*inbound]struct{}
	shards   map[record.Shard]*Shard
	closed   bool
}

// remote is another node and the two lines to it.
type remote struct {
	node    int32
	address string
	lines   [classes]*line
}

// PeerStatus is what is known of another node.
type PeerStatus struct {
	Peer
	Address   string
	Connected bool
	Err       error // why not
}

// New returns an endpoint that does nothing until Start.
func New(config Config, cluster [16]byte) *Endpoint {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		config:   config,
		remotes:  map[int32]*remote{},
		cluster:  cluster,
		inbounds: map[*inbound]struct{}{},
		shards:   map[record.Shard]*Shard{},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for node, address := range config.Peers {
		if node == config.Self.Node {
			continue
		}
		r := &remote{node: node, address: address}
		for c := range classes {
			r.lines[c] = newLine(e, r, c)
		}
		e.remotes[node] = r
	}
	return e
}

// Handle says who answers calls of a kind; open kinds may also be called by and on
// nodes that belong to no cluster yet. Only before Start.
func (e *Endpoint) Handle(kind uint8, open bool, answer Handler) {
	e.handlers[kind] = handler{answer, open}
}

// Start listens on this node's address and begins to connect to the others.
func (e *Endpoint) Start() error {
	if len(e.remotes) == 0 {
		return nil
	}
	listener, err := e.config.Network.Listen(e.config.Peers[e.config.Self.Node])
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = listener.Close()
		return ErrClosed
	}
	e.listener = listener
	e.run(func() { e.accept(listener) })
	for _, r := range e.remotes {
		for _, l := range r.lines {
			e.run(l.keep)
		}
	}
	return nil
}

// run starts a goroutine that ends when ctx does; Close waits for it.
func (e *Endpoint) run(f func()) {
	e.running.Go(f)
}

// SetCluster tells that this node belongs to a cluster now. Connections that were
// made without one are made again.
func (e *Endpoint) SetCluster(cluster [16]byte) {
	e.mu.Lock()
	e.cluster = cluster
	var stale []*inbound
	for in := range e.inbounds {
		if in.limited {
			stale = append(stale, in)
		}
	}
	e.mu.Unlock()
	for _, in := range stale {
		in.retire()
	}
	for _, r := range e.remotes {
		for _, l := range r.lines {
			l.renew()
		}
	}
}

// hello returns what this node says first to another.
func (e *Endpoint) hello(to int32, c class) hello {
	e.mu.Lock()
	defer e.mu.Unlock()
	return hello{class: c, cluster: e.cluster, node: e.config.Self.Node, incarnation: e.config.Self.Incarnation, to: to}
}

// Peers returns the other nodes in order.
func (e *Endpoint) Peers() []PeerStatus {
	peers := make([]PeerStatus, 0, len(e.remotes))
	for _, r := range e.remotes {
		peers = append(peers, r.lines[classControl].status())
	}
	slices.SortFunc(peers, func(a, b PeerStatus) int { return int(a.Node) - int(b.Node) })
	return peers
}

// Nudge makes all lines that are down try again at once.
func (e *Endpoint) Nudge() {
	for _, r := range e.remotes {
		for _, l := range r.lines {
			l.nudge()
		}
	}
}

func (e *Endpoint) isPeer(node int32) bool {
	_, ok := e.remotes[node]
	return ok
}

func (e *Endpoint) shard(n record.Shard) *Shard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.shards[n]
}

// accept takes connections until the listener is closed.
func (e *Endpoint) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if e.ctx.Err() != nil {
				return
			}
			e.config.Logger.Warn("accept a cluster connection", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-e.ctx.Done():
				return
			}
		}
		e.run(func() { e.receive(conn) })
	}
}

// receive greets a connection and serves it until it ends.
func (e *Endpoint) receive(conn net.Conn) {
	in := newInbound(e, conn)
	if !e.admit(in) {
		_ = conn.Close()
		return
	}
	defer func() {
		in.end()
		in.lanesDone.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.inbounds, in)
	}()
	err := network.LimitSilence(conn, unacknowledged)
	var greeting hello
	var limited bool
	if err == nil {
		greeting, limited, err = welcomeOrRefuse(conn, e.hello(0, 0), e.isPeer)
	}
	if err != nil {
		if e.ctx.Err() == nil {
			e.config.Logger.Warn("refuse a cluster connection", "from", conn.RemoteAddr().String(), "error", err)
		}
		return
	}
	e.mu.Lock()
	in.peer, in.limited = greeting.peer(), limited
	stale := limited && e.cluster != [16]byte{} && greeting.cluster != [16]byte{}
	e.mu.Unlock()
	if stale { // a cluster was formed between the greeting and here
		return
	}
	in.serve()
}

// inboundLimit bounds connections that other nodes may hold open here.
const inboundLimit = 256

func (e *Endpoint) admit(in *inbound) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.inbounds) >= inboundLimit {
		return false
	}
	e.inbounds[in] = struct{}{}
	return true
}

// Close ends all connections and waits until nothing runs. Shards must be closed before.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	listener := e.listener
	inbounds := make([]*inbound, 0, len(e.inbounds))
	for in := range e.inbounds {
		inbounds = append(inbounds, in)
	}
	e.mu.Unlock()
	e.cancel()
	var err error
	if listener != nil {
		err = listener.Close()
	}
	for _, in := range inbounds {
		in.end()
	}
	for _, r := range e.remotes {
		for _, l := range r.lines {
			l.renew()
		}
	}
	e.running.Wait()
	if err != nil {
		return fmt.Errorf("close cluster listener: %w", err)
	}
	return nil
}
