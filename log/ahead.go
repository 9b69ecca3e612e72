package log

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

const (
	// extentBytes is how much of a segment is read at once; a frame for it takes 1 MiB.
	extentBytes = 1<<20 - frame.Prefix
	// extentsAhead is how many extents are read before they are asked for.
	extentsAhead = 12
	// aheadIdle is after how long without a reader all extents are dropped.
	aheadIdle = 10 * time.Second
	// aheadLookups is how often a reader looks again after it waited for what another one loads.
	aheadLookups = 8

	// While less than leastShare of wholeShare of what was evicted had been handed out, runs are read one by one, except
	// that every probeEvery-th of them shows whether that has changed.
	wholeShare = 1 << 10
	leastShare = wholeShare / 4
	probeEvery = 16

	// aheadSpare is how many bytes of frames that were let go of are kept for the next extents.
	aheadSpare = 8 << 20
)

// ahead keeps what consumers who are behind the tail read, and reads on before they ask. The log's bytes lie in the order
// in which they were written, so whoever reads on wants what follows, and large reads are what a disk
// is good at. It is bounded by the bytes of its frames; the extent that was used last stays longest.
//
// An extent holds checked records only, all of them durable when they were read. Their positions are never used again, so
// it is never wrong. Whatever goes wrong with one means that it is not here, and that its readers read for themselves.
type ahead struct {
	log     *Log
	limit   int64       // of bytes; 0: nothing is kept
	refused atomic.Bool // the file system will not read past the page cache

	mu      sync.Mutex  // guards the rest and all extents
	pool    *frame.Pool // of its own: what producers send comes in other sizes, and would keep these frames from being used again
	extents []*extent   // also those that are being loaded
	bytes   int64       // of memory of their frames
	uses    int64
	share   int64 // of what was evicted that had been handed out, of wholeShare; what was evicted last counts for an eighth
	misses  int64 // while share is low
	loading int
	last    time.Time // when somebody read
	idle    *time.Timer
	armed   bool // idle runs
	closed  bool
	done    chan struct{} // closed when the last load has ended after close
}

// An extent is records of a segment that follow each other, read with one call, as a rule.
type extent struct {
	start  record.Position
	end    record.Position // of its records; until walked is set, of what is being read
	bound  record.Position // where what is durable of the segment ends
	memory int64           // of its frame
	more   int             // how many extents after it are to be loaded as soon as its end is known
	walked bool            // its end is known
	loaded chan struct{}   // closed when it is here, or will not be

	frame   *frame.Frame // holds the bytes from start on; nil until they are loaded
	pieces  []piece      // in order
	used    int64        // when it was last of use
	body    int64        // bytes that can be handed out
	handed  int64        // bytes that were, the same ones perhaps more than once
	touched bool         // something was handed out
	gone    bool         // its segment was removed while it was being loaded
}

// A piece is a command in an extent.
type piece struct {
	position record.Position
	index    record.Index
	shard    record.Shard
	body     uint32 // bytes of its batches
}

func newAhead(l *Log, limit int64) *ahead {
	return &ahead{log: l, limit: max(limit, 0), pool: l.config.Pool.Like(aheadSpare), share: wholeShare, done: make(chan struct{})}
}

// get returns bytes bytes from start of the batches of entry i, which lies at pos, with a reference to their frame; nil when they
// must be read in another way. It loads them, or waits until who loads them already is done.
func (a *ahead) get(shard record.Shard, i record.Index, pos record.Position, start, bytes uint32) ([]byte, *frame.Frame) {
	tried := false
	for range aheadLookups {
		a.mu.Lock()
		if a.limit == 0 || a.closed {
			a.mu.Unlock()
			return nil, nil
		}
		a.last = time.Now()
		e := a.find(pos)
		switch {
		case e == nil && (tried || !a.worthIt()):
			a.mu.Unlock()
			return nil, nil
		case e == nil:
			more := a.depth()
			a.mu.Unlock()
			from, to := a.log.writer.onward(pos)
			if from != pos {
				return nil, nil
			}
			if e, left := a.begin(from, to, more); e != nil {
				tried = true
				a.load(e, left)
			}
		case e.frame == nil:
			a.mu.Unlock()
			<-e.loaded
		default:
			b, f := e.hand(piece{position: pos, index: i, shard: shard}, start, bytes)
			end, more := e.end, a.touch(e)
			a.mu.Unlock()
			if more > 0 {
				a.readOn(end, more, rest{})
			}
			if f != nil {
				a.log.stats.extentHits.Add(1)
			}
			return b, f
		}
	}
	return nil, nil
}

// find returns the extent that holds a position, or may do so when it is loaded. a.mu is held.
func (a *ahead) find(pos record.Position) *extent {
	for _, e := range a.extents {
		if e.start <= pos && pos < e.end {
			return e
		}
	}
	return nil
}

// hand returns what is wanted of a piece that the extent holds, with a reference to the frame; nil when it is another piece. The
// lock is held.
func (e *extent) hand(wanted piece, start, bytes uint32) ([]byte, *frame.Frame) {
	at, found := slices.BinarySearchFunc(e.pieces, wanted.position, func(p piece, pos record.Position) int { return int(p.position - pos) })
	if !found {
		return nil, nil
	}
	p := &e.pieces[at]
	if p.index != wanted.index || p.shard != wanted.shard || uint64(start)+uint64(bytes) > uint64(p.body) {
		return nil, nil
	}
	e.handed += int64(bytes)
	e.frame.Retain()
	from := int(p.position-e.start) + segment.HeaderBytes + int(start)
	return e.frame.Bytes()[from : from+int(bytes) : from+int(bytes)], e.frame
}

// touch notes that an extent is of use, and returns how many are to be loaded after it when it was of none before. a.mu is held.
func (a *ahead) touch(e *extent) int {
	a.uses++
	e.used = a.uses
	if e.touched {
		return 0
	}
	e.touched = true
	return a.depth()
}

// worthIt decides whether to load an extent for a reader who found none. a.mu is held.
func (a *ahead) worthIt() bool {
	if a.share >= leastShare {
		return true
	}
	a.misses++
	return a.misses%probeEvery == 0
}

// depth is how many extents are read ahead of a reader: none when they would push each other out unread. a.mu is held.
func (a *ahead) depth() int {
	if a.share < leastShare {
		return 0
	}
	return int(min(extentsAhead, a.limit/(extentBytes+frame.Prefix)-1))
}

// readOn has n extents from a position on loaded, except for what the tail has. Extents that are here
// are passed over; of one whose end is not known yet the load goes on from there.
func (a *ahead) readOn(at record.Position, n int, left rest) {
	for ; n > 0; n-- {
		from, to := a.log.writer.onward(at)
		if from == 0 || from >= a.log.tail.begin() {
			return
		}
		end, here := a.follow(from, n-1)
		switch {
		case here && end == 0:
			return
		case here:
			at = end
			continue
		}
		if e, known := a.begin(from, to, n-1); e != nil {
			if known.frame == nil && left.frame != nil && from == at {
				left.frame.Retain()
				known = left
			}
			go a.load(e, known) // until the disk answers; close waits for that
		}
		return
	}
}

// follow reports whether an extent is here that holds a position, and where it ends: 0 when that is not known yet, and then
// it will see to the n extents after it. It is about to be of use, so it stays longer than what was read.
func (a *ahead) follow(from record.Position, n int) (end record.Position, here bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.find(from)
	if e == nil {
		return 0, false
	}
	a.uses++
	e.used = a.uses
	if !e.walked {
		e.more = max(e.more, n)
		return 0, true
	}
	return e.end, true
}

// begin makes an extent that begins at from and ends before bound and before the next one that is here. The caller loads it.
// What the one before has read of it is left. It returns nil when there is one meanwhile, or no room.
func (a *ahead) begin(from, bound record.Position, more int) (e *extent, left rest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.find(from) != nil {
		return nil, rest{}
	}
	end := min(from+extentBytes, bound)
	for _, other := range a.extents {
		if other.start > from {
			end = min(end, other.start)
		}
	}
	memory := int64(frame.MemoryOf(int(end - from)))
	if !a.makeRoom(memory) {
		return nil, rest{}
	}
	for _, other := range a.extents {
		if other.end == from && other.frame != nil {
			other.frame.Retain()
			left = rest{frame: other.frame, bytes: other.frame.Bytes()[from-other.start:]}
		}
	}
	e = &extent{start: from, end: end, bound: bound, memory: memory, more: more, loaded: make(chan struct{})}
	a.extents = append(a.extents, e)
	a.bytes += memory
	a.loading++
	if !a.armed {
		a.armed = true
		if a.idle == nil {
			a.idle = time.AfterFunc(aheadIdle, a.tire)
		} else {
			a.idle.Reset(aheadIdle)
		}
	}
	return e, left
}

// makeRoom evicts until memory more bytes are within the limit. a.mu is held.
func (a *ahead) makeRoom(memory int64) bool {
	for a.bytes+memory > a.limit {
		var oldest *extent
		for _, e := range a.extents {
			if e.frame != nil && (oldest == nil || e.used < oldest.used) {
				oldest = e
			}
		}
		if oldest == nil {
			return false
		}
		if oldest.body > 0 {
			a.share = (a.share*7 + min(oldest.handed, oldest.body)*wholeShare/oldest.body) / 8
		}
		a.drop(oldest)
	}
	return true
}

// drop lets go of an extent; who reads it has a reference of their own. a.mu is held.
func (a *ahead) drop(e *extent) {
	a.bytes -= e.memory
	if e.frame != nil {
		e.frame.Release()
	}
	at := slices.Index(a.extents, e)
	last := len(a.extents) - 1
	a.extents[at], a.extents[last] = a.extents[last], nil
	a.extents = a.extents[:last]
}

// dropWhere lets go of the extents of which is says so; those that are being loaded will not be kept. a.mu is held.
func (a *ahead) dropWhere(is func(*extent) bool) {
	for _, e := range slices.Clone(a.extents) {
		switch {
		case !is(e):
		case e.frame == nil:
			e.gone = true
		default:
			a.drop(e)
		}
	}
}

// forget lets go of a removed segment's extents.
func (a *ahead) forget(number int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropWhere(func(e *extent) bool {
		of, _ := segment.Split(e.start)
		return of == number
	})
}

// tire gives the memory back when nobody has read for a while.
func (a *ahead) tire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	left := aheadIdle - time.Since(a.last)
	if left <= 0 {
		a.dropWhere(func(e *extent) bool { return e.frame != nil })
		a.pool.Trim() // the spare ones go, too
		a.share, a.misses, left = wholeShare, 0, aheadIdle
	}
	if a.armed = len(a.extents) > 0; a.armed {
		a.idle.Reset(left)
	}
}

// frame returns memory for n bytes of an extent.
func (a *ahead) frame(n int) *frame.Frame {
	a.mu.Lock()
	pool := a.pool
	a.mu.Unlock()
	return pool.Get(n)
}

// memory returns the bytes that frames take.
func (a *ahead) memory() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes
}

// close drops everything and waits until nothing is being loaded any more, unless the disk hangs.
func (a *ahead) close() {
	a.mu.Lock()
	a.closed = true
	if a.idle != nil {
		a.idle.Stop()
	}
	a.dropWhere(func(*extent) bool { return true })
	loading := a.loading
	a.mu.Unlock()
	if loading == 0 || a.log.writer.guard.hung() {
		return
	}
	patience := time.NewTimer(a.log.config.HangTimeout)
	defer patience.Stop()
	select {
	case <-a.done:
	case <-patience.C: // whoever waits for a disk that does not answer ends when it does
	}
}
