package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

const (
	// sweepDelay gathers changes of the metadata before deleted topics are looked for.
	sweepDelay = 500 * time.Millisecond
	// cleanTimeout bounds the wait for one proposal of the cleaner.
	cleanTimeout = 10 * time.Second
	// cleanNotes is how many partitions or producers one proposal of the cleaner is about.
	cleanNotes = 512
	// expiryFraction: silent producers are looked for that many times in the time that they are kept.
	expiryFraction = 24
)

// A cleaner is the goroutine of a node that makes room. On the leader of a shard it decides what is too old or too much
// (retention) and what was deleted, and proposes that; on every node it removes the segments that hold nothing
// live any more.
type cleaner struct {
	broker  *Broker
	kicked  chan struct{} // of capacity 1: do everything now
	changed chan struct{} // of capacity 1: the metadata changed
	stop    chan struct{}
	done    sync.WaitGroup

	deletions atomic.Uint64 // of the view that was swept last

	live   map[int64]liveProof // by segment: why it could not be removed the last time
	expiry time.Time           // when silent producers are looked for next
}

// A liveProof is a partition that still needs a segment.
type liveProof struct {
	state *partitionState
	next  record.Offset
}

// A cleaningPartition is what the cleaner remembers of a partition while its node leads it.
type cleaningPartition struct {
	reign   uint64
	oldest  int64         // running maximum of timestamps at the first run, ms; valid while begin is the log start
	begin   record.Offset // of what is summed up
	through record.Offset // end of what is summed up
	bytes   int64

	proposed record.Offset // the last begin that was proposed because of the bytes, and what is left then
	left     int64
}

func newCleaner(b *Broker) *cleaner {
	return &cleaner{
		broker: b, kicked: make(chan struct{}, 1), changed: make(chan struct{}, 1), stop: make(chan struct{}),
		live: map[int64]liveProof{},
	}
}

// kick makes the cleaner look at everything soon.
func (c *cleaner) kick() { notify(c.kicked) }

// sweep makes the cleaner look for deleted topics soon, if there are new ones.
func (c *cleaner) sweep() {
	if n := c.broker.View().Deletions(); c.deletions.Swap(n) != n {
		notify(c.changed)
	}
}

func notify(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

func (c *cleaner) start() {
	c.done.Add(1)
	go c.run() // ends at close
}

func (c *cleaner) close() {
	close(c.stop)
	c.done.Wait()
}

func (c *cleaner) run() {
	defer c.done.Done()
	interval := time.NewTimer(c.broker.config.Settings.RetentionInterval)
	defer interval.Stop()
	delay := time.NewTimer(time.Hour)
	delay.Stop()
	defer delay.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with run
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-c.stop:
			return
		case <-c.changed:
			delay.Reset(sweepDelay)
		case <-c.kicked:
			delay.Reset(sweepDelay)
		case <-delay.C:
			c.dropDeleted(ctx)
		case <-interval.C:
			c.clean(ctx)
			interval.Reset(c.broker.config.Settings.RetentionInterval)
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

// retain proposes new begins for the partitions whose topics keep less than there is.
func (c *cleaner) retain(ctx context.Context) {
	now := time.Now().UnixMilli()
	led := c.led()
	if len(led) == 0 {
		return
	}
	notes := map[record.Shard]*collection{}
	for _, s := range led {
		notes[s.id] = &collection{shard: s}
	}
	for topic := range c.broker.View().Topics() {
		options := &topic.Options
		if options.EventStore || !options.Delete || options.RetentionMs < 0 && options.RetentionBytes < 0 {
			continue
		}
		for i := range topic.Partitions {
			list := notes[topic.Partitions[i].Shard]
			if list == nil || ctx.Err() != nil {
				continue
			}
			p := c.broker.states.get(topic.Partitions[i].Partition, list.shard)
			start, err := c.newStart(p, topic, now)
			if err == nil && start >= 0 {
				err = list.add(ctx, func(b []byte) []byte { return appendLogStart(b, p.id, start) })
			}
			if err != nil {
				c.unlessLost("retention failed", list.shard, err)
			}
		}
	}
	for _, list := range notes {
		c.unlessLost("retention failed", list.shard, list.flush(ctx))
	}
}

// newStart returns where a partition should begin, or -1 when it begins there already.
func (c *cleaner) newStart(p *partitionState, topic *meta.Topic, now int64) (record.Offset, error) {
	start, next, err := p.bounds()
	if err != nil || start == next {
		return -1, err
	}
	k := &p.cleaning
	p.shard.mu.Lock()
	reign := p.shard.reign
	p.shard.mu.Unlock()
	if k.reign != reign || k.begin != start {
		run, ok, err := c.broker.config.Index.FirstRun(p.id)
		if err != nil || !ok {
			return -1, err
		}
		fresh := cleaningPartition{reign: reign, oldest: run.MaxTimestamp, begin: start, through: start}
		if k.reign == reign && k.proposed == start {
			fresh.through, fresh.bytes = k.through, k.left
		}
		*k = fresh
	}
	wanted := start
	if ms := topic.Options.RetentionMs; ms >= 0 && k.oldest >= 0 && k.oldest < now-ms {
		run, ok, err := c.broker.config.Index.RunAtTime(p.id, now-ms)
		switch {
		case err != nil:
			return -1, err
		case ok:
			wanted = max(wanted, run.First)
		default:
			wanted = next
		}
	}
	if limit := topic.Options.RetentionBytes; limit >= 0 {
		at, err := c.startForBytes(p, next, limit)
		if err != nil {
			return -1, err
		}
		wanted = max(wanted, at)
	}
	if wanted == start {
		return -1, nil
	}
	return wanted, nil
}

// startForBytes returns where a partition should begin so that what is left is at least limit bytes and as little as that allows.
func (c *cleaner) startForBytes(p *partitionState, next record.Offset, limit int64) (record.Offset, error) {
	k := &p.cleaning
	var runs []index.Run
	for k.through < next {
		var err error
		if runs, err = c.broker.config.Index.Runs(p.id, k.through, cleanNotes, runs[:0]); err != nil {
			return 0, err
		}
		if len(runs) == 0 {
			break
		}
		for i := range runs {
			k.bytes += int64(runs[i].Bytes)
		}
		k.through = runs[len(runs)-1].Last + 1
	}
	at, left := k.begin, k.bytes
	for left > limit {
		var err error
		if runs, err = c.broker.config.Index.Runs(p.id, at, cleanNotes, runs[:0]); err != nil || len(runs) == 0 {
			return at, err
		}
		for i := range runs {
			if left-int64(runs[i].Bytes) < limit {
				k.proposed, k.left = at, left
				return at, nil
			}
			left -= int64(runs[i].Bytes)
			at = runs[i].Last + 1
		}
	}
	return at, nil
}

// expireProducers proposes to forget idempotent producers that were silent for long.
func (c *cleaner) expireProducers(ctx context.Context) {
	now, after := time.Now(), c.broker.config.Settings.ProducerExpiry
	if now.Before(c.expiry) {
		return
	}
	c.expiry = now.Add(after / expiryFraction)
	limit := now.Add(-after).UnixMilli()
	for _, s := range c.led() {
		type silent struct {
			key  producerKey
			last int64
		}
		var found []silent
		rows, scanError := c.broker.config.Index.Scan(s.id, []byte{rowProducer})
		for key, value := range rows {
			state, err := parseProducerState(value)
			if k, ok := parseProducerRow(key); ok && err == nil && state.time < limit {
				found = append(found, silent{k, state.time})
			}
		}
		err := scanError()
		notes := collection{shard: s}
		for _, f := range found {
			if err == nil {
				err = notes.add(ctx, func(b []byte) []byte { return appendExpire(b, f.key, f.last) })
			}
		}
		if err == nil {
			err = notes.flush(ctx)
		}
		c.unlessLost("silent producers cannot be forgotten", s, err)
	}
}

// removeSegments removes the sealed segments that hold nothing live.
func (c *cleaner) removeSegments() error {
	segments := c.broker.config.Log.Segments()
	for _, segment := range segments {
		if !segment.Sealed {
			continue
		}
		dead, err := c.isDead(segment.Number)
		if err != nil {
			return err
		}
		if !dead {
			continue
		}
		switch err := c.broker.config.Log.Remove(segment.Number); {
		case errors.Is(err, log.ErrNeeded):
		case err != nil:
			return err
		default:
			c.forget(segment.Number)
			c.broker.logger.Info("segment removed", "segment", segment.Number, "bytes", segment.Bytes)
		}
	}
	return nil
}

// forget removes what is known of a segment that is gone.
func (c *cleaner) forget(number int64) {
	delete(c.live, number)
	for _, s := range c.broker.dataShards() {
		if err := s.machine.update(func(b *index.Batch) { b.PutSegment(s.id, number, nil) }); err != nil {
			c.broker.logger.Warn("row of a removed segment stays", "segment", number, "error", err)
		}
	}
}

// isDead reports whether no shard has anything live in a segment.
func (c *cleaner) isDead(number int64) (bool, error) {
	if proof, ok := c.live[number]; ok && proof.state.needs(proof.next) {
		return false, nil
	}
	rows, err := c.broker.config.Index.Segment(number)
	if err != nil {
		return false, err
	}
	for _, s := range c.broker.dataShards() {
		if s.machine.segment.number.Load() == number {
			return false, nil // sums are still being made
		}
		sums, ok := rows[s.id]
		if !ok {
			if sums, err = c.sums(s, number); err != nil {
				return false, err
			}
		}
		for _, sum := range sums {
			p := c.broker.states.get(sum.Partition, s)
			if p.needs(sum.NextOffset) {
				c.live[number] = liveProof{p, sum.NextOffset}
				return false, nil
			}
		}
	}
	return true, nil
}

// sums makes the sums of a segment in which a restart interrupted them, and keeps them.
func (c *cleaner) sums(s *shard, number int64) ([]index.SegmentPartition, error) {
	value, ok, err := c.broker.config.Index.Get(s.id, segmentKey(number))
	if err != nil || !ok {
		return nil, err
	}
	since, err := parseIndex(value)
	if err != nil {
		return nil, err
	}
	sums, err := s.sumUp(number, since)
	if err != nil {
		return nil, fmt.Errorf("shard %d: %w", s.id, err)
	}
	return sums, s.machine.update(func(b *index.Batch) {
		b.PutSegment(s.id, number, sums)
		b.Delete(s.id, segmentKey(number))
	})
}

// needs reports whether records before an offset are live, or were until not long
// ago: the newest snapshot, which a rebuild would begin with, must know that they are not.
func (p *partitionState) needs(next record.Offset) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil && !errors.Is(err, ErrUnknownTopicOrPartition) {
		return true
	}
	first := p.shard.broker.config.Log.Shard(p.shard.id).First()
	return p.row.start < next || first != 0 && p.row.entry >= first
}
