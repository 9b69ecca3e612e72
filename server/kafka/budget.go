package kafka

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errBudget = errors.New("no memory is left for it")

// budget is a number of bytes that is shared by all connections: first come, first served.
type budget struct {
	mu      sync.Mutex // guards left and waiting
	left    int64
	waiting []*claim
}

type claim struct {
	bytes   int64
	granted chan struct{} // closed under the budget's mutex
}

func newBudget(total int64) *budget { return &budget{left: total} }

// try takes bytes if they are there and nobody waits.
func (b *budget) try(bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 || b.left < bytes {
		return false
	}
	b.left -= bytes
	return true
}

// take takes bytes, waiting up to patience for them. It must not ask for more than the whole.
func (b *budget) take(ctx context.Context, bytes int64, patience time.Duration) error {
	if b.try(bytes) {
		return nil
	}
	mine := &claim{bytes: bytes, granted: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, mine)
	b.grant()
	b.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	err := errBudget
	select {
	case <-mine.granted:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, c := range b.waiting {
		if c == mine {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.grant()
			return err
		}
	}
	return nil // granted in the meantime
}

// give returns bytes.
func (b *budget) give(bytes int64) {
	b.mu.Lock()
	b.left += bytes
	b.grant()
	b.mu.Unlock()
}

// grant serves those who wait, in order. Called with the mutex held.
func (b *budget) grant() {
	for len(b.waiting) > 0 && b.waiting[0].bytes <= b.left {
		b.left -= b.waiting[0].bytes
		close(b.waiting[0].granted)
		b.waiting = b.waiting[1:]
	}
}
