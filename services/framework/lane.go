package framework

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/state"
)

// Limits of the lanes.
const (
	maxLaneInputs  = 256 // decided together and appended as one
	maxActiveLanes = 32  // streams that are worked on at one time
)

// A Result says what came of an input.
type Result struct {
	// Wrote says that events were appended, together with those of other inputs of the
	// same stream; Appended says where.
	Wrote    bool
	Appended client.Appended
}

// A task is an input and who wants to know when it is dealt with.
type task struct {
	input Input
	// done is called once, with what came of it or why nothing was decided.
	done func(Result, error)
}

// lanes order the work: the inputs of one stream one after another, the streams side by
// side. An idle stream costs nothing.
type lanes struct {
	ctx    context.Context // of the session; work gives up when it ends
	work   func(ctx context.Context, stream string, tasks []task)
	active chan struct{} // a slot per stream that is worked on
	wait   sync.WaitGroup

	mu     sync.Mutex // guards queues, closed
	queues map[string][]task
	closed bool
}

func newLanes(ctx context.Context, work func(ctx context.Context, stream string, tasks []task)) *lanes {
	return &lanes{ctx: ctx, work: work, active: make(chan struct{}, maxActiveLanes), queues: map[string][]task{}}
}

// add queues a task. The goroutine that it may start ends when the stream's queue is
// empty, and soon after the session ends.
func (l *lanes) add(stream string, t task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		go t.done(Result{}, ErrNotReady) // not under the lock; ends by itself
		return
	}
	queue, running := l.queues[stream]
	l.queues[stream] = append(queue, t)
	if !running {
		l.wait.Go(func() { l.run(stream) })
	}
}

// close refuses further tasks and waits until those that were added are dealt with.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wait.Wait()
}

func (l *lanes) run(stream string) {
	l.active <- struct{}{}
	defer func() { <-l.active }()
	for {
		tasks := l.take(stream)
		if len(tasks) == 0 {
			return
		}
		l.work(l.ctx, stream, tasks)
	}
}

// take removes the next tasks of a stream, or the stream itself when there is none.
func (l *lanes) take(stream string) []task {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queues[stream]
	if len(queue) == 0 {
		delete(l.queues, stream)
		return nil
	}
	n := min(len(queue), maxLaneInputs)
	l.queues[stream] = queue[n:]
	return queue[:n:n]
}

// decide is the work of a lane: draft, append, and see the appended events folded, until
// that succeeds or the session ends.
func (s *session) decide(ctx context.Context, stream string, tasks []task) {
	result, err := s.decideOnce(ctx, stream, tasks)
	for ; ctx.Err() == nil; result, err = s.decideOnce(ctx, stream, tasks) {
		if errors.Is(err, errConflict) {
			s.counts.conflicts.Add(1)
			continue
		}
		if !isPassing(err) {
			break
		}
		s.logger.Warn("log does not take it yet", "service", s.definition.Name, "err", err)
		if sleep(ctx, retryPause) != nil {
			break
		}
	}
	var refused *client.StatusError
	if errors.As(err, &refused) && isInputsFault(refused.Kind) {
		if len(tasks) > 1 {
			for i := range tasks {
				s.decide(ctx, stream, tasks[i:i+1])
			}
			return
		}
		s.logger.Warn("input put aside: the log refused what follows from it", "stream", stream, "type", tasks[0].input.Type, "err", err)
		aside := asideOf(&tasks[0].input.Recorded, err.Error())
		if err = s.core.Settle(nil, []state.Aside{aside}); err == nil {
			tasks[0].done(Result{}, fmt.Errorf("%w: %w", errPutAside, refused))
			return
		}
	}
	if err != nil && ctx.Err() == nil {
		s.fail(err)
	}
	for _, t := range tasks {
		t.done(result, err)
	}
}

var (
	errConflict = errors.New("the stream has moved")
	// errPutAside says that an input is dealt with although nothing follows from it.
	errPutAside = errors.New("the input was put aside")
)

// isPassing tells refusals that say nothing of the input and go away: the topic was created
// at the start, and a node has not heard of it yet; the clock here or there is wrong.
func isPassing(err error) bool {
	var refused *client.StatusError
	return client.IsUnknownTopic(err) || errors.As(err, &refused) && refused.Kind == "invalid-time"
}

// isInputsFault tells refusals for which the input alone is to blame: it must not block those
// behind it. Whatever else is refused ends the service, since another input would fare no better.
func isInputsFault(kind string) bool {
	return kind == "events-too-large" || kind == "body-too-large" || kind == "invalid-event" || kind == "bad-request"
}

func (s *session) decideOnce(ctx context.Context, stream string, tasks []task) (Result, error) {
	inputs := make([]Input, len(tasks))
	for i := range tasks {
		inputs[i] = tasks[i].input
	}
	draft, err := s.core.Decide(stream, inputs, s.now())
	if err != nil {
		return Result{}, err
	}
	for _, aside := range draft.Asides {
		s.logger.Warn("input put aside", "topic", aside.Topic, "partition", aside.Partition, "offset", aside.Offset, "reason", aside.Reason)
	}
	if len(draft.Asides) > 0 {
		if err := s.core.Settle(nil, draft.Asides); err != nil {
			return Result{}, err
		}
	}
	if len(draft.Events) == 0 {
		return Result{}, nil
	}
	topic := s.definition.Topic
	appended, err := s.client.Stream(topic, stream).Append(ctx, draft.Expected, draft.Events...)
	var conflict *client.ConflictError
	switch {
	case errors.As(err, &conflict):
		if conflict.Actual <= int64(draft.Expected) {
			return Result{}, fmt.Errorf("%s: the private state is ahead of the log: %w; delete its folder and it is folded anew", s.definition.Name, err)
		}
		return Result{}, s.awaitVersion(ctx, stream, conflict.Actual)
	case err != nil:
		return Result{}, fmt.Errorf("%s: %w", s.definition.Name, err)
	}
	s.counts.appended.Add(int64(len(draft.Events)))
	if appended.Duplicate {
		s.counts.duplicates.Add(1)
	}
	wanted := client.Cut{}
	wanted.Set(topic, appended.Partition, appended.LastOffset()+1)
	return Result{Wrote: true, Appended: appended}, s.folded.covers(ctx, wanted)
}

// awaitVersion waits until the stream was folded up to a version that somebody else
// appended, then says that there was a conflict.
func (s *session) awaitVersion(ctx context.Context, stream string, version int64) error {
	err := s.folded.wait(ctx, func(client.Cut) (bool, error) {
		have, err := s.core.Version(stream)
		return have >= version, err
	})
	if err != nil {
		return err
	}
	return errConflict
}
