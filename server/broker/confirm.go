package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stela-db/stela/log/record"
)

// confirmTimeout bounds one question to a majority.
const confirmTimeout = 5 * time.Second

// A confirmer asks a majority whether this node still leads a shard. A leader that was
// deposed does not know it at once; what it would say of the newest version of a stream, or refuse because of
// what it holds, may be old. Whoever asks while a question is under way shares the next one.
type confirmer struct {
	mu      sync.Mutex // guards the fields below
	next    *confirmation
	running bool
}

type confirmation struct {
	done chan struct{} // closed when err is set
	err  error
}

// confirm returns nil when, after it was called, this node was still in the same reign as then; ErrNotLeader otherwise.
func (s *shard) confirm(ctx context.Context, reign uint64) error {
	c := &s.confirmer
	s.mu.Lock()
	if s.closed || !s.leading || s.reign != reign {
		s.mu.Unlock()
		return ErrNotLeader
	}
	c.mu.Lock()
	if c.next == nil {
		c.next = &confirmation{done: make(chan struct{})}
	}
	mine := c.next
	if !c.running {
		c.running = true
		s.pipeline.running.Add(1)
		go s.confirmAll() // ends when nobody asks any more
	}
	c.mu.Unlock()
	s.mu.Unlock()
	select {
	case <-mine.done:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrTimedOut, ctx.Err())
	}
	if mine.err != nil {
		return fmt.Errorf("%w: %w", ErrNotLeader, mine.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leading || s.reign != reign {
		return ErrNotLeader
	}
	return nil
}

// confirmAll answers confirmations, one after the other.
func (s *shard) confirmAll() {
	defer s.pipeline.running.Done()
	c := &s.confirmer
	for {
		c.mu.Lock()
		asked := c.next
		c.next = nil
		if asked == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		asked.err = s.group.VerifyLeader(ctx)
		cancel()
		close(asked.done)
	}
}

// leadership returns the epoch and the reign in which this node leads the partition, or ErrNotLeader.
func (p *partitionState) leadership() (record.Term, uint64, error) {
	s := p.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leading || s.closed {
		return 0, 0, ErrNotLeader
	}
	return s.term, s.reign, nil
}
