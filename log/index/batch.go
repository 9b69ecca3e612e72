package index

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stela-db/stela/log/record"
)

// Batch collects changes that Commit applies as one. What it drops it finds among
// the rows that were committed before, not among its own.
type Batch struct {
	index    *Index
	bytes    []byte // keys and values of changes, and the prefixes of versions
	changes  []change
	runs     []Run
	versions []versionChange
	gone     []record.Partition
	drops    bool // there are ranges among changes
	key      []byte
	value    []byte
	err      error
}

// A change is one change of rows: where its key, its value and their end are in Batch.bytes. The value of a range is its end.
type change struct {
	kind            uint8
	key, value, end int
}

const (
	changeSet uint8 = iota
	changeDelete
	changeRange
)

type versionChange struct {
	prefix, end int // in Batch.bytes
	version     int64
	place       layerVersion
}

// NewBatch returns an empty batch. Close it after Commit.
func (x *Index) NewBatch() *Batch {
	b, _ := x.batches.Get().(*Batch)
	if b == nil {
		b = &Batch{}
	}
	b.index = x
	return b
}

// Close frees the batch.
func (b *Batch) Close() {
	x := b.index
	if x == nil || cap(b.bytes) > keptBatchBytes {
		return
	}
	*b = Batch{
		bytes: b.bytes[:0], changes: b.changes[:0], runs: b.runs[:0], versions: b.versions[:0], gone: b.gone[:0],
		key: b.key[:0], value: b.value[:0],
	}
	x.batches.Put(b)
}

// keptBatchBytes bounds the batches that are used again.
const keptBatchBytes = 1 << 20

func (b *Batch) record(kind uint8, key, value []byte) {
	c := change{kind: kind, key: len(b.bytes)}
	b.bytes = append(b.bytes, key...)
	c.value = len(b.bytes)
	b.bytes = append(b.bytes, value...)
	c.end = len(b.bytes)
	b.changes = append(b.changes, c)
}

func (b *Batch) set(key, value []byte) { b.record(changeSet, key, value) }

func (b *Batch) delete(key []byte) { b.record(changeDelete, key, nil) }

func (b *Batch) deleteRange(start, end []byte) {
	b.drops = true
	b.record(changeRange, start, end)
}

// add puts everything into a layer.
func (b *Batch) add(l *layer) {
	for _, c := range b.changes {
		l.set(b.bytes[c.key:c.value], b.bytes[c.value:c.end], c.kind == changeDelete)
	}
	b.addPlaces(l)
}

// addPlaces puts runs and versions into a layer.
func (b *Batch) addPlaces(l *layer) {
	for i := range b.runs {
		l.addRun(&b.runs[i])
	}
	for i := range b.versions {
		v := &b.versions[i]
		prefix := b.bytes[v.prefix:v.end]
		if !l.addVersion(prefix, v.version, v.place) { // somebody writes versions out of order, as a repair may
			l.set(order.AppendUint64(slices.Clip(prefix), uint64(v.version)), v.place.append(nil), false)
		}
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
	b.runs = append(b.runs, run)
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
	b.delete(stateKey(shard, key))
}

// PutVersion adds a stream's version.
func (b *Batch) PutVersion(shard record.Shard, version StreamVersion) {
	b.own(shard, version.Partition)
	v := versionChange{prefix: len(b.bytes), version: version.Version, place: layerVersion{version.Offset, version.EventID}}
	b.bytes = appendStreamPrefix(b.bytes, version.Partition, version.Key)
	v.end = len(b.bytes)
	b.versions = append(b.versions, v)
}

// SetApplied notes the last entry of the shard whose rows are in.
func (b *Batch) SetApplied(shard record.Shard, index record.Index) {
	b.value = order.AppendUint64(b.value[:0], uint64(index))
	b.set(appliedKey(shard), b.value)
	b.index.note(shard)
}

// PutSegment notes what a segment holds of a shard; no partitions removes the row.
func (b *Batch) PutSegment(shard record.Shard, segment int64, partitions []SegmentPartition) {
	b.index.note(shard)
	if len(partitions) == 0 {
		b.delete(segmentKey(segment, shard))
		return
	}
	b.set(segmentKey(segment, shard), appendSegment(nil, partitions))
}

// DropPartition removes everything of a partition.
func (b *Batch) DropPartition(shard record.Shard, partition record.Partition) {
	for _, kind := range []byte{kindRun, kindEpoch, kindVersion} {
		b.deletePrefix(partitionPrefix(kind, partition))
	}
	b.delete(ownerKey(shard, partition))
	b.gone = append(b.gone, partition)
}

// DropRunsBefore removes the runs, epochs and versions that lie wholly below an
// offset: a run that contains it stays.
func (b *Batch) DropRunsBefore(_ record.Shard, partition record.Partition, offset record.Offset) {
	prefix := partitionPrefix(kindRun, partition)
	runs, err := b.index.rowOfRun(partition, offset)
	if len(runs) == 0 {
		b.deletePrefix(prefix)
	} else { // the row that holds offset becomes one that begins with its run
		b.deleteRange(prefix, runKey(nil, partition, runs[len(runs)-1].First+1))
		for _, run := range runs {
			if run.Last >= offset {
				b.runs = append(b.runs, run)
			}
		}
	}
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
			b.delete(before)
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
		b.delete(key)
		return nil
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
		b.delete(key)
		return nil
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
	commit := b.index.commit
	if b.drops {
		commit = b.index.direct
	}
	if err := commit(b); err != nil {
		return err
	}
	for _, partition := range b.gone {
		b.index.disown(partition)
	}
	return nil
}
