// Package index keeps where the log's batches lie, in Pebble.
package index

import (
	"errors"
	"io"
	"iter"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
)

var errClosed = errors.New("index is closed")

// Config says where the index lives.
type Config struct {
	FS         vfs.FS
	Dir        string
	CacheBytes int64
	Logger     *slog.Logger
	Fatal      func(error)
}

// Index is the index of one node, all shards.
type Index struct{}

// Open opens it.
func Open(Config) (*Index, error) { return nil, errClosed }

// Run is where one entry's batches of one partition lie.
type Run struct {
	Partition    record.Partition
	First, Last  record.Offset
	Index        record.Index
	Term         record.Term
	Position     record.Position
	Start, Bytes uint32
	MaxTimestamp int64
}

// StreamVersion is one version of one stream.
type StreamVersion struct {
	Partition record.Partition
	Key       []byte
	Version   int64
	Offset    record.Offset
	EventID   [16]byte
}

// SegmentPartition is what one segment holds of one partition.
type SegmentPartition struct {
	Partition    record.Partition
	NextOffset   record.Offset
	MaxTimestamp int64
	Bytes        int64
}

// Batch collects changes that are applied as one.
type Batch struct{}

// NewBatch returns an empty batch.
func (*Index) NewBatch() *Batch { return &Batch{} }

// PutRun adds a run.
func (*Batch) PutRun(shard record.Shard, run Run) {}

// PutEpoch notes where a term starts in a partition.
func (*Batch) PutEpoch(shard record.Shard, partition record.Partition, term record.Term, start record.Offset) {
}

// Put stores a row of a state machine.
func (*Batch) Put(shard record.Shard, key, value []byte) {}

// Delete removes a row of a state machine.
func (*Batch) Delete(shard record.Shard, key []byte) {}

// PutVersion adds a stream's version.
func (*Batch) PutVersion(shard record.Shard, version StreamVersion) {}

// SetApplied notes the last entry whose rows are in.
func (*Batch) SetApplied(shard record.Shard, index record.Index) {}

// PutSegment notes what a segment holds of a shard.
func (*Batch) PutSegment(shard record.Shard, segment int64, partitions []SegmentPartition) {}

// DropPartition removes everything of a partition.
func (*Batch) DropPartition(shard record.Shard, partition record.Partition) {}

// DropRunsBefore removes the runs, versions and epochs below an offset.
func (*Batch) DropRunsBefore(shard record.Shard, partition record.Partition, offset record.Offset) {}

// DropShard removes everything of a shard.
func (*Batch) DropShard(shard record.Shard) {}

// Commit applies the batch.
func (*Batch) Commit() error { return errClosed }

// Close frees it.
func (*Batch) Close() {}

// Applied returns the last entry whose rows are in.
func (*Index) Applied(shard record.Shard) (record.Index, error) { return 0, errClosed }

// Runs returns the run that contains from, or the first after it, and those that follow.
func (*Index) Runs(partition record.Partition, from record.Offset, limit int, dst []Run) ([]Run, error) {
	return dst, errClosed
}

// FirstRun returns the partition's first run.
func (*Index) FirstRun(partition record.Partition) (Run, bool, error) { return Run{}, false, errClosed }

// LastRun returns the partition's last run.
func (*Index) LastRun(partition record.Partition) (Run, bool, error) { return Run{}, false, errClosed }

// RunAtTime returns the first run whose running maximum timestamp is at least timestamp.
func (*Index) RunAtTime(partition record.Partition, timestamp int64) (Run, bool, error) {
	return Run{}, false, errClosed
}

// EpochEnd returns where the newest term at most term ends.
func (*Index) EpochEnd(partition record.Partition, term record.Term) (end record.Offset, found record.Term, ok bool, err error) {
	return 0, 0, false, errClosed
}

// Get returns a row of a state machine.
func (*Index) Get(shard record.Shard, key []byte) ([]byte, bool, error) { return nil, false, errClosed }

// Scan yields the rows of a state machine whose key begins with prefix; check the error after the loop.
func (*Index) Scan(shard record.Shard, prefix []byte) (iter.Seq2[[]byte, []byte], func() error) {
	return func(func([]byte, []byte) bool) {}, func() error { return errClosed }
}

// StreamHead returns the newest version of a stream, -1 for none.
func (*Index) StreamHead(partition record.Partition, key []byte) (int64, StreamVersion, error) {
	return -1, StreamVersion{}, errClosed
}

// Versions returns versions of a stream.
func (*Index) Versions(partition record.Partition, key []byte, from int64, limit int, backward bool) ([]StreamVersion, error) {
	return nil, errClosed
}

// Segment returns what a segment holds of each shard.
func (*Index) Segment(segment int64) (map[record.Shard][]SegmentPartition, error) {
	return nil, errClosed
}

// Snapshot is a consistent view.
type Snapshot struct{}

// Snapshot returns a consistent view; Close it.
func (*Index) Snapshot() *Snapshot { return &Snapshot{} }

// Export writes every row of the shard that cannot be remade from retained entries.
func (*Snapshot) Export(shard record.Shard, w io.Writer) error { return errClosed }

// Close frees it.
func (*Snapshot) Close() error { return nil }

// Import reads what Export wrote.
func (*Index) Import(shard record.Shard, r io.Reader) error { return errClosed }

// Flush makes everything committed durable.
func (*Index) Flush() error { return errClosed }

// DiskBytes returns the size on disk.
func (*Index) DiskBytes() int64 { return 0 }

// Close closes it.
func (*Index) Close() error { return nil }
