// Package offline reads the topics of a node that does not run, from the segment files in
// its data folder. No broker, no network, and nothing in the folder is changed.
//
// It knows how to open a node's folder and to hand out stored batches; it does not know
// what the records mean. It uses the node's own code for recovery, the state machines and
// the index, on a view of the folder in which writes stay in memory (log.Frozen), so that
// it sees what the node would see at its next start.
//
// What is handed out is certain: committed, as the folder alone can tell. On a node of a
// larger cluster the newest entries may be committed although its folder does not say so;
// they are left out, and End tells where the certain part ends. An orderly stop leaves none
// out; after a crash another node's folder may know more.
//
// When the index is missing it is made again, in memory, from the segments: a few dozen
// bytes for each append.
//
// Failures: a folder that another process uses, that is no node's, or whose acknowledged
// data cannot be read is an error that says so. A Reader belongs to one goroutine; Close
// ends what it started.
package offline

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"slices"
	"sync"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/broker"
)

const (
	keptFrames = 16 << 20 // bytes of memory that is used again
	pageRuns   = 64       // asked of the index at a time
)

// ErrUnknownTopic is wrapped when the folder has no such topic.
var ErrUnknownTopic = errors.New("no such topic")

// Config says what to read.
type Config struct {
	// FS is the file system. Default: the operating system's.
	FS log.FS
	// Dir is a node's data folder.
	Dir string
	// Logger gets warnings. Default: nothing is logged.
	Logger *slog.Logger
}

// A Reader reads one node's folder.
type Reader struct {
	log     *log.Log
	index   *index.Index
	broker  *broker.Broker
	closers []func() error // in the order of opening

	mu    sync.Mutex // guards fatal
	fatal error
}

// Open opens a node's data folder for reading. Close the reader.
func Open(config Config) (*Reader, error) {
	if config.FS == nil {
		config.FS = log.OSFS()
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reader{}
	if err := r.open(config); err != nil {
		return nil, errors.Join(fmt.Errorf("read data folder %s: %w", config.Dir, err), r.Close())
	}
	return r, nil
}

func (r *Reader) open(config Config) error {
	fs := config.FS
	identity, err := replication.ReadIdentity(fs, config.Dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return errors.New("it holds no identity, so it is not a node's data folder")
	}
	if err != nil {
		return err
	}
	// Whoever may write to the folder may run a node on it; on read-only media nobody does.
	lock, err := fs.Lock(fs.PathJoin(config.Dir, "LOCK"))
	switch {
	case err == nil:
		r.closers = append(r.closers, lock.Close)
	case !errors.Is(err, iofs.ErrPermission) && !isReadOnly(err):
		return fmt.Errorf("a node runs on it, or it cannot be locked: %w", err)
	}
	view := log.Frozen(fs)
	pool := frame.NewPool(keptFrames)
	r.log, err = log.Open(log.Config{
		FS: view, Dir: fs.PathJoin(config.Dir, "log"), Incarnation: identity.Incarnation, Pool: pool, Logger: config.Logger, Fatal: r.fail,
	})
	if err != nil {
		return err
	}
	r.closers = append(r.closers, r.log.Close)
	r.index, err = index.Open(index.Config{FS: view, Dir: fs.PathJoin(config.Dir, "index"), Logger: config.Logger, Fatal: r.fail})
	if err != nil {
		return err
	}
	r.closers = append(r.closers, r.index.Close)
	node, err := replication.New(replication.Config{
		Identity: *identity, FS: view, Dir: config.Dir, Log: r.log, Pool: pool, Logger: config.Logger, Fatal: r.fail,
	})
	if err != nil {
		return err
	}
	r.closers = append(r.closers, node.Close)
	r.broker, err = broker.New(broker.Config{
		Node: identity.Node, Replication: node, Log: r.log, Index: r.index, Pool: pool, Logger: config.Logger, Fatal: r.fail,
	})
	if err != nil {
		return err
	}
	r.closers = append(r.closers, r.broker.Close)
	return errors.Join(broker.Replay(r.broker), r.failure())
}

func (r *Reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fatal == nil {
		r.fatal = err
	}
}

func (r *Reader) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fatal
}

// Close closes the reader.
func (r *Reader) Close() error {
	var errs []error
	for _, v := range slices.Backward(r.closers) {
		errs = append(errs, v())
	}
	r.closers = nil
	return errors.Join(errs...)
}

// Topics returns the names of all topics, in order.
func (r *Reader) Topics() []string {
	var names []string
	for topic := range r.broker.View().Topics() {
		names = append(names, topic.Name)
	}
	return names
}

// Bounds returns, for each partition of a topic, the first offset that is stored and the
// one after the last that is certain.
func (r *Reader) Bounds(topic string) (start, end []record.Offset, err error) {
	found := r.broker.View().TopicByName(topic)
	if found == nil {
		return nil, nil, fmt.Errorf("topic %s: %w", topic, ErrUnknownTopic)
	}
	for number := range found.Partitions {
		p, err := r.broker.Partition(topic, int32(number))
		if err != nil {
			return nil, nil, fmt.Errorf("topic %s partition %d: %w", topic, number, err)
		}
		first, errFirst := p.LogStart()
		next, errNext := p.HighWatermark()
		if err := errors.Join(errFirst, errNext); err != nil {
			return nil, nil, fmt.Errorf("topic %s partition %d: %w", topic, number, err)
		}
		start, end = append(start, first), append(end, next)
	}
	return start, end, nil
}

// A Span is a part of a partition: the offsets from From up to and without To.
type Span struct {
	Topic     string
	Partition int32
	From, To  record.Offset
}

// Read visits the stored batches that hold the span's offsets, in order. Their checksums
// were verified; their bytes are valid until visit returns.
func (r *Reader) Read(ctx context.Context, span Span, visit func(record.Batch) error) error {
	topic, partition, from, to := span.Topic, span.Partition, span.From, span.To
	found := r.broker.View().TopicByName(topic)
	if found == nil || partition < 0 || int(partition) >= len(found.Partitions) {
		return fmt.Errorf("topic %s partition %d: %w", topic, partition, ErrUnknownTopic)
	}
	info := found.Partitions[partition]
	var runs []index.Run
	for from < to {
		var err error
		if runs, err = r.index.Runs(info.Partition, from, pageRuns, runs[:0]); err != nil {
			return fmt.Errorf("topic %s partition %d: %w", topic, partition, err)
		}
		if len(runs) == 0 {
			return fmt.Errorf("topic %s partition %d: nothing is stored at offset %d", topic, partition, from)
		}
		for _, run := range runs {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if run.First >= to {
				return nil
			}
			if err := r.visitRun(info.Shard, run, visit); err != nil {
				return fmt.Errorf("topic %s partition %d offset %d: %w", topic, partition, run.First, err)
			}
			from = run.Last + 1
		}
	}
	return nil
}

func (r *Reader) visitRun(shard record.Shard, run index.Run, visit func(record.Batch) error) error {
	b, pinned, err := r.log.Shard(shard).ReadOn(run.Index, run.Position, run.Start, run.Bytes)
	if err != nil {
		return err
	}
	defer pinned.Release()
	for len(b) > 0 {
		var batch record.Batch
		if batch, b, err = record.NextBatch(b); err != nil {
			return err
		}
		if err := visit(batch); err != nil {
			return err
		}
	}
	return nil
}
