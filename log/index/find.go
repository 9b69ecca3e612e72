package index

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/log/record"
)

// withRuns calls f with an iterator over the runs of a partition.
func (x *Index) withRuns(partition record.Partition, f func(it *pebble.Iterator) error) (err error) {
	prefix := partitionPrefix(kindRun, partition)
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if err := f(it); err != nil {
		return err
	}
	return it.Error()
}

func runAt(it *pebble.Iterator) (Run, error) { return parseRun(it.Key(), it.Value()) }

// Runs appends to dst the run that contains from, or the first after it, and those that follow, limit at most.
func (x *Index) Runs(partition record.Partition, from record.Offset, limit int, dst []Run) ([]Run, error) {
	err := x.withRuns(partition, func(it *pebble.Iterator) error {
		ok := it.SeekLT(runKey(nil, partition, from+1))
		if ok {
			run, err := runAt(it)
			if err != nil {
				return err
			}
			if run.Last < from {
				ok = it.Next()
			}
		} else {
			ok = it.First()
		}
		for ; ok && limit > 0; ok = it.Next() {
			run, err := runAt(it)
			if err != nil {
				return err
			}
			dst = append(dst, run)
			limit--
		}
		return nil
	})
	return dst, err
}

// FirstRun returns the partition's first run.
func (x *Index) FirstRun(partition record.Partition) (run Run, ok bool, err error) {
	err = x.withRuns(partition, func(it *pebble.Iterator) error {
		if ok = it.First(); ok {
			run, err = runAt(it)
		}
		return err
	})
	return run, ok, err
}

// LastRun returns the partition's last run.
func (x *Index) LastRun(partition record.Partition) (run Run, ok bool, err error) {
	err = x.withRuns(partition, func(it *pebble.Iterator) error {
		if ok = it.Last(); ok {
			run, err = runAt(it)
		}
		return err
	})
	return run, ok, err
}

// RunAtTime returns the first run whose running maximum timestamp is at least
// timestamp (milliseconds): the one that holds the first record as new as that.
func (x *Index) RunAtTime(partition record.Partition, timestamp int64) (found Run, ok bool, err error) {
	err = x.withRuns(partition, func(it *pebble.Iterator) error {
		if !it.Last() {
			return nil
		}
		high, err := runAt(it)
		if err != nil || high.MaxTimestamp < timestamp {
			return err
		}
		it.First()
		low, err := runAt(it)
		if err != nil {
			return err
		}
		found, ok = low, true
		if low.MaxTimestamp >= timestamp {
			return nil
		}
		found, err = halve(it, low, high, timestamp)
		return err
	})
	return found, ok && err == nil, err
}

// halve narrows (low, high]: low is too old, high is not. The runs' timestamps never fall.
func halve(it *pebble.Iterator, low, high Run, timestamp int64) (Run, error) {
	for {
		middle := low.First + (high.First-low.First)/2
		if !it.SeekLT(runKey(nil, low.Partition, middle+1)) {
			return high, it.Error()
		}
		run, err := runAt(it)
		if err != nil {
			return Run{}, err
		}
		if run.First == low.First { // nothing between low and the middle: look at low's successor
			if !it.Next() {
				return high, it.Error()
			}
			if run, err = runAt(it); err != nil || run.First >= high.First {
				return high, err
			}
			if run.MaxTimestamp >= timestamp {
				return run, nil
			}
			low = run
			continue
		}
		if run.MaxTimestamp >= timestamp {
			high = run
		} else {
			low = run
		}
	}
}

// EpochEnd returns the newest term of the partition that is at most term, and the
// offset where the next one begins. ok is false when there is no such term; end is
// -1 when found is the newest term, which ends at the high watermark.
func (x *Index) EpochEnd(partition record.Partition, term record.Term) (end record.Offset, found record.Term, ok bool, err error) {
	end = -1
	err = x.each(partitionPrefix(kindEpoch, partition), func(key, value []byte) error {
		t, start, err := parseEpoch(key, value)
		if err != nil {
			return err
		}
		if t <= term {
			found, ok = t, true
		} else if end < 0 {
			end = start
		}
		return nil
	})
	return end, found, ok, err
}

// Scan yields the rows of a state machine whose key begins with prefix, in order;
// the slices are valid until the next. The function returns the error, after the loop.
func (x *Index) Scan(shard record.Shard, prefix []byte) (iter.Seq2[[]byte, []byte], func() error) {
	var failed error
	stop := errors.New("stopped")
	rows := func(yield func(key, value []byte) bool) {
		failed = x.each(stateKey(shard, prefix), func(key, value []byte) error {
			if !yield(key[2:], value) {
				return stop
			}
			return nil
		})
		if errors.Is(failed, stop) {
			failed = nil
		}
	}
	return rows, func() error { return failed }
}

// StreamHead returns the newest version of a stream, or -1 when there is none.
func (x *Index) StreamHead(partition record.Partition, key []byte) (int64, StreamVersion, error) {
	versions, err := x.Versions(partition, key, -1, 1, true)
	if err != nil || len(versions) == 0 {
		return -1, StreamVersion{}, err
	}
	return versions[0].Version, versions[0], nil
}

// IsHead reports whether a version is a stream's newest; -1 says that there is none. Versions are dense, so that two look-ups tell,
// which is much less work than StreamHead.
func (x *Index) IsHead(partition record.Partition, key []byte, version int64) (bool, error) {
	prefix := streamPrefix(partition, key)
	if version >= 0 {
		if ok, err := x.has(order.AppendUint64(prefix, uint64(version))); err != nil || !ok {
			return false, err
		}
	}
	later, err := x.has(order.AppendUint64(prefix, uint64(version+1)))
	return err == nil && !later, err
}

// has reports whether there is a row.
func (x *Index) has(key []byte) (bool, error) {
	_, closer, err := x.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read index: %w", err)
	}
	return true, closer.Close()
}

// Versions returns at most limit versions of a stream: forward those from from on,
// backward from from downwards. A backward from of -1 is the newest version.
func (x *Index) Versions(partition record.Partition, key []byte, from int64, limit int, backward bool) (versions []StreamVersion, err error) {
	prefix := streamPrefix(partition, key)
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var ok bool
	switch {
	case !backward:
		ok = it.SeekGE(order.AppendUint64(prefix, uint64(max(0, from))))
	case from < 0:
		ok = it.Last()
	default:
		ok = it.SeekLT(order.AppendUint64(prefix, uint64(from)+1))
	}
	for ok && len(versions) < limit {
		version, err := parseVersion(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
		if backward {
			ok = it.Prev()
		} else {
			ok = it.Next()
		}
	}
	return versions, it.Error()
}

// Segment returns what a segment holds of each shard, as far as it was noted.
func (x *Index) Segment(segment int64) (map[record.Shard][]SegmentPartition, error) {
	shards := map[record.Shard][]SegmentPartition{}
	err := x.each(order.AppendUint64([]byte{kindSegment}, uint64(segment)), func(key, value []byte) error {
		shard, partitions, err := parseSegment(key, value)
		shards[shard] = partitions
		return err
	})
	return shards, err
}
