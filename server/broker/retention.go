package broker

import (
	"context"
	"time"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// expiryFraction: silent producers are looked for that many times in the time that they are kept.
const expiryFraction = 24

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
		runs, err := c.broker.config.Index.Runs(p.id, start, 1, nil)
		if err != nil || len(runs) == 0 {
			return -1, err
		}
		fresh := cleaningPartition{reign: reign, oldest: runs[0].MaxTimestamp, begin: start, through: start}
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
