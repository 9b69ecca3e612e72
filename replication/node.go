package replication

import (
	"context"
	"log/slog"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

// Config says who a node is and what it may use.
type Config struct {
	Identity
	Peers            map[int32]string // node to cluster address, this one included; empty: a single node that does not listen
	Network          network.Network
	FS               log.FS
	Dir              string
	Log              *log.Log
	Pool             *frame.Pool
	Logger           *slog.Logger
	Fatal            func(error)
	HeartbeatTimeout time.Duration // default 500 ms, 50 ms for a single node
	DataShards       int           // of a cluster that this node forms; default 1
	SnapshotEntries  uint64        // default 16384
	SnapshotBytes    int64         // default 256 MiB
	TrailingEntries  uint64        // default 8192
}

// Node is this node's part in the cluster.
type Node struct{}

// New returns a node that does nothing until Start.
func New(config Config) (*Node, error) { return &Node{}, nil }

// Start runs the groups.
func (*Node) Start(machines func(record.Shard) StateMachine) error { return ErrClosed }

// Group returns the shard's group, the same each time.
func (*Node) Group(record.Shard) *Group { return &Group{} }

// Cluster returns the cluster's id as a UUID, and whether there is one yet.
func (*Node) Cluster() (id string, formed bool) { return "", false }

// Shards returns the number of data shards, 0 until the cluster is formed. They are numbered from 1.
func (*Node) Shards() int { return 0 }

// Call asks another node.
func (*Node) Call(ctx context.Context, node int32, kind uint8, request []byte) ([]byte, error) {
	return nil, ErrClosed
}

// Handle says who answers calls of a kind. Before Start only.
func (*Node) Handle(kind uint8, handler func(ctx context.Context, from int32, request []byte) ([]byte, error)) {
}

// PeerStatus is what is known of another node.
type PeerStatus struct {
	Node        int32
	Address     string
	Incarnation [16]byte // zero when it never answered
	Connected   bool
	Err         string // why not
}

// Peers returns the other nodes, in order.
func (*Node) Peers() []PeerStatus { return nil }

// Close ends everything.
func (*Node) Close() error { return nil }
