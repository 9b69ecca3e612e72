package broker

import (
	"fmt"
	"slices"

	"github.com/stela-db/stela/log/record"
)

const (
	// streamWindow is how many of a stream's newest events are searched for the ids of
	// an append that expects no particular version.
	streamWindow = 32
	// streamLimit is how many streams of a shard are kept in memory, by the sequencer and by the state machine each.
	streamLimit = 64 << 10
)

// A streamKey names a stream of a shard: the partition's number, then the key.
type streamKey struct {
	partition record.Partition
	key       string
}

// A streamState is a stream as the sequencer promises it: applied or on its way.
type streamState struct {
	head    int64 // newest version, -1 for none
	recent  []streamEntry
	partial bool   // events before recent were not read from the index, though they may be within the window
	mark    uint64 // the last proposal that needs it in memory
}

// A streamEntry is one of the newest events; the last of streamState.recent has version head.
type streamEntry struct {
	offset record.Offset
	id     eventID
	mark   uint64 // the proposal that it is part of; 0 for one from the index
}

// entry returns what is known of a version, or nil when it is not among the newest.
func (s *streamState) entry(version int64) *streamEntry {
	i := int64(len(s.recent)) - 1 - (s.head - version)
	if i < 0 || version > s.head {
		return nil
	}
	return &s.recent[i]
}

// push adds the next version. Events beyond the window are forgotten once the index is sure to have them:
// those of proposals up to settled.
func (s *streamState) push(e streamEntry, settled uint64) {
	if len(s.recent) >= 2*streamWindow {
		drop := 0
		for drop < len(s.recent)-streamWindow && s.recent[drop].mark <= settled {
			drop++
		}
		s.recent = append(s.recent[:0], s.recent[drop:]...)
	}
	s.recent = append(s.recent, e)
	s.head++
}

// stream returns the sequencer's state of a stream. Who expects a version is likely right, and then no event is needed.
func (q *sequencer) stream(p record.Partition, key []byte, expected Expected) (*streamState, error) {
	k := streamKey{p, string(key)}
	state := q.streams.get(k)
	if state == nil {
		head, err := streamHeadOf(q.shard.broker.config.Index, p, key, int64(expected))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		state = q.streams.add(k, streamState{head: head, partial: head >= 0})
	}
	if !state.partial || expected >= ExpectNone {
		return state, nil
	}
	return state, q.complete(p, key, state)
}

// complete reads the events of the window that come before those that are known.
func (q *sequencer) complete(p record.Partition, key []byte, state *streamState) error {
	known := int64(len(state.recent))
	if missing := streamWindow - known; missing > 0 && state.head >= known {
		versions, err := q.shard.broker.config.Index.Versions(p, key, state.head-known, int(missing), true)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStorage, err)
		}
		recent := make([]streamEntry, 0, len(versions)+len(state.recent))
		for _, v := range slices.Backward(versions) {
			recent = append(recent, streamEntry{offset: v.Offset, id: v.EventID})
		}
		state.recent = append(recent, state.recent...)
	}
	state.partial = false
	return nil
}

// A verdict is what the check of an append comes to.
type verdict uint8

const (
	verdictNew verdict = iota
	verdictDuplicate
	verdictConflict
)

// checkStreams decides about all streams of a batch without changing anything. For a
// duplicate it returns the base offset that the batch was given the first time.
func (q *sequencer) checkStreams(p record.Partition, batch *streamBatch) (verdict, record.Offset, error) {
	var original record.Offset
	result := verdictNew
	for g := range batch.groups {
		group := &batch.groups[g]
		state, err := q.stream(p, group.key, group.expected)
		if err != nil {
			return 0, 0, err
		}
		state.mark = q.number + 1 // keeps it in memory until this entry is done
		group.state = state
		got, version, err := q.checkGroup(p, batch, group)
		if err != nil {
			return 0, 0, err
		}
		if g == 0 {
			batch.first = version
		}
		if got == verdictConflict || g > 0 && got != result {
			batch.culprit = int(batch.records[group.records[0]].delta)
			return verdictConflict, 0, fmt.Errorf("stream %q: %w", group.key, &ConflictError{Expected: group.expected, Actual: state.head})
		}
		result = got
		if got != verdictDuplicate {
			continue
		}
		offset, err := q.offsetOf(p, group, version)
		if err != nil {
			return 0, 0, err
		}
		base := offset - record.Offset(batch.records[group.records[0]].delta)
		if g > 0 && base != original {
			return verdictConflict, 0, fmt.Errorf("stream %q: events were appended in other batches: %w", group.key, ErrVersionConflict)
		}
		original = base
	}
	batch.duplicate = result == verdictDuplicate
	return result, original, nil
}

// checkGroup decides about the records of one key: the version that the first of them gets, or was given before.
func (q *sequencer) checkGroup(p record.Partition, batch *streamBatch, group *streamGroup) (verdict, int64, error) {
	state, count := group.state, int64(len(group.records))
	switch expected := group.expected; {
	case expected >= ExpectNone && int64(expected) == state.head:
		return verdictNew, state.head + 1, nil
	case expected >= ExpectNone:
		first := int64(expected) + 1
		if first+count-1 > state.head {
			return verdictConflict, 0, nil
		}
		same, err := q.sameIDs(p, batch, group, first)
		if err != nil || !same {
			return verdictConflict, 0, err
		}
		return verdictDuplicate, first, nil
	case expected == ExpectExists && state.head < 0:
		return verdictConflict, 0, nil
	}
	for i, at := range group.records {
		version, found := state.find(batch.records[at].id)
		if !found {
			continue
		}
		first := version - int64(i)
		if first < 0 || first+count-1 > state.head {
			return verdictConflict, 0, nil
		}
		same, err := q.sameIDs(p, batch, group, first)
		if err != nil || !same {
			return verdictConflict, 0, err
		}
		return verdictDuplicate, first, nil
	}
	return verdictNew, state.head + 1, nil
}

// find looks for an event among the newest.
func (s *streamState) find(id eventID) (version int64, found bool) {
	if id == (eventID{}) {
		return 0, false
	}
	for i, e := range slices.Backward(s.recent) {
		if e.id == id {
			return s.head - int64(len(s.recent)-1-i), true
		}
	}
	return 0, false
}

// sameIDs reports whether the stream's events from version first on have the ids of the group's records. Events without an id never have.
func (q *sequencer) sameIDs(p record.Partition, batch *streamBatch, group *streamGroup, first int64) (bool, error) {
	for i := range group.records {
		id := batch.records[group.records[i]].id
		if id == (eventID{}) {
			return false, nil
		}
		entry, err := q.versionOf(p, group, first+int64(i))
		if err != nil || entry.id != id {
			return false, err
		}
	}
	return true, nil
}

// versionOf returns one version of a stream, from memory or, for an old one, from the index.
func (q *sequencer) versionOf(p record.Partition, group *streamGroup, version int64) (streamEntry, error) {
	if e := group.state.entry(version); e != nil {
		return *e, nil
	}
	versions, err := q.shard.broker.config.Index.Versions(p, group.key, version, 1, false)
	if err != nil {
		return streamEntry{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if len(versions) != 1 || versions[0].Version != version {
		return streamEntry{}, fmt.Errorf("stream %q has no version %d in the index: %w", group.key, version, ErrStorage)
	}
	return streamEntry{offset: versions[0].Offset, id: versions[0].EventID}, nil
}

func (q *sequencer) offsetOf(p record.Partition, group *streamGroup, version int64) (record.Offset, error) {
	e, err := q.versionOf(p, group, version)
	return e.offset, err
}

// assignVersions gives versions to the records of an accepted batch and appends its versions note.
func (q *sequencer) assignVersions(p record.Partition, batch *streamBatch, base record.Offset) {
	note := appendVersionsHeader(q.scratch[:0], p, base)
	settled := q.shard.pipeline.settled.Load()
	for i := range batch.records {
		r := &batch.records[i]
		group := &batch.groups[r.group]
		state := group.state
		state.push(streamEntry{base + record.Offset(r.delta), r.id, q.number + 1}, settled)
		note = appendVersion(note, group.key, state.head, r.delta, r.id)
	}
	q.scratch = note
	q.notes = record.AppendNote(q.notes, noteVersions, note)
}
