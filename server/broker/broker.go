package broker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

// Config is what a broker works with. Nothing of it is closed by the broker.
type Config struct {
	Node        int32
	Peers       []int32           // all nodes of the cluster; empty: this one alone
	Replication *replication.Node // made, not started
	Log         *log.Log
	Index       *index.Index
	Pool        *frame.Pool
	Settings    Settings
	Listeners   []meta.Listener // as clients may reach this node
	HTTPAddress string
	Logger      *slog.Logger
	Fatal       func(error) // the node cannot go on; called from any goroutine
}

// A Broker is one node's part of the cluster.
type Broker struct {
	config    Config
	logger    *slog.Logger
	nodes     []int32 // of the cluster, sorted
	unpacker  unpacker
	states    states
	cluster   *cluster
	cleaner   *cleaner
	producers producerIDs
	replicas  *replicaWatch

	mu     sync.Mutex // guards the change of shards, and closed
	shards atomic.Pointer[[]*shard]
	closed bool
}

// New returns a broker that does not run yet.
func New(config Config) (*Broker, error) {
	config.Settings = config.Settings.withDefaults()
	b := &Broker{config: config, logger: config.Logger, nodes: slices.Sorted(slices.Values(config.Peers))}
	if len(b.nodes) == 0 {
		b.nodes = []int32{config.Node}
	}
	if !slices.Contains(b.nodes, config.Node) {
		return nil, fmt.Errorf("node %d is not among the nodes %v", config.Node, b.nodes)
	}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	b.unpacker.slots = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	b.unpacker.limit = config.Settings.RecordBytes
	b.states.table = map[record.Partition]*partitionState{}
	b.shards.Store(new([]*shard))
	b.cleaner = newCleaner(b)
	b.cluster = newCluster(b)
	b.replicas = newReplicaWatch(b)
	streamDesk{b}.handleCalls()
	return b, nil
}

// Start begins replication: the state machines are made as soon as the cluster is formed or joined.
func (b *Broker) Start() error {
	if err := b.config.Replication.Start(b.machine); err != nil {
		return err
	}
	b.cluster.start()
	b.cleaner.start()
	return nil
}

// machine makes the state machine of a shard; nil is never returned. A shard whose state cannot be read stops the node.
func (b *Broker) machine(id record.Shard) replication.StateMachine {
	if id == record.Metadata {
		machine, err := b.cluster.machine()
		if err != nil {
			b.fatal(fmt.Errorf("metadata: %w", err))
			return deadMachine{err}
		}
		return machine
	}
	s := newShard(b, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	shards := slices.Clone(*b.shards.Load())
	for len(shards) < int(id) {
		shards = append(shards, nil)
	}
	shards[id-1] = s
	b.shards.Store(&shards)
	if b.closed {
		return s.machine
	}
	if err := s.start(); err != nil {
		b.fatal(err)
		return deadMachine{err}
	}
	return s.machine
}

// A deadMachine stands for a state machine whose state could not be read, until the node has stopped.
type deadMachine struct{ err error }

func (d deadMachine) Apply(entries []replication.Committed) []error {
	outcomes := make([]error, len(entries))
	for i := range outcomes {
		outcomes[i] = d.err
	}
	return outcomes
}
func (d deadMachine) Applied() record.Index { return 0 }
func (d deadMachine) Snapshot() (func(io.Writer) error, func(), error) {
	return nil, nil, d.err
}

func (d deadMachine) Restore(io.Reader, record.Index, func(func(replication.Committed) error) error) error {
	return d.err
}
func (d deadMachine) Lead(record.Term) {}
func (d deadMachine) Follow()          {}

// shard returns a data shard, or nil when this node has none of that number, yet.
func (b *Broker) shard(id record.Shard) *shard {
	shards := *b.shards.Load()
	if id == 0 || int(id) > len(shards) {
		return nil
	}
	return shards[id-1]
}

// dataShards returns the shards that were made.
func (b *Broker) dataShards() []*shard {
	return slices.DeleteFunc(slices.Clone(*b.shards.Load()), func(s *shard) bool { return s == nil })
}

// Close refuses what is queued, answers what is under way and stops all goroutines of
// the broker. The replication must be closed after it, since what is under way needs it.
func (b *Broker) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	b.cluster.close()
	b.cleaner.close()
	for _, s := range b.dataShards() {
		s.close()
	}
	return nil
}

// fatal says that the node cannot go on.
func (b *Broker) fatal(err error) {
	if b.config.Fatal != nil {
		b.config.Fatal(err)
	}
	b.logger.Error("the broker cannot go on", "error", err) // last: its file may be on the disk that hangs
}

// View returns the cluster's metadata as this node knows it.
func (b *Broker) View() *meta.View { return b.cluster.view() }

// viewChanged is called by the cluster on the metadata's state machine after each applied change. It must not block.
func (b *Broker) viewChanged() {
	for _, s := range b.dataShards() {
		s.coordinator.viewChanged()
	}
	b.cleaner.sweep()
}

// ClusterID returns the cluster's id as text; empty until the cluster is formed.
func (b *Broker) ClusterID() string {
	id, formed := b.config.Replication.Cluster()
	if !formed {
		return ""
	}
	return id
}

// Node returns this node's number.
func (b *Broker) Node() int32 { return b.config.Node }

// Settings returns what the broker was configured with.
func (b *Broker) Settings() Settings { return b.config.Settings }

// Controller returns the node that leads the metadata, or -1.
func (b *Broker) Controller() int32 { return b.config.Replication.Group(record.Metadata).Leader().Node }

// readyLag is how many committed entries a ready node may still have to apply.
const readyLag = 1000

// Ready returns nil when this node has joined, has caught up and is able to serve, else the reason.
func (b *Broker) Ready() error {
	node := b.config.Replication
	if _, formed := node.Cluster(); !formed {
		return errors.New("the cluster is not formed yet")
	}
	for id := range record.Shard(node.Shards() + 1) {
		group := node.Group(id)
		if err := group.Ready(); err != nil {
			return fmt.Errorf("shard %d: %w", id, err)
		}
		if group.Leader().Node < 0 {
			return fmt.Errorf("shard %d has no leader", id)
		}
		if status := group.Status(); status.Applied+readyLag < status.Commit {
			return fmt.Errorf("shard %d is %d entries behind", id, status.Commit-status.Applied)
		}
	}
	if len(b.dataShards()) < node.Shards() {
		return errors.New("the shards are being loaded")
	}
	if err := b.config.Log.Writable(); err != nil {
		return fmt.Errorf("the log takes no writes: %w", err)
	}
	return b.cluster.ready()
}
