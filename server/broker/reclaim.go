package broker

import (
	"errors"
	"fmt"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

// A liveProof is a partition that still needs a segment.
type liveProof struct {
	state *partitionState
	next  record.Offset
}

const (
	// nearSegments before the present one stay what Raft keeps at hand: a follower that is away for a moment needs them.
	nearSegments = 4
	// windowSegments is how many segments before the present one a start may have to read for a shard's window.
	windowSegments = 64
)

// removeSegments removes the sealed segments that hold nothing live. Shards that hold on to one only because of
// entries that a snapshot would cover are compacted, and then it looks again.
func (c *cleaner) removeSegments() error {
	active := c.broker.config.Log.Active()
	c.compact(active - windowSegments)
	clear(c.waiting)
	c.needed = 0
	if err := c.removeDead(); err != nil || len(c.waiting) == 0 && c.needed == 0 {
		return err
	}
	for s := range c.waiting {
		if err := s.group.Snapshot(); err != nil {
			c.notCompacted(s.id, err)
		}
	}
	c.compact(min(c.needed, active-nearSegments))
	clear(c.waiting)
	return c.removeDead()
}

// compact has all shards, the metadata's too, let go of the segments up to that number.
func (c *cleaner) compact(segment int64) {
	if segment <= 0 {
		return
	}
	for id := range record.Shard(c.broker.config.Replication.Shards() + 1) {
		if err := c.broker.config.Replication.Group(id).Compact(segment); err != nil {
			c.notCompacted(id, err)
		}
	}
}

func (c *cleaner) notCompacted(id record.Shard, err error) {
	c.broker.logger.Debug("shard is not compacted", "shard", id, "error", err) // it restarts, replays, or ends
}

func (c *cleaner) removeDead() error {
	segments := c.broker.config.Log.Segments()
	for _, segment := range segments {
		if !segment.Sealed || segment.Void { // nobody knows what is in what cannot be read
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
			c.needed = segment.Number
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
	if proof, ok := c.live[number]; ok && c.needs(proof.state, proof.next) {
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
			if c.needs(p, sum.NextOffset) {
				c.live[number] = liveProof{p, sum.NextOffset}
				return false, nil
			}
		}
	}
	return true, nil
}

// sums makes the sums of a segment that has none in the index. Those that a restart interrupted are kept.
func (c *cleaner) sums(s *shard, number int64) ([]index.SegmentPartition, error) {
	value, ok, err := c.broker.config.Index.Get(s.id, segmentKey(number))
	if err != nil {
		return nil, err
	}
	if !ok {
		return s.sumUpUnknown(number)
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

// needs reports whether records of a partition before an offset are live, or were until not long
// ago: the newest snapshot, which a rebuild would begin with, must know that they are not.
func (c *cleaner) needs(p *partitionState, next record.Offset) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil && !errors.Is(err, ErrUnknownTopicOrPartition) {
		return true
	}
	if p.row.start < next {
		return true
	}
	if p.row.entry <= p.shard.group.SnapshotIndex() {
		return false
	}
	c.waiting[p.shard] = true
	return true
}
