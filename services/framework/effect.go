package framework

import (
	"context"
	"sync"
	"time"

	"github.com/stela-db/stela/services/event"
)

const (
	effectPage     = 256 // intents looked at in one go
	effectPause    = 200 * time.Millisecond
	effectPauseMax = 30 * time.Second
)

// A worker makes the calls of one effect that the state says are pending.
type worker struct {
	session *session
	effect  Effect
	slots   chan struct{} // one per call under way
	wait    sync.WaitGroup
	circuit circuit
	bucket  *bucket
	look    int64 // counts rounds; used by run's goroutine only

	mu      sync.Mutex           // guards busy, retries
	busy    map[string]bool      // streams with a call under way
	retries map[string]retryTime // streams whose last call told nothing
}

type retryTime struct {
	at    time.Time
	pause time.Duration
	seen  int64 // the look that last found it pending
}

func newWorker(s *session, effect Effect) *worker {
	effect = effect.withDefaults()
	return &worker{
		session: s, effect: effect, slots: make(chan struct{}, effect.Concurrency),
		circuit: circuit{failures: effect.Failures, cooldown: effect.Cooldown},
		bucket:  newBucket(effect.Rate, effect.Concurrency, s.now), busy: map[string]bool{}, retries: map[string]retryTime{},
	}
}

// run looks for pending intents whenever something was folded, until ctx ends.
func (w *worker) run(ctx context.Context) {
	defer w.wait.Wait()
	ticker := time.NewTicker(effectPause)
	defer ticker.Stop()
	for {
		_, changed := w.session.folded.now()
		w.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

// round walks over all pending intents once and starts a call for each that has none
// under way, as the circuit, the rate and the slots allow.
func (w *worker) round(ctx context.Context) {
	w.look++
	for after := ""; ctx.Err() == nil; {
		tx := w.session.core.Database().Begin()
		page := w.effect.Pending(tx, after, effectPage)
		err := tx.Err()
		tx.Discard()
		if err != nil {
			w.session.fail(err)
			return
		}
		for _, intent := range page {
			after = intent.Stream
			if !w.due(intent.Stream) {
				continue
			}
			if !w.circuit.allow(w.session.now()) {
				return
			}
			select {
			case w.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if !w.bucket.take(ctx) {
				<-w.slots
				return
			}
			w.start(ctx, intent)
		}
		if len(page) < effectPage {
			w.forget()
			return
		}
	}
}

// due reports whether a stream's call may be made now.
func (w *worker) due(stream string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	retry, waiting := w.retries[stream]
	if waiting {
		retry.seen = w.look
		w.retries[stream] = retry
	}
	return !w.busy[stream] && (!waiting || !w.session.now().Before(retry.at))
}

// forget drops the pauses of streams that a whole look did not find pending.
func (w *worker) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for stream, retry := range w.retries {
		if retry.seen != w.look && !w.busy[stream] {
			delete(w.retries, stream)
		}
	}
}

// start makes one call in a goroutine of its own, which ends with the call or with ctx.
func (w *worker) start(ctx context.Context, intent Intent) {
	w.mu.Lock()
	w.busy[intent.Stream] = true
	w.mu.Unlock()
	w.wait.Go(func() {
		defer func() { <-w.slots }()
		callCtx, cancel := context.WithTimeout(ctx, w.effect.Timeout)
		outcome, err := w.effect.Call(callCtx, intent)
		cancel()
		w.circuit.report(err == nil, w.session.now())
		if err != nil {
			w.session.counts.callsFailed.Add(1)
			w.session.logger.Debug("call failed", "effect", w.effect.Name, "stream", intent.Stream, "err", err)
			w.finish(intent.Stream, true)
			return
		}
		w.session.counts.calls.Add(1)
		w.settle(intent, outcome)
	})
}

// settle hands the outcome to the stream's lane and waits until it is in the state, so
// that the next look at the intents does not find it pending.
func (w *worker) settle(intent Intent, outcome event.Event) {
	in := intent.Cause
	in.Topic, in.Partition, in.Offset, in.Version = "", -1, -1, -1
	in.Stream, in.Type, in.Data = intent.Stream, outcome.EventType(), outcome
	finished := make(chan bool, 1)
	w.session.lanes.add(intent.Stream, task{
		input: Input{Recorded: in, Outcome: true},
		done:  func(result Result, err error) { finished <- err != nil || !result.Wrote },
	})
	// An outcome that led to nothing was overtaken by another fact; what is pending now
	// is tried after a pause.
	w.finish(intent.Stream, <-finished)
}

func (w *worker) finish(stream string, again bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, stream)
	if !again {
		delete(w.retries, stream)
		return
	}
	retry := w.retries[stream]
	retry.pause = min(max(2*retry.pause, effectPause), effectPauseMax)
	retry.at = w.session.now().Add(retry.pause)
	w.retries[stream] = retry
}

// A bucket lets rate calls pass in a second, and at most burst at once. One goroutine takes.
type bucket struct {
	now   func() time.Time
	each  time.Duration // time that one call is worth
	burst int
	free  time.Time // when everything let through so far is paid for
}

func newBucket(rate, burst int, now func() time.Time) *bucket {
	return &bucket{now: now, each: time.Second / time.Duration(rate), burst: burst}
}

// take waits for its turn, and reports false when ctx ended first.
func (b *bucket) take(ctx context.Context) bool {
	now := b.now()
	if earliest := now.Add(-time.Duration(b.burst) * b.each); b.free.Before(earliest) {
		b.free = earliest
	}
	b.free = b.free.Add(b.each)
	wait := b.free.Sub(now)
	if wait <= 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// A circuit keeps calls away from a side that fails: after some failures in a row it
// opens, and then lets one call try in each cooldown until one succeeds.
type circuit struct {
	failures int
	cooldown time.Duration

	mu     sync.Mutex // guards inRow, until
	inRow  int
	until  time.Time
	trying bool
}

func (c *circuit) allow(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inRow < c.failures {
		return true
	}
	if c.trying || now.Before(c.until) {
		return false
	}
	c.trying = true
	return true
}

func (c *circuit) report(ok bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trying = false
	if ok {
		c.inRow = 0
		return
	}
	c.inRow++
	c.until = now.Add(c.cooldown)
}

func (c *circuit) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inRow >= c.failures
}
