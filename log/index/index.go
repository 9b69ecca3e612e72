package index

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
)

const (
	defaultCacheBytes = 16 << 20
	memTableBytes     = 8 << 20
	memTables         = 2 // one that is filled while the other is written
	maxOpenFiles      = 512
	// filterBits is what each key takes in a table's Bloom filter: a look-up of what is not there, as every new stream's
	// first, reads 1 % of the tables.
	filterBits = 10
	// compactAt is how many tables overlap before they are merged. Rows are few and small: fewer merges
	// save more than the tables cost that a look-up has to ask.
	compactAt = 8
)

var errFailed = errors.New("the index could not be written before")

// Config says where the index lives.
type Config struct {
	FS         vfs.FS
	Dir        string
	CacheBytes int64        // of Pebble's block cache; default 16 MiB
	Logger     *slog.Logger // default: none
	Fatal      func(error)  // called when the disk fails; default: only logged. A disk that hangs is noticed by the log, which is on the same one
}

// Index is the index of one node, all shards.
type Index struct {
	db     *pebble.DB
	logger *slog.Logger

	failed chan struct{} // closed when Pebble could not write: it would try again for ever
	fail   sync.Once

	pending *pending
	writing sync.WaitGroup // what leaves for Pebble
	batches sync.Pool      // of *Batch

	mu     sync.RWMutex // guards owners, shards and closed
	owners map[record.Partition]record.Shard
	shards map[record.Shard]bool // that have rows
	closed bool
}

// Open opens the index in its folder, which is made when it is missing.
func Open(config Config) (*Index, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.CacheBytes <= 0 {
		config.CacheBytes = defaultCacheBytes
	}
	fatal := config.Fatal
	if fatal == nil {
		fatal = func(err error) { config.Logger.Error("index cannot go on", "error", err) }
	}
	x := &Index{logger: config.Logger, owners: map[record.Partition]record.Shard{}, shards: map[record.Shard]bool{}, pending: newPending(), failed: make(chan struct{})}
	options := &pebble.Options{
		FS:                          config.FS,
		FormatMajorVersion:          pebble.FormatNewest,
		DisableWAL:                  true,
		CacheSize:                   config.CacheBytes + memTables*memTableBytes, // Pebble takes what memtables use from it
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       compactAt,
		L0StopWritesThreshold:       1000,
		MaxOpenFiles:                maxOpenFiles,
		Logger:                      pebbleLogger{config.Logger, fatal},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				x.fail.Do(func() {
					close(x.failed)
					go fatal(fmt.Errorf("index %s: %w", config.Dir, err)) // Pebble holds its lock; ends by itself
				})
			},
		},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // keys are prefix-compressed anyway
	}
	db, err := pebble.Open(config.Dir, options)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w (stop the node and delete the folder: it comes back from the log)", config.Dir, err)
	}
	x.db = db
	if err := x.loadOwners(); err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", config.Dir, err), db.Close())
	}
	return x, nil
}

// loadOwners reads which shards there are, and which one each partition belongs to.
func (x *Index) loadOwners() error {
	err := x.each([]byte{kindApplied}, func(key, value []byte) error {
		if len(key) != 2 {
			return corrupt(key, value)
		}
		x.shards[record.Shard(key[1])] = true
		return nil
	})
	if err != nil {
		return err
	}
	return x.each([]byte{kindOwner}, func(key, _ []byte) error {
		shard, partition, err := parseOwnerKey(key)
		if err != nil {
			return err
		}
		x.owners[partition] = shard
		return nil
	})
}

// owns reports whether the partition is known to be the shard's, and notes it if not.
func (x *Index) owns(shard record.Shard, partition record.Partition) bool {
	x.mu.RLock()
	owner, ok := x.owners[partition]
	x.mu.RUnlock()
	if ok && owner == shard {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.owners[partition] = shard
	return false
}

// note remembers that a shard has rows.
func (x *Index) note(shard record.Shard) {
	x.mu.RLock()
	known := x.shards[shard]
	x.mu.RUnlock()
	if known {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shards[shard] = true
}

// knownShards returns the shards that have rows.
func (x *Index) knownShards() []record.Shard {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Sorted(maps.Keys(x.shards))
}

func (x *Index) disown(partition record.Partition) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.owners, partition)
}

// partitionsOf returns the partitions that have rows of a shard.
func (x *Index) partitionsOf(shard record.Shard) []record.Partition {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var partitions []record.Partition
	for partition, owner := range x.owners {
		if owner == shard {
			partitions = append(partitions, partition)
		}
	}
	return partitions
}

// each calls visit for the rows whose key begins with prefix, in order. The slices are valid during the call. Few ask for rows in
// order, so what was gathered in memory goes to Pebble first.
func (x *Index) each(prefix []byte, visit func(key, value []byte) error) error {
	if err := x.settle(); err != nil {
		return err
	}
	return eachOf(x.db, prefix, visit)
}

func eachOf(reader pebble.Reader, prefix []byte, visit func(key, value []byte) error) (err error) {
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		if err := visit(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// get returns a copy of the row's value.
func (x *Index) get(key []byte) ([]byte, bool, error) {
	if value, found, gone := x.pending.row(key); found {
		return value, !gone, nil
	}
	value, closer, err := x.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read index: %w", err)
	}
	value = append([]byte(nil), value...)
	return value, true, closer.Close()
}

// Applied returns the last entry of the shard whose rows are in, 0 for none.
func (x *Index) Applied(shard record.Shard) (record.Index, error) {
	value, ok, err := x.get(appliedKey(shard))
	if err != nil || !ok {
		return 0, err
	}
	if len(value) != 8 {
		return 0, corrupt(appliedKey(shard), value)
	}
	return record.Index(order.Uint64(value)), nil
}

// Get returns a copy of a state machine's row.
func (x *Index) Get(shard record.Shard, key []byte) (value []byte, ok bool, err error) {
	return x.get(stateKey(shard, key))
}

// Flush makes everything that was committed durable, or returns why that is not possible any more.
func (x *Index) Flush() error {
	if err := x.settle(); err != nil {
		return err
	}
	done, err := x.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush index: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-x.failed:
		return errFailed
	}
}

// DiskBytes returns what the index takes on disk.
func (x *Index) DiskBytes() int64 { return int64(x.db.Metrics().DiskSpaceUsage()) }

// WrittenBytes returns how many bytes were written to the index's tables since it was opened. What only waits in memory
// is not among them.
func (x *Index) WrittenBytes() int64 {
	total := x.db.Metrics().Total()
	return int64(total.TableBytesFlushed + total.TableBytesCompacted + total.BlobBytesFlushed + total.BlobBytesCompacted)
}

// Close closes the index; what was committed since the last Flush is written too. It may be called again.
func (x *Index) Close() error {
	x.mu.Lock()
	closed := x.closed
	x.closed = true
	x.mu.Unlock()
	if closed {
		return nil
	}
	err := x.Flush()
	x.writing.Wait()
	return errors.Join(err, x.db.Close())
}

// pebbleLogger passes Pebble's messages on; what it calls fatal ends the node.
type pebbleLogger struct {
	logger *slog.Logger
	fatal  func(error)
}

// Infof implements pebble.Logger.
func (l pebbleLogger) Infof(format string, arguments ...any) {
	l.logger.Debug("pebble", "message", fmt.Sprintf(format, arguments...))
}

// Errorf implements pebble.Logger.
func (l pebbleLogger) Errorf(format string, arguments ...any) {
	l.logger.Warn("pebble", "message", fmt.Sprintf(format, arguments...))
}

// Fatalf implements pebble.Logger. Pebble does not expect it to return, but it may.
func (l pebbleLogger) Fatalf(format string, arguments ...any) {
	l.fatal(fmt.Errorf("index: "+format, arguments...))
}
