package bench

import (
	"context"
	"time"
)

// A schedule says when each record is meant to be sent. With a rate the times are
// fixed before the first record goes, whatever the server does: a record that goes
// late, since the server held up those before it, is late from its own time on
// (no coordinated omission).
type schedule struct {
	began time.Time
	rate  int // records a second; 0: each as soon as the client takes it
}

// due returns when record number i, from 0, is meant to be sent.
func (s schedule) due(i int64) time.Time {
	seconds, rest := i/int64(s.rate), i%int64(s.rate)
	return s.began.Add(time.Duration(seconds)*time.Second + time.Duration(rest)*time.Second/time.Duration(s.rate))
}

// wait returns when record i is due, or at once when that has passed, and with the time from
// which its latency counts.
func (s schedule) wait(ctx context.Context, i int64) (time.Time, error) {
	if s.rate == 0 {
		return time.Now(), ctx.Err()
	}
	due := s.due(i)
	return due, pause(ctx, time.Until(due))
}

// pause waits for so long or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
