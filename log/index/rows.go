package index

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

const (
	kindApplied = 'a'
	kindEpoch   = 'e'
	kindSegment = 'g'
	kindState   = 'k'
	kindOwner   = 'p'
	kindRun     = 'r'
	kindVersion = 'v'

	runKeyBytes     = 1 + 4 + 8
	epochKeyBytes   = 1 + 4 + 8
	ownerKeyBytes   = 1 + 1 + 4
	segmentKeyBytes = 1 + 8 + 1
	versionBytes    = 8 + 16

	// blockRuns is how many runs, at most, are one row.
	blockRuns = 64
)

var order = binary.BigEndian

// Run is what one entry holds of one partition: Bytes bytes of whole batches, from Start within the entry's payload.
type Run struct {
	Partition    record.Partition
	First, Last  record.Offset
	Index        record.Index
	Term         record.Term
	Position     record.Position // of the entry in this node's log
	Start, Bytes uint32
	MaxTimestamp int64 // milliseconds since 1970; the largest of the partition up to and including this run
}

// StreamVersion is one version of one stream.
type StreamVersion struct {
	Partition record.Partition
	Key       []byte
	Version   int64 // from 0
	Offset    record.Offset
	EventID   [16]byte // hash of the event's id; zero for none
}

// SegmentPartition is what one segment file holds of one partition.
type SegmentPartition struct {
	Partition    record.Partition
	NextOffset   record.Offset // after the last record that the segment holds
	MaxTimestamp int64
	Bytes        int64
}

func corrupt(key, value []byte) error {
	return fmt.Errorf("index row %x holds %d bytes %.32x: %w", key, len(value), value, record.ErrCorrupt)
}

// after returns the smallest key that is larger than all that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func appliedKey(shard record.Shard) []byte { return []byte{kindApplied, byte(shard)} }

func stateKey(shard record.Shard, key []byte) []byte {
	return append([]byte{kindState, byte(shard)}, key...)
}

func ownerKey(shard record.Shard, partition record.Partition) []byte {
	return order.AppendUint32([]byte{kindOwner, byte(shard)}, uint32(partition))
}

func parseOwnerKey(key []byte) (record.Shard, record.Partition, error) {
	if len(key) != ownerKeyBytes {
		return 0, 0, corrupt(key, nil)
	}
	return record.Shard(key[1]), record.Partition(order.Uint32(key[2:])), nil
}

func partitionPrefix(kind byte, partition record.Partition) []byte {
	return order.AppendUint32([]byte{kind}, uint32(partition))
}

func runKey(dst []byte, partition record.Partition, first record.Offset) []byte {
	dst = order.AppendUint32(append(dst, kindRun), uint32(partition))
	return order.AppendUint64(dst, uint64(first))
}

func appendRun(dst []byte, run *Run) []byte {
	dst = binary.AppendUvarint(dst, uint64(run.Last-run.First))
	dst = binary.AppendUvarint(dst, uint64(run.Index))
	dst = binary.AppendUvarint(dst, uint64(run.Term))
	dst = binary.AppendUvarint(dst, uint64(run.Position))
	dst = binary.AppendUvarint(dst, uint64(run.Start))
	dst = binary.AppendUvarint(dst, uint64(run.Bytes))
	return binary.AppendVarint(dst, run.MaxTimestamp)
}

// parseRuns appends the runs of one row to dst: each begins where the one before it ends.
func parseRuns(key, value []byte, dst []Run) ([]Run, error) {
	if len(key) != runKeyBytes || len(value) == 0 {
		return dst, corrupt(key, value)
	}
	partition, first := record.Partition(order.Uint32(key[1:])), record.Offset(order.Uint64(key[5:]))
	for r := (fields{rest: value}); len(r.rest) > 0; {
		run := Run{Partition: partition, First: first}
		run.Last = first + record.Offset(r.uvarint())
		run.Index = record.Index(r.uvarint())
		run.Term = record.Term(r.uvarint())
		run.Position = record.Position(r.uvarint())
		run.Start = uint32(r.uvarint())
		run.Bytes = uint32(r.uvarint())
		run.MaxTimestamp = r.varint()
		if r.bad {
			return dst, corrupt(key, value)
		}
		dst, first = append(dst, run), run.Last+1
	}
	return dst, nil
}

func epochKey(partition record.Partition, term record.Term) []byte {
	return order.AppendUint64(partitionPrefix(kindEpoch, partition), uint64(term))
}

func parseEpoch(key, value []byte) (record.Term, record.Offset, error) {
	if len(key) != epochKeyBytes || len(value) != 8 {
		return 0, 0, corrupt(key, value)
	}
	return record.Term(order.Uint64(key[5:])), record.Offset(order.Uint64(value)), nil
}

func streamPrefix(partition record.Partition, key []byte) []byte {
	return appendStreamPrefix(make([]byte, 0, 1+4+4+len(key)+8), partition, key)
}

func appendStreamPrefix(dst []byte, partition record.Partition, key []byte) []byte {
	dst = order.AppendUint32(append(dst, kindVersion), uint32(partition))
	return append(order.AppendUint32(dst, uint32(len(key))), key...)
}

func parseVersion(key, value []byte) (StreamVersion, error) {
	const before = 1 + 4 + 4
	if len(key) < before+8 || len(value) != versionBytes || int(order.Uint32(key[5:])) != len(key)-before-8 {
		return StreamVersion{}, corrupt(key, value)
	}
	return StreamVersion{
		Partition: record.Partition(order.Uint32(key[1:])),
		Key:       append([]byte(nil), key[before:len(key)-8]...),
		Version:   int64(order.Uint64(key[len(key)-8:])),
		Offset:    record.Offset(order.Uint64(value)),
		EventID:   [16]byte(value[8:]),
	}, nil
}

func segmentKey(segment int64, shard record.Shard) []byte {
	return append(order.AppendUint64([]byte{kindSegment}, uint64(segment)), byte(shard))
}

func appendSegment(dst []byte, partitions []SegmentPartition) []byte {
	for i := range partitions {
		p := &partitions[i]
		dst = binary.AppendUvarint(dst, uint64(p.Partition))
		dst = binary.AppendUvarint(dst, uint64(p.NextOffset))
		dst = binary.AppendUvarint(dst, uint64(p.Bytes))
		dst = binary.AppendVarint(dst, p.MaxTimestamp)
	}
	return dst
}

func parseSegment(key, value []byte) (record.Shard, []SegmentPartition, error) {
	if len(key) != segmentKeyBytes {
		return 0, nil, corrupt(key, value)
	}
	var partitions []SegmentPartition
	for r := (fields{rest: value}); len(r.rest) > 0; {
		p := SegmentPartition{
			Partition: record.Partition(r.uvarint()), NextOffset: record.Offset(r.uvarint()), Bytes: int64(r.uvarint()), MaxTimestamp: r.varint(),
		}
		if r.bad {
			return 0, nil, corrupt(key, value)
		}
		partitions = append(partitions, p)
	}
	return record.Shard(key[9]), partitions, nil
}

// fields reads varints; bad tells that one was cut off.
type fields struct {
	rest []byte
	bad  bool
}

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *fields) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}
