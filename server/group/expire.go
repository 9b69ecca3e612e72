package group

import (
	"maps"
	"slices"
	"time"
)

// checkedGroups is how many groups are looked through for old offsets before others may have their turn.
const checkedGroups = 500

// A retentionCheck is where the search for old offsets stands.
type retentionCheck struct {
	next time.Time
	rest []string // groups still to be looked at in this round
}

// due returns when the search goes on.
func (c *retentionCheck) due() time.Time {
	if len(c.rest) > 0 {
		return time.Time{}.Add(1) // at once
	}
	return c.next
}

// expireOffsets forgets offsets that were kept long enough, and groups of which nothing is left then.
func (m *Machine) expireOffsets(now time.Time) {
	c := &m.check
	if len(c.rest) == 0 {
		if now.Before(c.next) {
			return
		}
		c.next = now.Add(m.config.RetentionCheckInterval)
		c.rest = slices.Sorted(maps.Keys(m.groups))
	}
	n := min(checkedGroups, len(c.rest))
	for _, id := range c.rest[:n] {
		if e := m.groups[id]; e != nil {
			m.expireGroup(now, id, e)
		}
	}
	c.rest = c.rest[n:]
}

// expireGroup follows Kafka's KIP-211: offsets of a group without members are kept from the moment on
// at which it lost the last one, those of topics that nobody consumes any more and those of clients that manage
// no group from their commit on.
func (m *Machine) expireGroup(now time.Time, id string, e *entry) {
	empty := e.live == nil || e.live.state == StateEmpty
	sinceMs, protocolType := int64(-1), ""
	switch {
	case e.live != nil:
		sinceMs, protocolType = e.live.since.UnixMilli(), e.live.protocolType
	case e.stored != nil:
		sinceMs, protocolType = e.stored.sinceMs, e.stored.protocolType
	}
	var subscribed subscription
	switch {
	case protocolType == "":
		sinceMs = -1
	case empty:
	case protocolType == consumerProtocol && e.live.state == StateStable:
		if subscribed = e.live.subscription(); subscribed.unknown {
			return
		}
		sinceMs = -1
	default:
		return
	}
	left := 0
	var forget []forgetTopic
	for _, name := range slices.Sorted(maps.Keys(e.offsets)) {
		f := forgetTopic{name: name}
		for _, index := range slices.Sorted(maps.Keys(e.offsets[name])) {
			o := e.offsets[name][index]
			if subscribed.has(name) || !o.expired(now.UnixMilli(), sinceMs, m.config.OffsetsRetention) {
				left++
				continue
			}
			f.partitions = append(f.partitions, forgetPartition{index: index, number: o.number, committedMs: o.committedMs})
		}
		if len(f.partitions) > 0 {
			forget = append(forget, f)
		}
	}
	m.emit(forgetRecords(id, forget)...)
	if !empty || left > 0 || e.live != nil && len(e.live.pendingJoin) > 0 {
		return
	}
	if e.stored != nil {
		m.emit(appendDeleteRecord(nil, id, true))
	}
}

// expired reports whether the offset was kept long enough: from since on, or from its commit on when since is negative.
func (o *storedOffset) expired(nowMs, sinceMs int64, retention time.Duration) bool {
	if o.expiresMs >= 0 {
		return nowMs >= o.expiresMs
	}
	if sinceMs < 0 {
		sinceMs = o.committedMs
	}
	return nowMs-sinceMs >= retention.Milliseconds()
}
