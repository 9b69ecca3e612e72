package framework

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/state"
)

// Limits of a session.
const (
	maxFoldRecords = 1000                   // folded in one transaction
	maxOpenInputs  = 1024                   // inputs taken up and not dealt with
	inputPoll      = 256                    // inputs taken from the client at once
	prefetchBytes  = 1 << 20                // of one answer of a broker
	syncPeriod     = 200 * time.Millisecond // what a crash of the machine may make us fold again
	syncRecords    = 1000                   // likewise
	retryPause     = 250 * time.Millisecond
)

// counts are what a service counts over all its sessions.
type counts struct {
	folded, appended, decided atomic.Int64 // events folded and appended, inputs decided
	conflicts, duplicates     atomic.Int64
	calls, callsFailed        atomic.Int64
}

// A session is a service at work on one opened database.
type session struct {
	definition *Definition
	client     *client.Client
	core       *Core
	logger     *slog.Logger
	now        func() time.Time
	counts     *counts
	first      []event.Recorded // decided before anything else

	folded  *position
	log     watch
	inputs  *tracker
	lanes   *lanes
	workers []*worker
	// background are rebuilds; they end with the session.
	background background
	slots      chan struct{} // one per open input
	ready      atomic.Bool   // the own topic was folded up to where it ended at the start; written by run
	target     atomic.Int64  // events below that end; written by run

	unsynced atomic.Int64 // records folded since the last sync; written by fold and sync

	failOnce sync.Once // of cancel with a cause
	cancel   context.CancelCauseFunc
}

// background are goroutines that come up while a session works and end with it.
type background struct {
	wait sync.WaitGroup

	mu     sync.Mutex // guards closed
	closed bool
}

// start runs work unless the session is ending already.
func (b *background) start(work func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wait.Go(work)
	}
	return !b.closed
}

// close starts nothing any more and waits for what was started.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wait.Wait()
}

// fail ends the session with err.
func (s *session) fail(err error) { s.failOnce.Do(func() { s.cancel(err) }) }

// run works until ctx ends or something cannot go on. It returns nil when ctx ended.
// All goroutines have ended by then; the database is left synced and open.
func (s *session) run(outer context.Context) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	s.cancel = cancel
	s.lanes = newLanes(ctx, s.decide)
	s.fail(s.work(ctx))
	s.lanes.close()
	s.background.close()
	cause := context.Cause(ctx) // the first thing that could not go on, or the end of outer
	if outer.Err() != nil && errors.Is(cause, context.Cause(outer)) {
		cause = nil
	}
	return errors.Join(cause, s.settle())
}

func (s *session) work(ctx context.Context) error {
	tx := s.core.Database().Begin()
	folded, inputs := tx.Folded(), tx.Inputs()
	tx.Discard()
	if err := tx.Err(); err != nil {
		return err
	}
	end, err := s.ends(ctx, s.definition.folds(), folded)
	if err != nil {
		return err
	}
	s.target.Store(end.Events())
	reader, err := s.client.Reader(client.ReaderConfig{From: from(end, folded), FetchBytes: prefetchBytes})
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer reader.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait.Go(func() { s.foldAll(ctx, reader) })
	wait.Go(func() { s.syncAll(ctx) })
	wait.Go(func() { s.watchLog(ctx) })
	if err := s.folded.covers(ctx, end); err != nil {
		return err
	}
	for _, in := range s.first {
		if _, err := s.submit(ctx, s.definition.Stream(in), in); err != nil {
			return err
		}
	}
	s.ready.Store(true)
	s.logger.Info("caught up", "service", s.definition.Name, "events", end.Events())
	return s.decideAll(ctx, inputs)
}

// decideAll reads the inputs, if there are any, and makes the calls, until ctx ends.
func (s *session) decideAll(ctx context.Context, inputs client.Cut) error {
	var wait sync.WaitGroup
	for _, w := range s.workers {
		wait.Go(func() { w.run(ctx) })
	}
	err := s.readInputs(ctx, inputs)
	s.fail(err) // ends the workers, and the appends that they wait for
	wait.Wait()
	return err
}

func (s *session) readInputs(ctx context.Context, inputs client.Cut) error {
	if len(s.definition.Inputs) == 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	end, err := s.ends(ctx, s.definition.Inputs, inputs)
	if err != nil {
		return err
	}
	reader, err := s.client.Reader(client.ReaderConfig{From: from(end, inputs), FetchBytes: prefetchBytes})
	if err != nil {
		return err
	}
	defer reader.Close()
	return s.poll(ctx, reader, inputPoll, func(records []client.Record) error {
		for i := range records {
			if err := s.take(ctx, &records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// ends asks where topics end, again and again while the log is away, and checks that
// the checkpoints are of this log.
func (s *session) ends(ctx context.Context, topics []string, checkpoints client.Cut) (client.Cut, error) {
	for {
		end, err := s.client.Cut(ctx, topics...)
		if err == nil {
			for topic, offsets := range end {
				for partition, offset := range offsets {
					if at := checkpoints.Offset(topic, int32(partition)); at > offset {
						return nil, fmt.Errorf("%s: private state has seen %s partition %d up to %d, the log ends at %d; it belongs to another cluster: delete %s and it is folded anew",
							s.definition.Name, topic, partition, at, offset, s.core.Database().Path())
					}
				}
			}
			return end, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.logger.Warn("log does not answer", "service", s.definition.Name, "err", err)
		if err := sleep(ctx, 4*retryPause); err != nil {
			return nil, err
		}
	}
}

// from names all partitions of end, at their checkpoints.
func from(end, checkpoints client.Cut) client.Cut {
	start := client.Cut{}
	for topic, offsets := range end {
		for partition := range offsets {
			start.Set(topic, int32(partition), checkpoints.Offset(topic, int32(partition)))
		}
	}
	return start
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// poll hands what arrives to visit until ctx ends or visit fails.
func (s *session) poll(ctx context.Context, reader *client.Reader, limit int, visit func([]client.Record) error) error {
	for {
		records, err := reader.Poll(ctx, limit)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, client.ErrOutOfRange) {
			return fmt.Errorf("%s: the log has lost what this service has seen, or is another one: %w", s.definition.Name, err)
		}
		if err != nil {
			s.logger.Warn("log does not answer", "service", s.definition.Name, "err", err)
			if err := sleep(ctx, retryPause); err != nil {
				return err
			}
			continue
		}
		if len(records) == 0 {
			continue
		}
		if err := visit(records); err != nil {
			return err
		}
	}
}

// foldAll folds what arrives until ctx ends; what cannot be folded ends the session.
func (s *session) foldAll(ctx context.Context, reader *client.Reader) {
	err := s.poll(ctx, reader, maxFoldRecords, func(records []client.Record) error {
		if err := s.core.Fold(records); err != nil {
			return err
		}
		s.folded.advance(records)
		s.counts.folded.Add(int64(len(records)))
		if s.unsynced.Add(int64(len(records))) >= syncRecords {
			return s.sync()
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.fail(err)
	}
}

func (s *session) sync() error {
	s.unsynced.Store(0)
	return s.core.Database().Sync()
}

// syncAll notes the inputs' checkpoints and syncs, every syncPeriod in which something
// happened, until ctx ends.
func (s *session) syncAll(ctx context.Context) {
	ticker := time.NewTicker(syncPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		cut, moved := s.inputs.cut()
		if !moved && s.unsynced.Load() == 0 {
			continue
		}
		var err error
		if moved {
			err = s.core.Settle(cut, nil)
		}
		if err == nil {
			err = s.sync()
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// settle notes and syncs what the session has done, at its end.
func (s *session) settle() error {
	cut, _ := s.inputs.cut()
	return errors.Join(s.core.Settle(cut, nil), s.core.Database().Sync())
}

// take takes up one input record: it waits for room, then queues it for its stream.
func (s *session) take(ctx context.Context, r *client.Record) error {
	in, err := decode(r)
	s.inputs.begin(r.Topic, r.Partition, r.Offset, r.Time)
	if err != nil {
		s.logger.Warn("input put aside", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", err)
		if err := s.core.Settle(nil, []state.Aside{asideOf(&in, err.Error())}); err != nil {
			return err
		}
		s.inputs.end(r.Topic, r.Partition, r.Offset)
		return nil
	}
	stream := ""
	if in.Data != nil || in.Foreign {
		stream = s.definition.Stream(in)
	}
	if stream == "" {
		s.inputs.end(r.Topic, r.Partition, r.Offset)
		return nil
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.lanes.add(stream, task{input: Input{Recorded: in}, done: func(_ Result, err error) {
		<-s.slots
		// One that nothing was decided on is read again after the restart.
		if err == nil || errors.Is(err, errPutAside) {
			s.counts.decided.Add(1)
			s.inputs.end(in.Topic, in.Partition, in.Offset)
		}
	}})
	return nil
}

// command decides on an input that comes from outside the log and waits for the result.
func (s *session) command(ctx context.Context, stream string, in event.Recorded) (Result, error) {
	if !s.ready.Load() {
		return Result{}, ErrNotReady
	}
	return s.submit(ctx, stream, in)
}

// submit queues an input for its stream and waits for the result.
func (s *session) submit(ctx context.Context, stream string, in event.Recorded) (Result, error) {
	type outcome struct {
		result Result
		err    error
	}
	finished := make(chan outcome, 1)
	s.lanes.add(stream, task{
		input: Input{Recorded: in},
		done:  func(result Result, err error) { finished <- outcome{result, err} },
	})
	select {
	case o := <-finished:
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
}
