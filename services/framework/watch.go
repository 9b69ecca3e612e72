package framework

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stela-db/stela/client"
)

const (
	watchPeriod  = time.Second     // how often the log is asked where it ends
	watchTimeout = 2 * time.Second // of one question
	// patience is how long the log may be silent, and how long the state may be behind it, before
	// a service that had caught up is not ready any more. A change of leader takes less.
	patience = 5 * time.Second
)

// A watch knows when the log last answered and since when the state has been behind it.
// Records that do not arrive cannot tell: an idle log and a log that is away look the same
// to a reader.
type watch struct {
	mu       sync.Mutex // guards all below
	answered time.Time
	end      client.Cut // an end that the state had not come to; nil: it had come to the last one
	since    time.Time  // when that end was seen
}

// observe notes that the log answered where it ends.
func (w *watch) observe(now time.Time, end, folded client.Cut) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = now
	switch {
	case folded.Covers(end):
		w.end = nil
	case w.end == nil || folded.Covers(w.end):
		w.end, w.since = end, now
	}
}

// behind returns for how long the state has been behind the log.
func (w *watch) behind(now time.Time, folded client.Cut) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.end == nil || folded.Covers(w.end) {
		return 0
	}
	return now.Sub(w.since)
}

// check returns nil while the log answers and the state follows it.
func (w *watch) check(now time.Time, folded client.Cut) error {
	w.mu.Lock()
	silent := now.Sub(w.answered)
	w.mu.Unlock()
	if silent > patience {
		return fmt.Errorf("%w: the log has not answered for %.0f s", ErrNotReady, silent.Seconds())
	}
	if behind := w.behind(now, folded); behind > patience {
		return fmt.Errorf("%w: %.0f s behind the log", ErrNotReady, behind.Seconds())
	}
	return nil
}

// watchLog asks where the folded topics end until ctx ends.
func (s *session) watchLog(ctx context.Context) {
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asking, cancel := context.WithTimeout(ctx, watchTimeout)
		end, err := s.client.Cut(asking, s.definition.folds()...)
		cancel()
		if err != nil {
			continue // check tells how long this has been so
		}
		folded, _ := s.folded.now()
		s.log.observe(s.now(), end, folded)
	}
}
