package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/log/record"
)

const (
	// sweepDelay gathers changes of the metadata before deleted topics are looked for.
	sweepDelay = 500 * time.Millisecond
	// cleanTimeout bounds the wait for one proposal of the cleaner.
	cleanTimeout = 10 * time.Second
	// cleanNotes is how many partitions or producers one proposal of the cleaner is about.
	cleanNotes = 512
)

// A cleaner is the goroutine of a node that makes room. On the leader of a shard it decides what is too old or too much
// (retention) and what was deleted, and proposes that; on every node it removes the segments that hold nothing
// live any more.
type cleaner struct {
	broker  *Broker
	changed chan struct{} // of capacity 1: topics were deleted, or this node leads more
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup

	deletions atomic.Uint64 // of the view that was swept last

	live    map[int64]liveProof // by segment: why it could not be removed the last time
	waiting map[*shard]bool     // would perhaps let go of segments if they had a newer snapshot
	needed  int64               // the newest segment that is dead and that Raft may ask for; 0: none
	expiry  time.Time           // when silent producers are looked for next
}

func newCleaner(b *Broker) *cleaner {
	c := &cleaner{broker: b, changed: make(chan struct{}, 1), live: map[int64]liveProof{}, waiting: map[*shard]bool{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// kick makes the cleaner look for deleted topics soon.
func (c *cleaner) kick() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// sweep does so if there are new ones.
func (c *cleaner) sweep() {
	if n := c.broker.View().Deletions(); c.deletions.Swap(n) != n {
		c.kick()
	}
}

func (c *cleaner) start() {
	c.done.Add(1)
	go c.run() // ends at close
}

func (c *cleaner) close() {
	c.cancel()
	c.done.Wait()
}

func (c *cleaner) run() {
	defer c.done.Done()
	every := c.broker.config.Settings.RetentionInterval
	interval, delay := time.NewTimer(every), time.NewTimer(every)
	defer interval.Stop()
	defer delay.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.changed:
			delay.Reset(sweepDelay)
		case <-delay.C:
			c.dropDeleted(c.ctx)
		case <-interval.C:
			c.clean(c.ctx)
			interval.Reset(every)
		}
	}
}

// clean does everything once.
func (c *cleaner) clean(ctx context.Context) {
	c.dropDeleted(ctx)
	c.retain(ctx)
	c.expireProducers(ctx)
	if err := c.removeSegments(); err != nil {
		c.broker.logger.Error("segments cannot be removed", "error", err)
	}
}

// led returns the shards that this node leads.
func (c *cleaner) led() []*shard {
	var led []*shard
	for _, s := range c.broker.dataShards() {
		s.mu.Lock()
		if s.leading && !s.closed {
			led = append(led, s)
		}
		s.mu.Unlock()
	}
	return led
}

// A collection is notes that are proposed when there are enough.
type collection struct {
	shard *shard
	notes []byte
	count int
}

func (c *collection) add(ctx context.Context, appendNote func([]byte) []byte) error {
	c.notes = appendNote(c.notes)
	if c.count++; c.count < cleanNotes {
		return nil
	}
	return c.flush(ctx)
}

func (c *collection) flush(ctx context.Context) error {
	if c.count == 0 {
		return nil
	}
	notes := c.notes
	c.notes, c.count = nil, 0
	bounded, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	return c.shard.proposeWait(bounded, notes)
}

// unlessLost logs an error, unless it says that this node does not lead any more: the next leader will do it.
func (c *cleaner) unlessLost(what string, s *shard, err error) {
	if err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrTimedOut) {
		c.broker.logger.Error(what, "shard", s.id, "error", err)
	}
}

// dropDeleted proposes to drop the partitions of deleted topics.
func (c *cleaner) dropDeleted(ctx context.Context) {
	view := c.broker.View()
	for _, s := range c.led() {
		var gone []record.Partition
		rows, scanError := c.broker.config.Index.Scan(s.id, []byte{rowPartition})
		for key, value := range rows {
			row, err := parsePartitionRow(value)
			if id, ok := parsePartitionKey(key); ok && err == nil && !row.dropped && view.Gone(id) {
				gone = append(gone, id)
			}
		}
		err := scanError()
		notes := collection{shard: s}
		for _, id := range gone {
			if err == nil {
				err = notes.add(ctx, func(b []byte) []byte { return appendDrop(b, id) })
			}
		}
		if err == nil {
			err = notes.flush(ctx)
		}
		c.unlessLost("deleted topics cannot be dropped", s, err)
	}
}
