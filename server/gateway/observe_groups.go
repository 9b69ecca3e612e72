package gateway

import (
	"context"

	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/group"
)

// Clients name groups as they like and a topic may have thousands of partitions: beyond these numbers a node leaves
// series out, and says how many.
const (
	maxGroups          = 2_000  // whose members are told
	maxGroupTopics     = 5_000  // pairs of a group and a topic, whose lag is told
	maxGroupPartitions = 20_000 // of all these, whose offsets and lag are told one by one
)

// A groupTally tells the series of groups and counts what may still be told.
type groupTally struct {
	tell                         metrics.Tell
	desc                         *descs
	groups, topics, partitions   int // how many more may be told
	groupsLeftOut, topicsLeftOut int
	partitionsLeftOut            int
}

// A committed is how far a group has come in a partition.
type committed struct {
	partition int32
	offset    record.Offset
	lag       int64 // records, at least 0
}

func newGroupTally(tell metrics.Tell, desc *descs) *groupTally {
	return &groupTally{tell: tell, desc: desc, groups: maxGroups, topics: maxGroupTopics, partitions: maxGroupPartitions}
}

// admit reports whether one more group may be told.
func (t *groupTally) admit() bool {
	if t.groups == 0 {
		t.groupsLeftOut++
		return false
	}
	t.groups--
	return true
}

// topic tells of what a group has committed in a topic. Its partitions are told all or not at all, so that their sum
// is never less than it should be.
func (t *groupTally) topic(name, topic string, offsets []committed) {
	if t.topics == 0 {
		t.topicsLeftOut++
		t.partitionsLeftOut += len(offsets)
		return
	}
	t.topics--
	var sum, most int64
	for _, c := range offsets {
		sum, most = sum+c.lag, max(most, c.lag)
	}
	t.tell(t.desc.groupLag, float64(sum), name, topic)
	t.tell(t.desc.groupLagMax, float64(most), name, topic)
	if len(offsets) > t.partitions {
		t.partitionsLeftOut += len(offsets)
		return
	}
	t.partitions -= len(offsets)
	for _, c := range offsets {
		partition := number(c.partition)
		t.tell(t.desc.groupCommitted, float64(c.offset), name, topic, partition)
		t.tell(t.desc.exporterGroupOffset, float64(c.offset), name, topic, partition)
		t.tell(t.desc.exporterGroupLag, float64(c.lag), name, topic, partition)
	}
}

// end tells what was left out.
func (t *groupTally) end() {
	t.tell(t.desc.groupLeftOut, float64(t.groupsLeftOut), "group")
	t.tell(t.desc.groupLeftOut, float64(t.topicsLeftOut), "topic")
	t.tell(t.desc.groupLeftOut, float64(t.partitionsLeftOut), "partition")
}

// groups tells of the groups that this node coordinates, in the order of their names. The lag is that behind the high
// watermarks as they are known here, where other nodes may lead.
func (o *observer) groups(tell metrics.Tell) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	answer, err := o.broker.Group(ctx, "", &group.List{})
	listing, ok := answer.(*group.Listing)
	if err != nil || !ok || listing == nil {
		return
	}
	tally := newGroupTally(tell, &o.desc)
	for _, listed := range listing.Groups {
		if ctx.Err() != nil {
			return
		}
		if tally.admit() {
			o.group(ctx, tally, listed.Group)
		}
	}
	tally.end()
}

func (o *observer) group(ctx context.Context, tally *groupTally, name string) {
	if answer, err := o.broker.Group(ctx, name, &group.Describe{Group: name}); err == nil {
		if description, ok := answer.(*group.Description); ok && description != nil {
			tally.tell(o.desc.groupMembers, float64(len(description.Members)), name)
			tally.tell(o.desc.exporterMembers, float64(len(description.Members)), name)
		}
	}
	answer, err := o.broker.Group(ctx, name, &group.OffsetFetch{Group: name, All: true})
	offsets, ok := answer.(*group.FetchResult)
	if err != nil || !ok || offsets == nil {
		return
	}
	for _, topic := range offsets.Topics {
		known := o.broker.View().TopicByName(topic.Name)
		if known == nil {
			continue
		}
		var all []committed
		for _, p := range topic.Partitions {
			if _, next, ok := o.offsets(known, p.Index); ok && p.Offset >= 0 {
				all = append(all, committed{partition: p.Index, offset: p.Offset, lag: max(0, int64(next-p.Offset))})
			}
		}
		if len(all) > 0 {
			tally.topic(name, topic.Name, all)
		}
	}
}
