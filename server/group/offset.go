package group

import (
	"maps"
	"slices"
	"time"

	"github.com/stela-db/stela/log/record"
)

// A storedOffset is one committed offset. It is replicated and never changed, only replaced.
type storedOffset struct {
	number      record.Partition // of the partition within the cluster
	offset      record.Offset
	leaderEpoch int32
	metadata    string
	committedMs int64
	expiresMs   int64 // when the commit itself said so; -1: the configured retention
}

// checkCommit returns why offsets may not be committed, or nil.
func (m *Machine) checkCommit(r *OffsetCommit) error {
	e := m.groups[r.Group]
	if e == nil {
		switch {
		case r.Generation < 0:
			if len(m.groups) >= m.config.MaxGroups {
				return ErrTooManyGroups
			}
			return nil // of a client that manages no group: such a group is just its offsets
		case r.ReportsGroupNotFound:
			return ErrGroupNotFound
		default:
			return ErrIllegalGeneration
		}
	}
	l := e.live
	empty := l == nil || l.state == StateEmpty
	if r.Generation < 0 && empty {
		return nil
	}
	if r.Generation < 0 && r.MemberID == "" && r.InstanceID == "" || empty {
		// Either a stranger would move the offsets of members, or someone thinks that it is one.
		return ErrUnknownMember
	}
	if err := l.check(r.MemberID, r.InstanceID); err != nil {
		return err
	}
	switch {
	case r.Generation != l.generation:
		return ErrIllegalGeneration
	case l.state == StateCompletingRebalance:
		return ErrRebalanceInProgress
	default:
		return nil
	}
}

func (m *Machine) commitOffsets(now time.Time, r *OffsetCommit) (*CommitResult, error) {
	if err := m.checkCommit(r); err != nil {
		return nil, err
	}
	if e := m.groups[r.Group]; e != nil && e.live != nil {
		if member := e.live.members[r.MemberID]; member != nil {
			m.alarms.set(member.session, now.Add(member.sessionTimeout))
		}
	}
	expiresMs := int64(-1)
	if r.Retention >= 0 {
		expiresMs = now.Add(r.Retention).UnixMilli()
	}
	result := &CommitResult{Topics: make([]CommitTopicResult, len(r.Topics))}
	accepted := make([]CommitTopic, 0, len(r.Topics))
	for i, topic := range r.Topics {
		answer := &result.Topics[i]
		*answer = CommitTopicResult{Name: topic.Name, Partitions: make([]CommitPartitionResult, len(topic.Partitions))}
		kept := CommitTopic{Name: topic.Name}
		for j, p := range topic.Partitions {
			answer.Partitions[j].Index = p.Index
			if len(p.Metadata) > m.config.MaxOffsetMetadataBytes {
				answer.Partitions[j].Err = ErrOffsetMetadataTooLarge
				continue
			}
			kept.Partitions = append(kept.Partitions, p)
		}
		if len(kept.Partitions) > 0 {
			accepted = append(accepted, kept)
		}
	}
	if len(accepted) == 0 {
		return result, nil
	}
	entry := appendOffsetsRecord(nil, r.Group, now.UnixMilli(), expiresMs, accepted)
	if len(entry) > m.config.MaxGroupBytes {
		return nil, ErrGroupTooLarge
	}
	m.emit(entry)
	return result, nil
}

func (m *Machine) fetchOffsets(r *OffsetFetch) *FetchResult {
	var offsets map[string]map[int32]*storedOffset
	if e := m.groups[r.Group]; e != nil {
		offsets = e.offsets
	}
	topics := r.Topics
	if r.All {
		topics = nil
		for _, name := range slices.Sorted(maps.Keys(offsets)) {
			topics = append(topics, FetchTopic{Name: name, Partitions: slices.Sorted(maps.Keys(offsets[name]))})
		}
	}
	result := &FetchResult{Topics: make([]FetchTopicResult, len(topics))}
	for i, topic := range topics {
		answer := &result.Topics[i]
		*answer = FetchTopicResult{Name: topic.Name, Partitions: make([]FetchPartitionResult, len(topic.Partitions))}
		for j, index := range topic.Partitions {
			answer.Partitions[j] = FetchPartitionResult{Index: index, Offset: -1, LeaderEpoch: -1}
			if o := offsets[topic.Name][index]; o != nil {
				answer.Partitions[j] = FetchPartitionResult{
					Index: index, Number: o.number, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata,
				}
			}
		}
	}
	return result
}

func (m *Machine) deleteOffsets(r *OffsetDelete) (*CommitResult, error) {
	if r.Group == "" {
		return nil, ErrInvalidGroupID
	}
	e := m.groups[r.Group]
	if e == nil {
		return nil, ErrGroupNotFound
	}
	var subscribed subscription
	if l := e.live; l != nil {
		if l.state != StateEmpty && l.protocolType != consumerProtocol {
			return nil, ErrNonEmptyGroup
		}
		subscribed = l.subscription()
	}
	result := &CommitResult{Topics: make([]CommitTopicResult, len(r.Topics))}
	forget := make([]forgetTopic, 0, len(r.Topics))
	for i, topic := range r.Topics {
		answer := &result.Topics[i]
		*answer = CommitTopicResult{Name: topic.Name, Partitions: make([]CommitPartitionResult, len(topic.Partitions))}
		f := forgetTopic{name: topic.Name}
		for j, index := range topic.Partitions {
			answer.Partitions[j].Index = index
			if subscribed.has(topic.Name) {
				answer.Partitions[j].Err = ErrSubscribedToTopic
			} else {
				f.partitions = append(f.partitions, forgetPartition{index: index, any: true})
			}
		}
		if len(f.partitions) > 0 {
			forget = append(forget, f)
		}
	}
	m.emit(forgetRecords(r.Group, forget)...)
	return result, nil
}

func (m *Machine) deleteGroup(r *Delete) error {
	e := m.groups[r.Group]
	if e == nil {
		return ErrGroupNotFound
	}
	if l := e.live; l != nil {
		if l.state != StateEmpty {
			return ErrNonEmptyGroup
		}
		m.at(time.Time{}, l).dismiss(e)
	}
	m.emit(appendDeleteRecord(nil, r.Group, false))
	return nil
}

// dismiss drops the live form of an empty group that is about to be deleted. Those who were
// given a member id and have not joined yet will learn that nobody knows them.
func (t turn) dismiss(e *entry) {
	for id := range t.live.pendingJoin {
		t.dropPending(id)
	}
	if t.live.unstored == 0 {
		t.live.bytes.clear()
		e.live = nil
		t.sweep(t.live.id, e)
	}
}

func (m *Machine) forgetPartitions(r *ForgetPartitions) {
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		offsets := m.groups[id].offsets
		var forget []forgetTopic
		for _, name := range slices.Sorted(maps.Keys(offsets)) {
			f := forgetTopic{name: name}
			for _, index := range slices.Sorted(maps.Keys(offsets[name])) {
				if o := offsets[name][index]; r.Gone(o.number) {
					f.partitions = append(f.partitions, forgetPartition{index: index, number: o.number, committedMs: o.committedMs})
				}
			}
			if len(f.partitions) > 0 {
				forget = append(forget, f)
			}
		}
		m.emit(forgetRecords(id, forget)...)
	}
}

// forgetTogether is how many offsets, or topics of them, one record forgets: a record must fit into an entry.
const forgetTogether = 1000

// forgetRecords returns records that forget offsets of a group.
func forgetRecords(id string, topics []forgetTopic) (records [][]byte) {
	var together []forgetTopic
	size := 0
	flush := func() {
		if len(together) > 0 {
			records = append(records, appendForgetRecord(nil, id, together))
		}
		together, size = nil, 0
	}
	for _, topic := range topics {
		for some := range slices.Chunk(topic.partitions, forgetTogether) {
			if size += len(some); size > forgetTogether {
				flush()
				size = len(some)
			}
			together = append(together, forgetTopic{name: topic.name, partitions: some})
		}
	}
	flush()
	return records
}
