package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

const (
	defaultHeartbeat       = 500 * time.Millisecond
	defaultCommitTimeout   = 400 * time.Millisecond
	singleHeartbeat        = 50 * time.Millisecond
	defaultSnapshotEntries = 16384
	defaultSnapshotBytes   = 1 << 30
	defaultTrailing        = 8192
	transferPatience       = time.Second

	// FirstReservedKind and all call kinds above are this package's own.
	FirstReservedKind = 200

	// MaxDataShards bounds the shards of a cluster.
	MaxDataShards = 250
)

// Config says who a node is and what it may use.
type Config struct {
	Identity
	// Peers leads from node to cluster address "host:port", this one included. Empty,
	// or this node alone: a single node that does not listen.
	Peers   map[int32]string
	Network network.Network
	FS      log.FS
	Dir     string // the data folder, which OpenIdentity was called for
	Log     *log.Log
	Pool    *frame.Pool
	Logger  *slog.Logger // nil: nothing is logged
	// Fatal is called with any error after which this node must not go on, more than
	// once perhaps. In a process it does not return.
	Fatal            func(error)
	HeartbeatTimeout time.Duration // after which followers elect; default 500 ms, 50 ms for a single node
	CommitTimeout    time.Duration // after which followers hear that an idle shard's last entry is committed; default 400 ms
	DataShards       int           // of a cluster that this node forms; default 1
	SnapshotEntries  uint64        // applied since the last snapshot; default 16384
	SnapshotBytes    int64         // of payload since the last snapshot; default 1 GiB
	TrailingEntries  uint64        // that raft keeps at hand after a snapshot; default 8192
}

func (c *Config) setDefaults() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.HeartbeatTimeout == 0 {
		c.HeartbeatTimeout = defaultHeartbeat
		if len(c.Peers) < 2 {
			c.HeartbeatTimeout = singleHeartbeat
		}
	}
	if c.CommitTimeout == 0 {
		c.CommitTimeout = defaultCommitTimeout
	}
	if c.DataShards == 0 {
		c.DataShards = 1
	}
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = defaultSnapshotEntries
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = defaultSnapshotBytes
	}
	if c.TrailingEntries == 0 {
		c.TrailingEntries = defaultTrailing
	}
	switch {
	case c.FS == nil || c.Log == nil || c.Pool == nil || c.Fatal == nil:
		return errors.New("a node needs a file system, a log, a frame pool and somebody to tell of fatal errors")
	case c.DataShards < 1 || c.DataShards > MaxDataShards:
		return fmt.Errorf("%d data shards, allowed are 1 to %d", c.DataShards, MaxDataShards)
	case len(c.Peers) > 0 && c.Peers[c.Node] == "":
		return fmt.Errorf("node %d is not among the peers", c.Node)
	case len(c.Peers) > identityMaxMembers:
		return fmt.Errorf("%d peers, at most %d", len(c.Peers), identityMaxMembers)
	}
	return nil
}

// Node is this node's part in the cluster.
type Node struct {
	config   Config
	endpoint *transport.Endpoint
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	forming  chan struct{}  // a lock that time can pass under: adopting a cluster
	wake     chan struct{}  // of one place: look at the members now
	open     gates          // none, but in tests
	running  sync.WaitGroup // what spawn started

	mu       sync.Mutex // guards all below
	identity *identityFile
	groups   map[record.Shard]*Group
	machines func(record.Shard) StateMachine
	closed   bool
	// The other nodes that belong to another cluster, as far as they were reached since they last did not.
	strangers map[int32]bool
}

// New returns a node that does nothing until Start.
func New(config Config) (*Node, error) {
	if err := config.setDefaults(); err != nil {
		return nil, fmt.Errorf("set up replication: %w", err)
	}
	identity, err := openIdentity(config.FS, config.Dir, config.Node)
	if err != nil {
		return nil, err
	}
	if identity.Incarnation != config.Incarnation {
		return nil, fmt.Errorf("data folder %s is of incarnation %x, wanted %x", config.Dir, identity.Incarnation, config.Incarnation)
	}
	n := &Node{
		config: config, identity: identity, groups: map[record.Shard]*Group{}, strangers: map[int32]bool{},
		forming: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.endpoint = transport.New(transport.Config{
		Self: identity.peer(), Peers: config.Peers, Network: config.Network, Pool: config.Pool, Logger: config.Logger,
		Timeout:   max(2*config.HeartbeatTimeout, 500*time.Millisecond),
		Gone:      n.nodeGone,
		Connected: n.meet,
		Stranger:  n.meetStranger,
	}, identity.Cluster)
	n.handleOwn()
	return n, nil
}

func (n *Node) self() transport.Peer {
	return transport.Peer{Node: n.config.Node, Incarnation: n.config.Incarnation}
}

func (n *Node) fatal(err error) {
	n.config.Fatal(err)
	n.config.Logger.Error("replication cannot go on", "error", err) // last: its file may be on the disk that hangs
}

// spawn runs f on a goroutine that Close waits for; false when the node is closed.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Go(f)
	return true
}

// Start listens, and runs the groups if this node belongs to a cluster. Otherwise a
// single node forms one at once, and others do so, or join one, in the background.
// machines is called once for each shard before its group runs, from any goroutine.
// After an error only Close may be called.
func (n *Node) Start(machines func(record.Shard) StateMachine) error {
	n.mu.Lock()
	n.machines = machines
	n.mu.Unlock()
	if err := n.endpoint.Start(); err != nil {
		return fmt.Errorf("start the cluster listener: %w", err)
	}
	switch {
	case n.who().isFormed():
		n.forming <- struct{}{}
		err := n.startGroups()
		<-n.forming
		if err != nil {
			return err
		}
	case len(n.others()) == 0:
		if err := n.form(nil); err != nil {
			return err
		}
	default:
		n.spawn(n.findCluster)
	}
	if len(n.others()) == 0 {
		n.standForAll()
	} else {
		n.spawn(n.keepMembers)
	}
	return nil
}

// startGroups runs one group per shard of the cluster that the identity names.
func (n *Node) startGroups() error {
	n.mu.Lock()
	identity, machines := *n.identity, n.machines
	n.mu.Unlock()
	var bootstrap raft.Configuration
	if !identity.started {
		bootstrap = founders(&identity)
	}
	for number := range record.Shard(identity.DataShards + 1) {
		if err := n.Group(number).start(machines(number), bootstrap); err != nil {
			return fmt.Errorf("start shard %d: %w", number, err)
		}
	}
	if identity.started {
		return nil
	}
	identity.started = true
	return n.setIdentity(&identity)
}

// setIdentity stores who this node is now. The forming lock is held, or Start has not returned.
func (n *Node) setIdentity(identity *identityFile) error {
	if err := identity.save(n.config.FS, n.config.Dir); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.identity = identity
	return nil
}

// who returns who this node is now; it is not changed any more.
func (n *Node) who() *identityFile {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.identity
}

// founders is the configuration of a new cluster, or empty on a node that did not form it with the others.
func founders(identity *identityFile) raft.Configuration {
	var c raft.Configuration
	if !slices.Contains(identity.members, identity.peer()) {
		return c
	}
	for _, m := range identity.members {
		c.Servers = append(c.Servers, raft.Server{ID: m.ServerID(), Address: raft.ServerAddress(m.ServerID())})
	}
	return c
}

// others returns the numbers of the configured nodes but this one, in order.
func (n *Node) others() []int32 {
	var others []int32
	for node := range n.config.Peers {
		if node != n.config.Node {
			others = append(others, node)
		}
	}
	slices.Sort(others)
	return others
}

// Group returns the shard's group, the same each time. Any number may be asked for;
// Ready tells whether it runs.
func (n *Node) Group(number record.Shard) *Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.groups[number]
	if g == nil {
		g = newGroup(n, number)
		n.groups[number] = g
	}
	return g
}

// allGroups returns the groups that were asked for, in order.
func (n *Node) allGroups() []*Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	groups := make([]*Group, 0, len(n.groups))
	for _, g := range n.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *Group) int { return int(a.number) - int(b.number) })
	return groups
}

// Incarnation returns which data folder of this node's number this is: an emptied one gets another.
func (n *Node) Incarnation() [16]byte { return n.config.Incarnation }

// Cluster returns the cluster's id as a UUID, and whether there is one yet.
func (n *Node) Cluster() (id string, formed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.identity.Cluster
	return fmt.Sprintf("%x-%x-%x-%x-%x", c[:4], c[4:6], c[6:8], c[8:10], c[10:]), n.identity.isFormed()
}

// Shards returns the number of data shards, 0 until there is a cluster. They are numbered from 1.
func (n *Node) Shards() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.identity.DataShards
}

// Call asks another node, or this one, what its handler of that kind answers. Request
// and answer have at most 4 MiB. An error that wraps ErrUnreachable may hide that the
// request was worked on; an error of the handler comes back as its text.
func (n *Node) Call(ctx context.Context, node int32, kind uint8, request []byte) ([]byte, error) {
	answer, err := n.endpoint.Call(ctx, node, kind, request)
	if errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrClosed) || errors.Is(err, transport.ErrOverdue) {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return answer, err
}

// Handle says who answers calls of a kind below FirstReservedKind. Before Start only.
// The context ends when the caller's time is up or the node is closed.
func (n *Node) Handle(kind uint8, handler func(ctx context.Context, from int32, request []byte) ([]byte, error)) {
	if kind >= FirstReservedKind {
		panic("BUG: a call kind that is reserved")
	}
	n.endpoint.Handle(kind, false, func(ctx context.Context, from transport.Peer, request []byte) ([]byte, error) {
		return handler(ctx, from.Node, request)
	})
}

// PeerStatus is what is known of another node.
type PeerStatus struct {
	Node        int32
	Address     string
	Incarnation [16]byte // zero when it never answered
	Connected   bool
	Err         string // why not, empty when nothing is known
}

// Peers returns the other nodes, in order.
func (n *Node) Peers() []PeerStatus {
	var peers []PeerStatus
	for _, p := range n.endpoint.Peers() {
		status := PeerStatus{Node: p.Node, Address: p.Address, Incarnation: p.Incarnation, Connected: p.Connected}
		if p.Err != nil {
			status.Err = p.Err.Error()
		}
		peers = append(peers, status)
	}
	return peers
}

// rank is this node's turn among those that are left when a node has gone: 0 stands first.
func (n *Node) rank(gone int32) int {
	nodes := append(n.others(), n.config.Node)
	slices.Sort(nodes)
	self, lost := slices.Index(nodes, n.config.Node), slices.Index(nodes, gone)
	return (self - lost - 1 + len(nodes)) % len(nodes)
}

// nodeGone is told by the transport that nothing listens at a node's address any more.
func (n *Node) nodeGone(node int32) {
	for _, g := range n.allGroups() {
		g.leaderGone(node)
	}
}

// meet is told by the transport that a node is connected.
func (n *Node) meet(peer transport.Peer) {
	n.mu.Lock()
	delete(n.strangers, peer.Node)
	n.mu.Unlock()
	n.look()
}

// meetStranger is told by the transport that a node belongs to another cluster. When
// most nodes do, the folder that does not belong here is this one.
func (n *Node) meetStranger(node int32, cluster [16]byte) {
	n.mu.Lock()
	n.strangers[node] = true
	own, met := n.identity.Cluster, len(n.strangers)
	n.mu.Unlock()
	if all := len(n.config.Peers); met > all/2 || met == all-1 {
		n.fatal(fmt.Errorf("data folder %s belongs to cluster %x, the other nodes to cluster %x: start this node on the folder of that cluster or on an empty one",
			n.config.Dir, own, cluster))
	}
}

func (n *Node) standForAll() {
	for _, g := range n.allGroups() {
		if in := g.current(); in != nil {
			in.stand()
		}
	}
}

// Close gives leaderships away where it can, ends all groups and connections, and
// waits for everything that runs. The log stays open.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.mu.Unlock()
	n.transferAll()
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.forming <- struct{}{} // nothing is started from here on
	defer func() { <-n.forming }()
	var all sync.WaitGroup
	groups := n.allGroups()
	errs := make([]error, len(groups))
	for i, g := range groups {
		all.Go(func() { errs[i] = g.close() })
	}
	all.Wait()
	errs = append(errs, n.endpoint.Close())
	n.running.Wait()
	return errors.Join(errs...)
}

func (n *Node) transferAll() {
	if len(n.others()) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, transferPatience)
	defer cancel()
	var all sync.WaitGroup
	for _, g := range n.allGroups() {
		if in := g.current(); in == nil || in.failure.reason() != nil {
			continue
		}
		all.Go(func() {
			if err := g.Transfer(ctx); err != nil {
				g.logger.Debug("no transfer of leadership", "error", err)
			}
		})
	}
	all.Wait()
}
