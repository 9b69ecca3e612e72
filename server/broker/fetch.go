package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

const (
	// fetchRuns is how many runs are looked up in the index at once.
	fetchRuns = 16
	// fetchSpan is over how many bytes of the log a fetch of several partitions goes in each of them, if it finds
	// fetchLeast bytes there. All partitions lie in the same log, side by side: if the first of many were read as far as an
	// answer may be large, what lies beside would have left the memory before it is the others' turn. It is half of what an
	// answer may hold (the fronts allow 16 MiB), so that all get their turn and stay side by side.
	fetchSpan  = 8 << 20
	fetchLeast = 16 << 10
)

// Fetch reads batches, waiting as the request says or until ctx ends. The result is never nil.
//
// What is applied is read at once: the newest runs are known without the index, and
// their bytes are slices of the log's frames in memory. When that is less than
// MinBytes, the request joins the waiters of its partitions, and the state machine
// that applies enough wakes it; nothing happens meanwhile, and nothing is held.
func (b *Broker) Fetch(ctx context.Context, request *FetchRequest) *FetchResult {
	if request.MaxWait <= 0 {
		result, _ := fetchNow(b, request, nil)
		return result
	}
	deadline := time.NewTimer(request.MaxWait)
	defer deadline.Stop()
	for {
		result, enough := fetchNow(b, request, nil)
		if enough || ctx.Err() != nil {
			return result
		}
		w := newWaiter(len(request.Partitions), request.MinBytes-result.bytes())
		result.drop(request)
		if !w.enter(request, result) {
			w.exit(request)
			continue
		}
		select {
		case <-w.signal:
			w.exit(request)
		case <-deadline.C:
			w.exit(request)
			result, _ = fetchNow(b, request, result) // something, but not enough, may have arrived
			return result
		case <-ctx.Done():
			w.exit(request)
			return result
		}
	}
}

// enter joins the waiters of all partitions and shards of a request. It returns false when something has
// changed since result was read.
func (w *waiter) enter(request *FetchRequest, result *FetchResult) bool {
	var last *shard
	for i := range request.Partitions {
		p := request.Partitions[i].Partition.state
		if p.shard != last {
			if last = p.shard; !w.watch(last) {
				return false
			}
		}
		p.mu.Lock()
		same := p.loaded && p.next == result.Partitions[i].HighWatermark && !p.row.dropped
		if same {
			w.join(p)
		}
		p.mu.Unlock()
		if !same {
			return false
		}
	}
	return true
}

// exit undoes enter, also when that stopped half-way.
func (w *waiter) exit(request *FetchRequest) {
	w.leave()
	var last *shard
	for i := range request.Partitions {
		if s := request.Partitions[i].Partition.state.shard; s != last {
			last = s
			w.unwatch(s)
		}
	}
}

func (r *FetchResult) bytes() int {
	n := 0
	for i := range r.Partitions {
		n += r.Partitions[i].Bytes()
	}
	return n
}

// fetchNow reads what is there. enough reports that the answer need not wait: there are MinBytes, or as much as fits, or
// an error. The slices of a result that was released are used again.
func fetchNow(b *Broker, request *FetchRequest, into *FetchResult) (result *FetchResult, enough bool) {
	result = into
	if result == nil {
		result = &FetchResult{Partitions: make([]FetchedPartition, len(request.Partitions))}
	}
	f := fetch{broker: b, result: result, left: request.MaxBytes, several: len(request.Partitions) > 1}
	failed := false
	f.memory = request.Memory
	places := f.survey(request)
	for i := range request.Partitions {
		asked, got := &request.Partitions[i], &result.Partitions[i]
		*got = FetchedPartition{HighWatermark: -1, LogStartOffset: -1}
		f.ahead = places != nil && f.isAhead(places[i])
		f.partition(asked, got)
		failed = failed || got.Err != nil
	}
	return result, failed || f.full || f.bytes >= request.MinBytes
}

// A fetch is one pass over the partitions of a request.
type fetch struct {
	broker *Broker
	result *FetchResult
	memory FetchMemory
	left   int  // of MaxBytes
	full   bool // there is more than the limits allow

	several bool            // there are partitions beside this one
	oldest  record.Position // where the partition that is furthest behind goes on
	ahead   bool            // the present partition is ahead of that one, which comes first
	bytes   int
	runs    []index.Run
}

// take asks for the memory that a run takes: a small one holds a frame, too.
func (f *fetch) take(run *index.Run) bool {
	return f.memory == nil || f.memory.Take(max(int(run.Bytes), frame.MinMemory))
}

// partition reads one partition.
func (f *fetch) partition(asked *FetchPartition, got *FetchedPartition) {
	p := asked.Partition.state
	term, _, err := p.leadership()
	if err == nil {
		err = checkEpoch(asked.LeaderEpoch, term)
	}
	if err != nil {
		got.Err = err
		return
	}
	p.mu.Lock()
	if err := p.load(); err != nil {
		p.mu.Unlock()
		got.Err = err
		return
	}
	start, next := p.row.start, p.next
	f.runs = f.runs[:0]
	if asked.Offset >= start && asked.Offset < next {
		f.runs = recentFrom(p.recent, asked.Offset, f.runs)
	}
	p.mu.Unlock()
	got.HighWatermark, got.LogStartOffset = next, start
	switch {
	case asked.Offset < start || asked.Offset > next:
		got.Err = offsetRange(asked.Offset, start, next)
	case asked.Offset < next && f.ahead:
		f.full = true
	case asked.Offset < next:
		got.Err = f.read(p, asked, next, got)
	}
}

const (
	// A partition that goes on aheadFrom to aheadTo bytes of the log beyond the one that is furthest behind waits for that. The
	// partitions of a topic drift apart when all are given the same share of each answer, and then each has the log read
	// for itself. One that is further away began elsewhere: its reader has reasons.
	aheadFrom = 16 << 20
	aheadTo   = 96 << 20
)

// survey finds out where the partitions of a request go on that are behind the newest runs; 0 for others, nil when there is no need.
func (f *fetch) survey(request *FetchRequest) []record.Position {
	if !f.several {
		return nil
	}
	var places []record.Position
	for i := range request.Partitions {
		p, offset := request.Partitions[i].Partition.state, request.Partitions[i].Offset
		p.mu.Lock()
		behind := p.loaded && offset >= p.row.start && len(p.recent) > 0 && offset < p.recent[0].First
		p.mu.Unlock()
		if !behind {
			continue
		}
		runs, err := f.broker.config.Index.Runs(p.id, offset, 1, f.runs[:0])
		if f.runs = runs; err != nil || len(runs) == 0 {
			continue // read finds it out, too
		}
		if places == nil {
			places = make([]record.Position, len(request.Partitions))
		}
		places[i] = runs[0].Position
		if f.oldest == 0 || runs[0].Position < f.oldest {
			f.oldest = runs[0].Position
		}
	}
	return places
}

func (f *fetch) isAhead(place record.Position) bool {
	if place == 0 {
		return false
	}
	apart := f.broker.config.Log.Apart(f.oldest, place)
	return apart > aheadFrom && apart <= aheadTo
}

// recentFrom appends the recent runs from the one that contains offset on; none when that one is not recent.
func recentFrom(recent []index.Run, offset record.Offset, dst []index.Run) []index.Run {
	for i := range recent {
		if recent[i].First <= offset && offset <= recent[i].Last {
			return append(dst, recent[i:]...)
		}
	}
	return dst
}

// read adds batches up to the limits: at least one batch to an answer that has none yet.
func (f *fetch) read(p *partitionState, asked *FetchPartition, next record.Offset, got *FetchedPartition) error {
	room := min(asked.MaxBytes, f.left)
	offset := asked.Offset
	first := record.Position(0) // of the runs
	for at := 0; offset < next; at++ {
		if at == len(f.runs) {
			var err error
			if f.runs, err = f.broker.config.Index.Runs(p.id, offset, fetchRuns, f.runs[:0]); err != nil {
				return fmt.Errorf("%w: %w", ErrStorage, err)
			}
			if at = 0; len(f.runs) == 0 {
				return fmt.Errorf("partition %d: the index has nothing at offset %d, the end is at %d: %w", p.id, offset, next, ErrStorage)
			}
		}
		run := &f.runs[at]
		if first == 0 {
			first = run.Position
		}
		if room <= 0 && f.bytes > 0 || f.far(first, run.Position, got) || !f.take(run) {
			f.full = true
			return nil
		}
		stored, held, err := p.shard.readOn(run)
		if err != nil {
			return f.failed(p, asked, got, err)
		}
		taken, whole, err := cut(stored, offset, room, f.bytes == 0)
		f.full = f.full || !whole
		if err != nil || len(taken) == 0 {
			held.Release()
			return f.failed(p, asked, got, err)
		}
		f.result.frames = append(f.result.frames, held)
		got.Batches = append(got.Batches, taken)
		f.bytes += len(taken)
		f.left -= len(taken)
		room -= len(taken)
		if !whole {
			return nil
		}
		offset = run.Last + 1
	}
	return nil
}

// far reports whether what lies at a position is left to the next fetch.
func (f *fetch) far(first, at record.Position, got *FetchedPartition) bool {
	return f.several && f.broker.config.Log.Apart(first, at) > fetchSpan && got.Bytes() >= fetchLeast
}

// failed decides what an error means for a partition's answer: nothing when it holds batches already, since the next
// fetch will meet the error again; out of range when retention removed the batches meanwhile.
func (f *fetch) failed(p *partitionState, asked *FetchPartition, got *FetchedPartition, err error) error {
	if len(got.Batches) > 0 || err == nil {
		return nil
	}
	if start, next, boundsError := p.bounds(); boundsError != nil || asked.Offset < start {
		got.LogStartOffset = start
		return errors.Join(boundsError, offsetRange(asked.Offset, start, next))
	}
	return err
}

// cut returns the batches of a run from the one that contains offset on, as many as fit into room, but at least one if
// first is set; whole reports that the run's last batch is among them.
func cut(stored []byte, offset record.Offset, room int, first bool) (taken []byte, whole bool, err error) {
	for len(stored) > 0 {
		batch, rest, err := record.NextBatch(stored)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if batch.LastOffset() >= offset {
			break
		}
		stored = rest
	}
	if len(stored) <= room {
		return stored, true, nil
	}
	end := 0
	for rest := stored; len(rest) > 0; {
		batch, after, err := record.NextBatch(rest)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if end+len(batch) > room && !(first && end == 0) {
			break
		}
		end += len(batch)
		rest = after
	}
	return stored[:end:end], end == len(stored), nil
}

// read returns a run's batches as they are stored. The caller releases the frame, which is nil with an error.
func (s *shard) read(run *index.Run) ([]byte, *frame.Frame, error) {
	b, f, err := s.broker.config.Log.Shard(s.id).Read(run.Index, run.Position, run.Start, run.Bytes)
	return s.told(run, b, f, err)
}

// readOn is read for a consumer, who goes on to the runs that follow.
func (s *shard) readOn(run *index.Run) ([]byte, *frame.Frame, error) {
	b, f, err := s.broker.config.Log.Shard(s.id).ReadOn(run.Index, run.Position, run.Start, run.Bytes)
	return s.told(run, b, f, err)
}

// told has a failed read of a run in the node's log.
func (s *shard) told(run *index.Run, b []byte, f *frame.Frame, err error) ([]byte, *frame.Frame, error) {
	if err != nil {
		s.broker.logger.Error("stored batches cannot be read", "shard", s.id, "partition", run.Partition, "offset", run.First, "error", err)
		return nil, nil, fmt.Errorf("read offsets %d to %d: %w: %w", run.First, run.Last, ErrStorage, err)
	}
	return b, f, nil
}
