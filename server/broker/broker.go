package broker

import (
	"context"
	"log/slog"
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
	config  Config
	logger  *slog.Logger
	cluster *cluster
	shards  []*shard // data shards; shard n is at n-1
	closed  atomic.Bool
}

// New returns a broker that does not run yet.
func New(config Config) (*Broker, error) {
	b := &Broker{config: config, logger: config.Logger}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	return b, nil
}

// Start begins replication and serves.
func (b *Broker) Start() error { return nil }

// Close stops all goroutines of the broker; what is under way is answered. The replication must not be closed before.
func (b *Broker) Close() error { return nil }

// View returns the cluster's metadata as this node knows it.
func (b *Broker) View() *meta.View { return b.cluster.view() }

// ClusterID returns the cluster's id as text; empty until the cluster is formed.
func (b *Broker) ClusterID() string { return "" }

// Node returns this node's number.
func (b *Broker) Node() int32 { return b.config.Node }

// Settings returns what the broker was configured with.
func (b *Broker) Settings() Settings { return b.config.Settings }

// Controller returns the node that leads the metadata, or -1.
func (b *Broker) Controller() int32 { return -1 }

// Leader returns the node that leads a partition, or -1, and the epoch of its leadership.
func (b *Broker) Leader(partition record.Partition) (node int32, epoch int32) { return -1, -1 }

// Replicas returns the nodes that keep a partition, sorted. The slice must not be changed.
func (b *Broker) Replicas(partition record.Partition) []int32 { return nil }

// Ready returns nil when this node has joined, has caught up and is able to serve, else the reason.
func (b *Broker) Ready() error { return ErrUnsupported }

// Partition returns a partition by its topic's name and its number there, or ErrUnknownTopicOrPartition.
func (b *Broker) Partition(topic string, partition int32) (*Partition, error) {
	return nil, ErrUnknownTopicOrPartition
}

// PartitionByID returns a partition by its topic's id and its number there, or an
// error that wraps meta.ErrUnknownTopicID or ErrUnknownTopicOrPartition.
func (b *Broker) PartitionByID(topic record.TopicID, partition int32) (*Partition, error) {
	return nil, ErrUnknownTopicOrPartition
}

// Produce takes batches of one request in order. It blocks while too much is unanswered.
func (b *Broker) Produce(batches []ProduceBatch) {
	for i := range batches {
		batches[i].Frame.Release()
		batches[i].Done(ProduceResult{Err: ErrUnsupported, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1})
	}
}

// Fetch reads batches, waiting as the request says or until ctx ends. The result is never nil.
func (b *Broker) Fetch(ctx context.Context, request *FetchRequest) *FetchResult {
	return &FetchResult{}
}

// ListOffsets returns the first offset whose record is not older than timestamp (ms), or what one of the constants asks for.
func (b *Broker) ListOffsets(ctx context.Context, partition *Partition, timestamp int64) (ListedOffset, error) {
	return ListedOffset{}, ErrUnsupported
}

// OffsetForLeaderEpoch returns the newest epoch at most epoch and the offset after its last record.
// currentEpoch is the leader's epoch as the client knows it, -1 when it does not.
func (b *Broker) OffsetForLeaderEpoch(partition *Partition, currentEpoch, epoch int32) (EpochEnd, error) {
	return EpochEnd{}, ErrUnsupported
}

// DeleteRecords moves the partition's begin up to before (-1: the high watermark) and returns the new begin.
func (b *Broker) DeleteRecords(ctx context.Context, partition *Partition, before record.Offset) (record.Offset, error) {
	return -1, ErrUnsupported
}

// InitProducerID returns a producer id that nobody else has, with epoch 0. A transactional id is ErrUnsupported.
func (b *Broker) InitProducerID(ctx context.Context, transactionalID string) (id int64, epoch int16, err error) {
	return -1, -1, ErrUnsupported
}

// AppendStream appends events to one stream on whichever node leads it. A version that is not the
// expected one is a *ConflictError; after ErrTimedOut a retry with the same event ids is safe.
func (b *Broker) AppendStream(ctx context.Context, request *AppendRequest) (AppendResult, error) {
	return AppendResult{}, ErrUnsupported
}

// ReadStream reads a part of one stream on whichever node leads it. An empty stream is no error: Head is -1.
func (b *Broker) ReadStream(ctx context.Context, request *ReadStreamRequest) (StreamSlice, error) {
	return StreamSlice{}, ErrUnsupported
}

// viewChanged is called by the cluster on the metadata's state machine after each applied change. It must not block.
func (b *Broker) viewChanged() {}
