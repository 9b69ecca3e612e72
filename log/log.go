// Package log is the event log of one node: Raft's entries of all its shards in one
// sequence of segment files, written by one goroutine and synced once for all that is queued.
package log

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// FS is the file system that everything here goes through.
type FS = vfs.FS

// OSFS returns the operating system's file system.
func OSFS() FS { return vfs.Default }

var (
	// ErrNotFound is wrapped when an entry is outside the window or not retained.
	ErrNotFound = errors.New("entry not found")
	// ErrClosed is wrapped by everything that is asked of a closed log.
	ErrClosed = errors.New("log is closed")
)

// Config says where the log lives and what it may use.
type Config struct {
	FS           FS
	Dir          string
	Incarnation  [16]byte
	SegmentBytes int64 // default 64 MiB
	TailBytes    int64 // default 32 MiB
	Pool         *frame.Pool
	Logger       *slog.Logger
	Fatal        func(error)
	HangTimeout  time.Duration // default 2 s
}

// Log is the log of one node.
type Log struct{}

// SegmentInfo describes one segment file.
type SegmentInfo struct {
	Number     int64
	Start, End record.Position
	Bytes      int64
	Sealed     bool
	CreatedAt  time.Time
}

// Stats are counters since Open and gauges.
type Stats struct {
	Syncs, Writes, BytesWritten, Records int64
}

// Open opens the log.
func Open(Config) (*Log, error) { return nil, ErrClosed }

// Shard returns the shard's part.
func (*Log) Shard(record.Shard) *Shard { return nil }

// Segments lists the files.
func (*Log) Segments() []SegmentInfo { return nil }

// Remove deletes a segment.
func (*Log) Remove(number int64) error { return ErrClosed }

// Stats returns counters.
func (*Log) Stats() Stats { return Stats{} }

// Close ends it.
func (*Log) Close() error { return nil }

// EntryInfo says what is known of an entry without its payload.
type EntryInfo struct {
	Index    record.Index
	Term     record.Term
	Kind     uint8
	Bytes    uint32
	Position record.Position
}

// Entry is what Append takes.
type Entry struct {
	Index   record.Index
	Term    record.Term
	Kind    uint8
	Payload []byte
	Frame   *frame.Frame
}

// Shard is one shard's part of the log.
type Shard struct{}

// First returns the window's first index, 0 when empty.
func (*Shard) First() record.Index { return 0 }

// Last returns the window's last index, 0 when empty.
func (*Shard) Last() record.Index { return 0 }

// Info returns what is known of an entry of the window.
func (*Shard) Info(record.Index) (EntryInfo, error) { return EntryInfo{}, ErrNotFound }

// Append queues entries.
func (*Shard) Append([]Entry) error { return ErrClosed }

// WaitDurable waits for a sync.
func (*Shard) WaitDurable(record.Index) error { return ErrClosed }

// Durable returns the last durable index.
func (*Shard) Durable() record.Index { return 0 }

// Truncate drops a suffix.
func (*Shard) Truncate(from record.Index) error { return ErrClosed }

// Forget moves First.
func (*Shard) Forget(through record.Index) error { return ErrClosed }

// SetApplied tells the log how far the state machine is.
func (*Shard) SetApplied(record.Index) {}

// Pin returns an entry's payload.
func (*Shard) Pin(record.Index, record.Term) (payload []byte, f *frame.Frame, err error) {
	return nil, nil, ErrNotFound
}

// PinTail returns an entry's tail.
func (*Shard) PinTail(record.Index, record.Term) (tail []byte, f *frame.Frame, err error) {
	return nil, nil, ErrNotFound
}

// Read returns a run of batches.
func (*Shard) Read(i record.Index, pos record.Position, start, bytes uint32) (b []byte, f *frame.Frame, err error) {
	return nil, nil, ErrNotFound
}

// Scan visits the retained entries.
func (*Shard) Scan(from, through record.Index, visit func(EntryInfo, []byte) error) error {
	return ErrClosed
}

// Backfill writes older entries.
func (*Shard) Backfill([]Entry) error { return ErrClosed }

// WaitBackfill waits for a sync of them.
func (*Shard) WaitBackfill() error { return ErrClosed }

// RetainedFirst returns the lowest retained index.
func (*Shard) RetainedFirst() record.Index { return 0 }

// Stable keeps Raft's term and vote.
type Stable struct{}

// OpenStable opens it.
func OpenStable(fs FS, path string) (*Stable, error) { return nil, ErrClosed }

// Get returns the value or nil.
func (*Stable) Get(key []byte) ([]byte, error) { return nil, nil }

// Set stores durably.
func (*Stable) Set(key, value []byte) error { return nil }

// GetUint64 returns the value or 0.
func (*Stable) GetUint64(key []byte) (uint64, error) { return 0, nil }

// SetUint64 stores durably.
func (*Stable) SetUint64(key []byte, value uint64) error { return nil }

// Close closes it.
func (*Stable) Close() error { return nil }
