package gateway

import (
	"context"
	"sync"
)

// A budget is the memory that all requests, or all answers, share.
type budget struct {
	mu      sync.Mutex // guards free and changed
	free    int64      // bytes
	changed chan struct{}
}

func newBudget(n int64) *budget {
	return &budget{free: n, changed: make(chan struct{})}
}

// take waits until n bytes are free or ctx ends.
func (b *budget) take(ctx context.Context, n int64) error {
	for {
		b.mu.Lock()
		if b.free >= n {
			b.free -= n
			b.mu.Unlock()
			return nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryTake takes n bytes if they are free.
func (b *budget) tryTake(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free < n {
		return false
	}
	b.free -= n
	return true
}

// give returns n bytes that were taken.
func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	close(b.changed)
	b.changed = make(chan struct{})
}
