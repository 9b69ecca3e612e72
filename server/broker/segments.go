package broker

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// A segmentTally sums up what the log segment that the machine is in holds of the
// shard's partitions. When the machine goes on to the next segment, the sums become
// rows of the index; from these the cleaner knows which segments are dead. Sums that
// a restart interrupted are made again by the cleaner from the segment's entries.
type segmentTally struct {
	number     atomic.Int64 // of the segment; 0 before the first entry
	whole      bool         // all of the shard's entries in it are in the sums
	partitions []*partitionState
}

// A partitionTally is the part of one partition.
type partitionTally struct {
	segment int64
	sum     index.SegmentPartition
}

// loadSegment finds the segment that the machine is in.
func (m *machine) loadSegment() error {
	m.segment.number.Store(0)
	m.segment.whole, m.segment.partitions = false, nil
	rows, scanError := m.shard.broker.config.Index.Scan(m.shard.id, []byte{rowSegment})
	for key := range rows {
		if number, ok := parseSegmentKey(key); ok {
			m.segment.number.Store(max(m.segment.number.Load(), number))
		}
	}
	if err := scanError(); err != nil {
		return fmt.Errorf("shard %d: read segment rows: %w", m.shard.id, err)
	}
	return nil
}

func parseSegmentKey(key []byte) (int64, bool) {
	if len(key) != 9 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(key[1:])), true
}

// appendIndex encodes the value of a segment row: the shard's first entry in the segment.
func appendIndex(dst []byte, i record.Index) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(i))
}

func parseIndex(b []byte) (record.Index, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("segment row of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	return record.Index(binary.LittleEndian.Uint64(b)), nil
}

// enterSegment writes the sums of the last segment when an entry lies in another one.
func (m *machine) enterSegment(e *replication.Committed) {
	number := log.SegmentOf(e.Position)
	t := &m.segment
	last := t.number.Load()
	if number == last {
		return
	}
	if t.whole {
		m.batch.PutSegment(m.shard.id, last, t.sums(last))
		m.batch.Delete(m.shard.id, segmentKey(last))
	}
	m.row = appendIndex(m.row[:0], e.Index)
	m.batch.Put(m.shard.id, segmentKey(number), m.row)
	t.number.Store(number)
	t.whole, t.partitions = true, t.partitions[:0]
}

func (t *segmentTally) sums(number int64) []index.SegmentPartition {
	sums := make([]index.SegmentPartition, 0, len(t.partitions))
	for _, p := range t.partitions {
		if tally := &p.applying.tally; tally.segment == number {
			sums = append(sums, tally.sum)
		}
	}
	sortSums(sums)
	return sums
}

func sortSums(sums []index.SegmentPartition) {
	slices.SortFunc(sums, func(a, b index.SegmentPartition) int { return cmp.Compare(a.Partition, b.Partition) })
}

// tally adds a run, the latest of whose own timestamps is given, to the sums.
func (m *machine) tally(p *partitionState, run index.Run, latest int64) {
	tally, number := &p.applying.tally, m.segment.number.Load()
	if tally.segment != number {
		*tally = partitionTally{segment: number, sum: index.SegmentPartition{Partition: p.id, MaxTimestamp: noTimestamp}}
		m.segment.partitions = append(m.segment.partitions, p)
	}
	tally.sum.NextOffset = run.Last + 1
	tally.sum.MaxTimestamp = max(tally.sum.MaxTimestamp, latest)
	tally.sum.Bytes += int64(run.Bytes)
}

// sumUp makes the sums of one segment from the shard's entries in it, the first of which is since.
func (s *shard) sumUp(number int64, since record.Index) ([]index.SegmentPartition, error) {
	sums := segmentSums{}
	done := fmt.Errorf("segment %d ends", number)
	err := s.broker.config.Log.Shard(s.id).Scan(since, s.machine.Applied(), func(e log.EntryInfo, b []byte) error {
		if at := log.SegmentOf(e.Position); at != number {
			if at > number {
				return done
			}
			return nil
		}
		return sums.addEntry(e, b)
	})
	if err != nil && !errors.Is(err, done) {
		return nil, fmt.Errorf("sum up segment %d: %w", number, err)
	}
	return sums.list(), nil
}

// sumUpUnknown makes the sums of one segment of which the index says nothing. Mostly the shard has no batches there. But the state
// may also not know them yet: a node that catches up has entries in its log before it is told of their partitions.
func (s *shard) sumUpUnknown(number int64) ([]index.SegmentPartition, error) {
	sums := segmentSums{}
	if err := s.broker.config.Log.Shard(s.id).ScanSegment(number, sums.addEntry); err != nil {
		return nil, fmt.Errorf("sum up segment %d: %w", number, err)
	}
	return sums.list(), nil
}

// segmentSums are made from entries.
type segmentSums map[record.Partition]*index.SegmentPartition

// addEntry adds an entry of the log. Only commands, which are Raft's kind 0, hold batches.
func (s segmentSums) addEntry(e log.EntryInfo, b []byte) error {
	if e.Kind != 0 || len(b) == 0 {
		return nil
	}
	tail, err := record.ParseTail(b)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	s.add(tail)
	return nil
}

func (s segmentSums) add(tail record.Tail) {
	for i := range tail.RowCount() {
		row := tail.Row(i)
		sum := s[row.Partition]
		if sum == nil {
			sum = &index.SegmentPartition{Partition: row.Partition, MaxTimestamp: noTimestamp}
			s[row.Partition] = sum
		}
		sum.NextOffset = max(sum.NextOffset, row.NextOffset())
		sum.MaxTimestamp = max(sum.MaxTimestamp, row.MaxTimestamp)
		sum.Bytes += int64(row.Bytes)
	}
}

func (s segmentSums) list() []index.SegmentPartition {
	list := make([]index.SegmentPartition, 0, len(s))
	for _, sum := range s {
		list = append(list, *sum)
	}
	sortSums(list)
	return list
}
