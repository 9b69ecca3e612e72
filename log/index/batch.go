package index

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/log/record"
)

// Batch collects changes that Commit applies as one. What it drops it finds among
// the rows that were committed before, not among its own.
type Batch struct {
	index *Index
	rows  *pebble.Batch
	key   []byte
	value []byte
	gone  []record.Partition
	err   error

	room [keyRoom + valueRoom]byte // key and value begin here, so that ordinary rows allocate nothing
}

const (
	keyRoom   = 32
	valueRoom = 96
)

// NewBatch returns an empty batch. Close it after Commit.
func (x *Index) NewBatch() *Batch {
	b := &Batch{index: x, rows: x.db.NewBatch()}
	b.key, b.value = b.room[:0:keyRoom], b.room[keyRoom:keyRoom]
	return b
}

func (b *Batch) set(key, value []byte) {
	if b.err == nil {
		b.err = b.rows.Set(key, value, nil)
	}
}

func (b *Batch) deleteRange(start, end []byte) {
	if b.err == nil {
		b.err = b.rows.DeleteRange(start, end, nil)
	}
}

func (b *Batch) deletePrefix(prefix []byte) { b.deleteRange(prefix, after(prefix)) }

func (b *Batch) own(shard record.Shard, partition record.Partition) {
	if !b.index.owns(shard, partition) {
		b.set(ownerKey(shard, partition), nil)
	}
}

// PutRun adds a run of a partition of the shard.
func (b *Batch) PutRun(shard record.Shard, run Run) {
	b.own(shard, run.Partition)
	b.key = runKey(b.key[:0], run.Partition, run.First)
	b.value = appendRun(b.value[:0], &run)
	b.set(b.key, b.value)
}

// PutEpoch notes that a term's first record in the partition has offset start.
func (b *Batch) PutEpoch(shard record.Shard, partition record.Partition, term record.Term, start record.Offset) {
	b.own(shard, partition)
	b.set(epochKey(partition, term), order.AppendUint64(nil, uint64(start)))
}

// Put stores a row of a state machine.
func (b *Batch) Put(shard record.Shard, key, value []byte) {
	b.key = append(append(b.key[:0], kindState, byte(shard)), key...)
	b.set(b.key, value)
}

// Delete removes a row of a state machine.
func (b *Batch) Delete(shard record.Shard, key []byte) {
	if b.err == nil {
		b.err = b.rows.Delete(stateKey(shard, key), nil)
	}
}

// PutVersion adds a stream's version.
func (b *Batch) PutVersion(shard record.Shard, version StreamVersion) {
	b.own(shard, version.Partition)
	b.value = append(order.AppendUint64(b.value[:0], uint64(version.Offset)), version.EventID[:]...)
	b.set(versionKey(&version), b.value)
}

// SetApplied notes the last entry of the shard whose rows are in.
func (b *Batch) SetApplied(shard record.Shard, index record.Index) {
	b.set(appliedKey(shard), order.AppendUint64(nil, uint64(index)))
}

// PutSegment notes what a segment holds of a shard; no partitions removes the row.
func (b *Batch) PutSegment(shard record.Shard, segment int64, partitions []SegmentPartition) {
	if len(partitions) == 0 {
		if b.err == nil {
			b.err = b.rows.Delete(segmentKey(segment, shard), nil)
		}
		return
	}
	b.set(segmentKey(segment, shard), appendSegment(nil, partitions))
}

// DropPartition removes everything of a partition.
func (b *Batch) DropPartition(shard record.Shard, partition record.Partition) {
	for _, kind := range []byte{kindRun, kindEpoch, kindVersion} {
		b.deletePrefix(partitionPrefix(kind, partition))
	}
	if b.err == nil {
		b.err = b.rows.Delete(ownerKey(shard, partition), nil)
	}
	b.gone = append(b.gone, partition)
}

// DropRunsBefore removes the runs, epochs and versions that lie wholly below an
// offset: a run that contains it stays.
func (b *Batch) DropRunsBefore(_ record.Shard, partition record.Partition, offset record.Offset) {
	runs, err := b.index.Runs(partition, offset, 1, nil)
	end := after(partitionPrefix(kindRun, partition))
	if len(runs) > 0 {
		end = runKey(nil, partition, runs[0].First)
	}
	b.deleteRange(partitionPrefix(kindRun, partition), end)
	err = errors.Join(err, b.dropEpochs(partition, offset), b.dropVersions(partition, offset))
	if b.err == nil {
		b.err = err
	}
}

// dropEpochs removes the epochs that end at or below offset: those whose successor begins there or before.
func (b *Batch) dropEpochs(partition record.Partition, offset record.Offset) error {
	var before []byte
	return b.index.each(partitionPrefix(kindEpoch, partition), func(key, value []byte) error {
		_, start, err := parseEpoch(key, value)
		if err != nil {
			return err
		}
		if before != nil && start <= offset {
			if err := b.rows.Delete(before, nil); err != nil {
				return err
			}
		}
		before = append([]byte(nil), key...)
		return nil
	})
}

func (b *Batch) dropVersions(partition record.Partition, offset record.Offset) error {
	return b.index.each(partitionPrefix(kindVersion, partition), func(key, value []byte) error {
		version, err := parseVersion(key, value)
		if err != nil {
			return err
		}
		if version.Offset >= offset {
			return nil
		}
		return b.rows.Delete(append([]byte(nil), key...), nil)
	})
}

// DropShard removes everything of a shard.
func (b *Batch) DropShard(shard record.Shard) {
	for _, partition := range b.index.partitionsOf(shard) {
		b.DropPartition(shard, partition)
	}
	b.deletePrefix([]byte{kindApplied, byte(shard)})
	b.deletePrefix([]byte{kindState, byte(shard)})
	err := b.index.each([]byte{kindSegment}, func(key, value []byte) error {
		owner, _, err := parseSegment(key, value)
		if err != nil || owner != shard {
			return err
		}
		return b.rows.Delete(append([]byte(nil), key...), nil)
	})
	if b.err == nil {
		b.err = err
	}
}

// Commit applies the batch, or returns why not and changes nothing.
func (b *Batch) Commit() error {
	if b.err != nil {
		return fmt.Errorf("index batch: %w", b.err)
	}
	if err := b.rows.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("commit index batch: %w", err)
	}
	for _, partition := range b.gone {
		b.index.disown(partition)
	}
	return nil
}

// Close frees the batch.
func (b *Batch) Close() { _ = b.rows.Close() }
