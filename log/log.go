package log

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// HeaderBytes is the room before an entry's payload that Append writes to, in bytes: what frame.Pool.GetAfter is to
// be asked for, so that the entry is written as it lies.
const HeaderBytes = segment.HeaderBytes

// CorruptError says that stored bytes are not what they should be: file, offset, wanted, found.
type CorruptError = segment.CorruptError

var (
	// ErrNotFound is wrapped when an entry is outside the window or is not retained.
	ErrNotFound = errors.New("entry not found")
	// ErrOutOfOrder is wrapped when appended entries do not continue the window.
	ErrOutOfOrder = errors.New("entry out of order")
	// ErrNeeded is wrapped when a segment may not be removed yet.
	ErrNeeded = errors.New("segment is needed")
	// ErrHung is wrapped when the disk did not answer within Config.HangTimeout.
	ErrHung = errors.New("disk hangs")
	// ErrClosed is wrapped by everything that is asked of a closed log.
	ErrClosed = errors.New("log is closed")
)

// Config says where the log lives and what it may use.
type Config struct {
	FS           FS
	Dir          string        // created when missing; its parent must exist
	Incarnation  [16]byte      // of the node's disk; segments of another are refused
	SegmentBytes int64         // 64 KiB to 1 GiB, 0 for 64 MiB
	TailBytes    int64         // memory for the newest entries' frames of all shards, 0 for 32 MiB
	ReadBytes    int64         // memory for what consumers who are behind read, 0 for 128 MiB, 1 MiB or more; below 0 nothing is kept
	Pool         *frame.Pool   // where frames come from
	Direct       bool          // write, and read for consumers who are behind, past the system's page cache, where the file system lets us
	Logger       *slog.Logger  // nil: silent
	Fatal        func(error)   // called once, on a goroutine of its own, after a write or sync failed or hung: end the process
	HangTimeout  time.Duration // after which a call to the disk counts as hung, 0 for 2 s
}

const (
	minSegmentBytes     = 64 << 10
	defaultSegmentBytes = 64 << 20
	defaultTailBytes    = 32 << 20
	defaultReadBytes    = 128 << 20
	minReadBytes        = extentBytes + frame.Prefix
	defaultHangTimeout  = 2 * time.Second
)

func (c *Config) setDefaults() error {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.SegmentBytes < minSegmentBytes || c.SegmentBytes > segment.MaxBytes {
		return fmt.Errorf("segment size %d, wanted %d to %d bytes", c.SegmentBytes, minSegmentBytes, segment.MaxBytes)
	}
	if c.TailBytes == 0 {
		c.TailBytes = defaultTailBytes
	}
	if c.ReadBytes == 0 {
		c.ReadBytes = defaultReadBytes
	}
	if c.ReadBytes > 0 && c.ReadBytes < minReadBytes {
		return fmt.Errorf("%d bytes for those who are behind, wanted %d or more, or fewer than 0 for none", c.ReadBytes, minReadBytes)
	}
	if c.HangTimeout == 0 {
		c.HangTimeout = defaultHangTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Log is the log of one node.
type Log struct {
	config  Config
	lock    io.Closer
	readers *readers
	tail    *tail
	ahead   *ahead
	writer  *writer
	removed *removals
	failing failing
	stats   counters
	reserve reserve
	direct  atomic.Bool // writes go past the page cache: wanted, and not refused so far

	mu     sync.Mutex // guards shards
	shards map[record.Shard]*Shard

	removing chan struct{} // a lock that may be held while the disk is slow; guards removed
	closed   atomic.Bool
}

// Open opens the log in config.Dir, or begins one in an empty folder. It reads what was
// written last, and finds where valid data ends. A torn tail, which a crash leaves, is
// passed over; acknowledged data that cannot be read is a *CorruptError. Nothing is
// deleted except files that Remove had already decided on.
func Open(config Config) (*Log, error) {
	if err := config.setDefaults(); err != nil {
		return nil, fmt.Errorf("open log %s: %w", config.Dir, err)
	}
	l := &Log{
		config:  config,
		readers: newReaders(config.FS, config.Dir, segment.Seed(config.Incarnation)),
		tail:    newTail(config.TailBytes),
		shards:  map[record.Shard]*Shard{},

		removing: make(chan struct{}, 1),
	}
	l.ahead = newAhead(l, config.ReadBytes)
	l.direct.Store(config.Direct)
	if err := l.open(); err != nil {
		l.readers.close()
		return nil, fmt.Errorf("open log %s: %w", config.Dir, err)
	}
	return l, nil
}

func (l *Log) open() error {
	fs, dir := l.config.FS, l.config.Dir
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create folder %s: %w", dir, err)
	}
	if err := segment.SyncDir(fs, fs.PathDir(dir)); err != nil {
		return err
	}
	lock, err := fs.Lock(fs.PathJoin(dir, lockName))
	if err != nil {
		return fmt.Errorf("lock folder %s, which another process may be using: %w", dir, err)
	}
	if l.removed, err = openRemovals(fs, fs.PathJoin(dir, removedName)); err != nil {
		return errors.Join(err, lock.Close())
	}
	r := recovery{log: l, heads: map[int64]segment.Head{}, windows: map[record.Shard]*recovered{}}
	if err := r.run(); err != nil {
		return errors.Join(err, l.removed.stable.Close(), lock.Close())
	}
	var active *output
	if r.file != nil {
		if active, err = l.output(r.file); err != nil {
			return errors.Join(err, r.file.Close(), l.removed.stable.Close(), lock.Close())
		}
	}
	l.lock = lock
	l.start(&r, active)
	return nil
}

// start begins to write where recovery says.
func (l *Log) start(r *recovery, active *output) {
	w := &writer{
		log:    l,
		done:   make(chan struct{}),
		guard:  NewWatchdog(l.config.HangTimeout, l.fail),
		stats:  &l.stats,
		layout: layout{end: r.end, seal: r.seal, number: r.number, hinted: r.hinted, parts: r.parts, marks: map[record.Shard]*mark{}},
		file:   active,
		gather: newGatherer(int(min(scratchBytes, l.config.SegmentBytes&^(maxAlignment-1)))),
	}
	w.wake, w.synced = sync.NewCond(&w.mu), sync.NewCond(&w.mu)
	w.durable.Store(int64(r.end))
	l.writer = w
	for number, found := range r.windows {
		s := l.Shard(number)
		s.window, s.durable = found.window, found.window.last()
		s.applied.Store(uint64(found.applied))
		w.marks[number] = &mark{shard: s, first: s.window.begin(), last: s.window.last(), held: found.held}
	}
	w.next = newPreparer(l, w.number+1)
	go w.run() // until Close
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armNote()
}

// Shard returns a shard's part of the log, the same each time. Any number may be asked for.
func (l *Log) Shard(number record.Shard) *Shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shards[number]
	if s == nil {
		s = &Shard{log: l, number: number}
		s.synced = sync.NewCond(&s.mu)
		l.shards[number] = s
	}
	return s
}

// fail poisons the log: no more is written, all who wait get the error, Fatal is called.
// It must be called without locks.
func (l *Log) fail(err error) {
	if !l.failing.set(err) {
		return
	}
	l.wakeAll()
	if l.config.Fatal != nil {
		go l.config.Fatal(err) // once, and on its own so that it may call Close; it ends by itself
	}
	l.config.Logger.Error("the log cannot go on", "error", err) // last: its file may be on the disk that hangs
}

func (l *Log) wakeAll() {
	l.writer.mu.Lock()
	l.writer.wake.Broadcast()
	l.writer.synced.Broadcast()
	l.writer.mu.Unlock()
	l.mu.Lock()
	shards := make([]*Shard, 0, len(l.shards))
	for _, s := range l.shards {
		shards = append(shards, s)
	}
	l.mu.Unlock()
	for _, s := range shards {
		s.mu.Lock()
		s.synced.Broadcast()
		s.mu.Unlock()
	}
}

// Stats are counters since Open and a few gauges.
type Stats struct {
	Syncs, Writes    int64         // calls to the disk
	BytesWritten     int64         // of segments, heads and padding included
	BytesZeroed      int64         // written to segments before their records, so that these change no metadata
	Direct           bool          // gauge: writes go past the page cache
	Records          int64         // entries and markers written
	SyncTime         time.Duration // spent in Syncs
	SegmentsCreated  int64
	SegmentsRemoved  int64
	DiskReads        int64           // of what was not in memory, one entry at a time
	Extents          ExtentStats     // what was read many entries at a time
	TailBytes        int64           // gauge: memory of the newest entries
	Segments         int             // gauge
	End, DurableEnd  record.Position // gauge: what is queued and what is synced
	QueuedRecords    int             // gauge
	NextSegmentError error           // why the next segment cannot be prepared; nil when all is well
}

// ExtentStats are counters of what is read ahead of consumers who are behind, and a gauge.
type ExtentStats struct {
	Loaded int64 // extents, of about 1 MiB each
	Bytes  int64 // read from disk for them
	Hits   int64 // reads that they answered
	Memory int64 // gauge: bytes of their frames
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	c, w := &l.stats, l.writer
	s := Stats{
		Syncs: c.syncs.Load(), Writes: c.writes.Load(), BytesWritten: c.bytes.Load(), Records: c.records.Load(),
		SyncTime:        time.Duration(c.syncNanos.Load()),
		SegmentsCreated: c.created.Load(), SegmentsRemoved: c.removed.Load(), DiskReads: c.reads.Load(),
		TailBytes:   l.tail.memory(),
		BytesZeroed: c.zeroed.Load(), Direct: l.direct.Load(),
		DurableEnd:       record.Position(w.durable.Load()),
		NextSegmentError: w.next.err(),
		Extents:          ExtentStats{Loaded: c.extents.Load(), Bytes: c.extentBytes.Load(), Hits: c.extentHits.Load(), Memory: l.ahead.memory()},
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.End, s.Segments, s.QueuedRecords = w.end, len(w.parts), len(w.queue)
	return s
}

// Writable returns nil, or why new events should be refused with a retriable error: the next segment cannot be prepared, or
// the disk is nearly full. What is left stays for votes, for what makes room, and for the index.
func (l *Log) Writable() error {
	if err := l.failing.err(); err != nil {
		return err
	}
	if err := l.writer.next.err(); err != nil {
		return err
	}
	return l.reserve.err(&l.config)
}

// Close writes and syncs what is queued and ends the goroutines. Later calls return nil.
func (l *Log) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	err := l.writer.close()
	l.failing.set(ErrClosed)
	l.wakeAll()
	l.tail.close()
	l.ahead.close()
	l.readers.close()
	return errors.Join(err, l.removed.stable.Close(), l.lock.Close())
}
