package index

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/log/record"
)

// withRuns calls f with an iterator over a partition's rows of runs.
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

// rowOfRun returns the runs of the row that holds the run which contains offset, or the first one after it.
func (x *Index) rowOfRun(partition record.Partition, offset record.Offset) (runs []Run, err error) {
	if err := x.settle(); err != nil {
		return nil, err
	}
	err = x.withRuns(partition, func(it *pebble.Iterator) error {
		ok, err := seekRun(it, partition, offset)
		if err == nil && ok {
			runs, err = parseRuns(it.Key(), it.Value(), nil)
		}
		return err
	})
	return runs, err
}

// seekRun goes to the row that holds the run which contains offset, or to the first one after it; false: there is none.
func seekRun(it *pebble.Iterator, partition record.Partition, offset record.Offset) (bool, error) {
	if !it.SeekLT(runKey(nil, partition, offset+1)) {
		return it.First(), it.Error()
	}
	runs, err := parseRuns(it.Key(), it.Value(), nil)
	if err != nil || runs[len(runs)-1].Last >= offset {
		return err == nil, err
	}
	return it.Next(), it.Error()
}

// appendFrom appends the runs from the one that contains offset on, limit at most.
func appendFrom(dst, runs []Run, offset record.Offset, limit int) []Run {
	at, _ := slices.BinarySearchFunc(runs, offset, func(run Run, offset record.Offset) int { return cmp.Compare(run.Last, offset) })
	return append(dst, runs[at:min(len(runs), at+max(limit, 0))]...)
}

// Runs appends to dst the run that contains from, or the first after it, and those that follow, limit at most.
func (x *Index) Runs(partition record.Partition, from record.Offset, limit int, dst []Run) ([]Run, error) {
	newer := x.pending.runs(partition) // before Pebble is asked: they may come to it meanwhile
	had, bound := len(dst), record.Offset(math.MaxInt64)
	for _, runs := range newer {
		if len(runs) > 0 {
			bound = runs[0].First
			break
		}
	}
	if from < bound {
		err := x.withRuns(partition, func(it *pebble.Iterator) error {
			ok, err := seekRun(it, partition, from)
			for ; ok && err == nil && len(dst)-had < limit; ok = it.Next() {
				var block [blockRuns]Run
				runs, failed := parseRuns(it.Key(), it.Value(), block[:0])
				if err = failed; err == nil {
					dst = appendFrom(dst, runs, from, limit-(len(dst)-had))
				}
			}
			return err
		})
		if err != nil {
			return dst[:had], err
		}
		for len(dst) > had && dst[len(dst)-1].First >= bound {
			dst = dst[:len(dst)-1]
		}
	}
	for _, runs := range newer {
		dst = appendFrom(dst, runs, from, limit-(len(dst)-had))
	}
	return dst, nil
}

// LastRun returns the partition's last run.
func (x *Index) LastRun(partition record.Partition) (run Run, ok bool, err error) {
	newer := x.pending.runs(partition)
	for _, runs := range slices.Backward(newer[:]) {
		if n := len(runs); n > 0 {
			return runs[n-1], true, nil
		}
	}
	err = x.withRuns(partition, func(it *pebble.Iterator) error {
		if ok = it.Last(); !ok {
			return nil
		}
		runs, err := parseRuns(it.Key(), it.Value(), nil)
		if err == nil {
			run = runs[len(runs)-1]
		}
		return err
	})
	return run, ok, err
}

// RunAtTime returns the first run whose running maximum timestamp is at least
// timestamp (milliseconds): the one that holds the first record as new as that.
func (x *Index) RunAtTime(partition record.Partition, timestamp int64) (found Run, ok bool, err error) {
	newer := x.pending.runs(partition)
	err = x.withRuns(partition, func(it *pebble.Iterator) error {
		found, ok, err = runAtTime(it, partition, timestamp)
		return err
	})
	for _, runs := range newer {
		if ok || err != nil {
			break
		}
		found, ok = firstAtTime(runs, timestamp)
	}
	return found, ok && err == nil, err
}

// firstAtTime is RunAtTime among these runs.
func firstAtTime(runs []Run, timestamp int64) (Run, bool) {
	at, _ := slices.BinarySearchFunc(runs, timestamp, func(run Run, timestamp int64) int { return cmp.Compare(run.MaxTimestamp, timestamp) })
	if at == len(runs) {
		return Run{}, false
	}
	for at > 0 && runs[at-1].MaxTimestamp >= timestamp {
		at--
	}
	return runs[at], true
}

// runAtTime is RunAtTime in Pebble: it halves between the first and the last row.
func runAtTime(it *pebble.Iterator, partition record.Partition, timestamp int64) (Run, bool, error) {
	if !it.Last() {
		return Run{}, false, it.Error()
	}
	high, err := parseRuns(it.Key(), it.Value(), nil)
	if err != nil || high[len(high)-1].MaxTimestamp < timestamp {
		return Run{}, false, err
	}
	it.First()
	low, err := parseRuns(it.Key(), it.Value(), nil)
	if err != nil {
		return Run{}, false, err
	}
	if low[len(low)-1].MaxTimestamp >= timestamp {
		high = low
	}
	for low[0].First < high[0].First { // (low, high]: low is too old, high is not
		middle := low[0].First + (high[0].First-low[0].First)/2
		if !it.SeekLT(runKey(nil, partition, middle+1)) {
			break
		}
		runs, err := parseRuns(it.Key(), it.Value(), nil)
		if err == nil && runs[0].First == low[0].First { // nothing between low and the middle: look at low's successor
			if !it.Next() {
				break
			}
			runs, err = parseRuns(it.Key(), it.Value(), nil)
		}
		if err != nil {
			return Run{}, false, err
		}
		if runs[0].First >= high[0].First {
			break
		}
		if runs[len(runs)-1].MaxTimestamp >= timestamp {
			high = runs
		} else {
			low = runs
		}
	}
	run, ok := firstAtTime(high, timestamp)
	return run, ok, it.Error()
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
	if first, newer := x.pending.stream(prefix); first >= 0 {
		return version == first+int64(len(newer[0])+len(newer[1]))-1, nil
	}
	if version >= 0 {
		if ok, err := x.has(order.AppendUint64(prefix, uint64(version))); err != nil || !ok {
			return false, err
		}
	}
	later, err := x.has(order.AppendUint64(prefix, uint64(version+1)))
	return err == nil && !later, err
}

// has reports whether Pebble has a row.
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
	first, places := x.pending.stream(prefix) // before Pebble is asked: they may come to it meanwhile
	newer := newerVersions{partition: partition, key: key, first: first, places: places}
	if backward {
		if first >= 0 && from < 0 {
			from = newer.end() - 1
		}
		for first >= 0 && from >= first && len(versions) < limit {
			if from < newer.end() {
				versions = append(versions, newer.at(from))
			}
			from--
		}
		if first == 0 || len(versions) == limit {
			return versions, nil
		}
		return x.storedVersions(prefix, from, limit, true, versions)
	}
	from = max(from, 0)
	if first < 0 || from < first {
		if versions, err = x.storedVersions(prefix, from, limit, false, versions); err != nil {
			return nil, err
		}
		for n := len(versions); first >= 0 && n > 0 && versions[n-1].Version >= first; n = len(versions) {
			versions = versions[:n-1]
		}
		from = max(from, first)
	}
	for ; first >= 0 && from < newer.end() && len(versions) < limit; from++ {
		versions = append(versions, newer.at(from))
	}
	return versions, nil
}

// newerVersions are those of a stream that are not in Pebble, or may not be.
type newerVersions struct {
	partition record.Partition
	key       []byte
	first     int64
	places    [2][]layerVersion
}

func (n *newerVersions) end() int64 { return n.first + int64(len(n.places[0])+len(n.places[1])) }

func (n *newerVersions) at(version int64) StreamVersion {
	places, i := n.places[0], version-n.first
	if i >= int64(len(places)) {
		places, i = n.places[1], i-int64(len(places))
	}
	return StreamVersion{Partition: n.partition, Key: slices.Clone(n.key), Version: version, Offset: places[i].offset, EventID: places[i].id}
}

// storedVersions is Versions of what is in Pebble, appended to versions; limit is of all.
func (x *Index) storedVersions(prefix []byte, from int64, limit int, backward bool, versions []StreamVersion) (_ []StreamVersion, err error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var ok bool
	switch {
	case !backward:
		ok = it.SeekGE(order.AppendUint64(prefix, uint64(from)))
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
	for _, shard := range x.knownShards() {
		key := segmentKey(segment, shard)
		value, ok, err := x.get(key)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if _, shards[shard], err = parseSegment(key, value); err != nil {
			return nil, err
		}
	}
	return shards, nil
}
