package group

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/rows"
)

// Records begin with their kind and the group's name. Numbers are varints, strings have their length before them.
const (
	recordGroup       = 1 // the members and their assignments from now on
	recordOffsets     = 2 // committed ms, expires ms, then topics: name, partitions: index, number, offset, epoch, metadata
	recordForget      = 3 // topics: name, partitions: index, whether any is meant, number, committed ms
	recordDelete      = 4 // the group and all its offsets
	recordDeleteEmpty = 5 // the group, when it has neither members nor offsets by then
)

// Rows are what the replicated state consists of, by key.
const (
	rowGroup  = 'm' // + group: members
	rowOffset = 'o' // + length of the group's name, group, length of the topic's name, topic, partition big-endian
)

// A forgetTopic names offsets to forget.
type forgetTopic struct {
	name       string
	partitions []forgetPartition
}

// A forgetPartition names one offset to forget. Unless any is meant it is that of the partition with this number,
// committed at this time: a newer one stays.
type forgetPartition struct {
	index       int32
	any         bool
	number      record.Partition
	committedMs int64
}

func appendGroupRecord(dst []byte, group string, s *storedGroup) []byte {
	return appendGroup(rows.AppendString(append(dst, recordGroup), group), s)
}

func appendOffsetsRecord(dst []byte, group string, committedMs, expiresMs int64, topics []CommitTopic) []byte {
	dst = rows.AppendString(append(dst, recordOffsets), group)
	dst = binary.AppendVarint(dst, committedMs)
	dst = binary.AppendVarint(dst, expiresMs)
	dst = binary.AppendUvarint(dst, uint64(len(topics)))
	for _, topic := range topics {
		dst = rows.AppendString(dst, topic.Name)
		dst = binary.AppendUvarint(dst, uint64(len(topic.Partitions)))
		for _, p := range topic.Partitions {
			dst = binary.AppendVarint(dst, int64(p.Index))
			dst = binary.AppendUvarint(dst, uint64(p.Number))
			dst = binary.AppendVarint(dst, int64(p.Offset))
			dst = binary.AppendVarint(dst, int64(p.LeaderEpoch))
			dst = rows.AppendString(dst, p.Metadata)
		}
	}
	return dst
}

func appendForgetRecord(dst []byte, group string, topics []forgetTopic) []byte {
	dst = rows.AppendString(append(dst, recordForget), group)
	dst = binary.AppendUvarint(dst, uint64(len(topics)))
	for _, topic := range topics {
		dst = rows.AppendString(dst, topic.name)
		dst = binary.AppendUvarint(dst, uint64(len(topic.partitions)))
		for _, p := range topic.partitions {
			dst = binary.AppendVarint(dst, int64(p.index))
			anyMeant := byte(0)
			if p.any {
				anyMeant = 1
			}
			dst = append(dst, anyMeant)
			dst = binary.AppendUvarint(dst, uint64(p.number))
			dst = binary.AppendVarint(dst, p.committedMs)
		}
	}
	return dst
}

func appendDeleteRecord(dst []byte, group string, onlyEmpty bool) []byte {
	kind := byte(recordDelete)
	if onlyEmpty {
		kind = recordDeleteEmpty
	}
	return rows.AppendString(append(dst, kind), group)
}

func groupKey(group string) []byte { return append([]byte{rowGroup}, group...) }

func offsetKey(group, topic string, index int32) []byte {
	key := rows.AppendString(rows.AppendString([]byte{rowOffset}, group), topic)
	return binary.BigEndian.AppendUint32(key, uint32(index))
}

// Replay applies a committed record, on the leader and on all others. changed, unless nil, is called for each row
// of the replicated state that the record writes, or deletes (value nil); key and value are its to keep. The record is not kept.
// An error says that it is not a record of this package; then nothing has changed.
func (m *Machine) Replay(entry []byte, changed func(key, value []byte)) error {
	if changed == nil {
		changed = func(_, _ []byte) {}
	}
	d := newDecoder(entry)
	kind, id := d.Byte(), d.String()
	switch kind {
	case recordGroup:
		s := d.group()
		if err := d.End(); err != nil {
			return err
		}
		m.replayGroup(id, s)
		changed(groupKey(id), appendGroup(nil, s))
	case recordOffsets:
		return m.replayOffsets(d, id, changed)
	case recordForget:
		return m.replayForget(d, id, changed)
	case recordDelete, recordDeleteEmpty:
		if err := d.End(); err != nil {
			return err
		}
		m.replayDelete(id, kind == recordDeleteEmpty, changed)
	default:
		return fmt.Errorf("group record of kind %d: %w", kind, record.ErrCorrupt)
	}
	return nil
}

func (m *Machine) entry(id string) *entry {
	e := m.groups[id]
	if e == nil {
		e = &entry{}
		m.groups[id] = e
	}
	return e
}

func (m *Machine) replayGroup(id string, s *storedGroup) {
	e := m.entry(id)
	e.stored = s
	if l := e.live; l != nil && l.unstored > 0 {
		l.unstored--
		m.retire(l)
	}
}

// An offsetChange is one offset of a record.
type offsetChange struct {
	topic string
	index int32
	value *storedOffset
}

func (m *Machine) replayOffsets(d *decoder, id string, changed func(key, value []byte)) error {
	committedMs, expiresMs := d.Int(), d.Int()
	var changes []offsetChange
	for range d.Count(2) {
		topic := d.String()
		for range d.Count(5) {
			if d.Err() != nil {
				break
			}
			index := d.int32()
			o := &storedOffset{number: record.Partition(d.Number(1<<32 - 1)), offset: record.Offset(d.Int()), leaderEpoch: d.int32()}
			o.metadata, o.committedMs, o.expiresMs = d.String(), committedMs, expiresMs
			changes = append(changes, offsetChange{topic, index, o})
		}
	}
	if err := d.End(); err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	e := m.entry(id)
	for _, c := range changes {
		e.setOffset(c.topic, c.index, c.value)
		changed(offsetKey(id, c.topic, c.index), appendOffset(nil, c.value))
	}
	return nil
}

func (e *entry) setOffset(topic string, index int32, o *storedOffset) {
	if e.offsets == nil {
		e.offsets = map[string]map[int32]*storedOffset{}
	}
	if e.offsets[topic] == nil {
		e.offsets[topic] = map[int32]*storedOffset{}
	}
	e.offsets[topic][index] = o
}

func (m *Machine) replayForget(d *decoder, id string, changed func(key, value []byte)) error {
	var topics []forgetTopic
	for range d.Count(2) {
		topic := forgetTopic{name: d.String()}
		for range d.Count(4) {
			if d.Err() != nil {
				break
			}
			p := forgetPartition{index: d.int32(), any: d.Byte() != 0}
			p.number, p.committedMs = record.Partition(d.Number(1<<32-1)), d.Int()
			topic.partitions = append(topic.partitions, p)
		}
		if d.Err() != nil {
			break
		}
		topics = append(topics, topic)
	}
	if err := d.End(); err != nil {
		return err
	}
	e := m.groups[id]
	if e == nil {
		return nil
	}
	for _, topic := range topics {
		offsets := e.offsets[topic.name]
		for _, p := range topic.partitions {
			if o := offsets[p.index]; o != nil && (p.any || o.number == p.number && o.committedMs == p.committedMs) {
				delete(offsets, p.index)
				changed(offsetKey(id, topic.name, p.index), nil)
			}
		}
		if len(offsets) == 0 {
			delete(e.offsets, topic.name)
		}
	}
	m.sweep(id, e)
	return nil
}

func (m *Machine) replayDelete(id string, onlyEmpty bool, changed func(key, value []byte)) {
	e := m.groups[id]
	if e == nil || onlyEmpty && (len(e.offsets) > 0 || e.stored != nil && len(e.stored.members) > 0) {
		return
	}
	if e.stored != nil {
		e.stored = nil
		changed(groupKey(id), nil)
	}
	for topic, offsets := range e.offsets {
		for index := range offsets {
			changed(offsetKey(id, topic, index), nil)
		}
	}
	e.offsets = nil
	m.sweep(id, e)
}
