package log

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// indexer makes the rows that can be remade from entries, as the broker's state machine does.
type indexer struct {
	index   *index.Index
	newest  map[record.Partition]int64 // timestamp
	held    map[int64]map[record.Partition]index.SegmentPartition
	pending int
	batch   *index.Batch
}

func newIndexer(x *index.Index) *indexer {
	return &indexer{index: x, newest: map[record.Partition]int64{}, held: map[int64]map[record.Partition]index.SegmentPartition{}, batch: x.NewBatch()}
}

func (x *indexer) visit(info EntryInfo, tail []byte) error {
	if info.Kind != segment.KindCommand {
		return nil
	}
	entry, err := record.ParseTail(tail)
	if err != nil {
		return err
	}
	number, _ := segment.Split(info.Position)
	if x.held[number] == nil {
		x.held[number] = map[record.Partition]index.SegmentPartition{}
	}
	for i := range entry.RowCount() {
		row := entry.Row(i)
		x.newest[row.Partition] = max(x.newest[row.Partition], row.MaxTimestamp)
		x.batch.PutRun(1, index.Run{
			Partition: row.Partition, First: row.BaseOffset, Last: row.NextOffset() - 1, Index: info.Index, Term: info.Term,
			Position: info.Position, Start: row.Position, Bytes: row.Bytes, MaxTimestamp: x.newest[row.Partition],
		})
		p := x.held[number][row.Partition]
		p.Partition, p.NextOffset, p.MaxTimestamp = row.Partition, row.NextOffset(), x.newest[row.Partition]
		p.Bytes += int64(row.Bytes)
		x.held[number][row.Partition] = p
	}
	var partitions []index.SegmentPartition
	for _, p := range x.held[number] {
		partitions = append(partitions, p)
	}
	slices.SortFunc(partitions, func(a, b index.SegmentPartition) int { return int(a.Partition) - int(b.Partition) })
	x.batch.PutSegment(1, number, partitions)
	x.batch.SetApplied(1, info.Index)
	if x.pending++; x.pending < 10 {
		return nil
	}
	return x.flush()
}

func (x *indexer) flush() error {
	err := x.batch.Commit()
	x.batch.Close()
	x.batch, x.pending = x.index.NewBatch(), 0
	return err
}

func (x *indexer) close(t *testing.T) {
	t.Helper()
	if err := x.flush(); err != nil {
		t.Fatal(err)
	}
	x.batch.Close()
	if err := x.index.Close(); err != nil {
		t.Fatal(err)
	}
}

func rows(t *testing.T, fs FS) []index.Row {
	t.Helper()
	var all []index.Row
	if err := index.Dump(fs, "index", func(row index.Row) error {
		all = append(all, row)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// An index that was deleted and remade from the log has the same rows, truncated entries left out.
func TestIndexComesBackFromTheLog(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	openIndex := func() *index.Index {
		x, err := index.Open(index.Config{FS: fs, Dir: "index"})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	live := newIndexer(openIndex())
	next := map[record.Partition]record.Offset{}
	put := func(i record.Index, term record.Term, apply bool) {
		p := record.Partition(i % 5)
		batch := record.Batch(command(next[p], term, 100+int(i)%3000, uint64(i)))[:record.BatchHeaderBytes+100+int(i)%3000]
		row := record.Row{Partition: p, BaseOffset: next[p], Bytes: uint32(len(batch)), MaxTimestamp: int64(i*37) % 1000}
		appendAll(t, s, Entry{Index: i, Term: term, Payload: record.AppendTail(batch, []record.Row{row}, nil, term)})
		if !apply {
			return
		}
		next[p]++
		s.SetApplied(i)
		info, err := s.Info(i)
		if err != nil {
			t.Fatal(err)
		}
		tail, f, err := s.PinTail(i, term)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Release()
		if err := live.visit(info, tail); err != nil {
			t.Fatal(err)
		}
	}
	for i := record.Index(1); i <= 300; i++ {
		if i%60 == 0 { // three entries that a new leader takes back
			for j := range record.Index(3) {
				put(i+j, record.Term(i/60), false)
			}
			if err := s.Truncate(i); err != nil {
				t.Fatal(err)
			}
		}
		put(i, record.Term(i/60+1), true)
		if i%100 == 0 {
			if err := s.Forget(i - 50); err != nil {
				t.Fatal(err)
			}
		}
	}
	live.close(t)
	want := rows(t, fs)
	if len(want) < 300 {
		t.Fatalf("%d rows", len(want))
	}
	if err := fs.RemoveAll("index"); err != nil {
		t.Fatal(err)
	}
	remade := newIndexer(openIndex())
	if err := s.Scan(1, 300, remade.visit); err != nil {
		t.Fatal(err)
	}
	remade.close(t)
	if got := rows(t, fs); !slices.Equal(got, want) {
		t.Fatalf("%d rows were remade, %d were there", len(got), len(want))
	}
}

// A segment that held only superseded entries is gone; what it followed is still in the window (found by
// TestCrashAtEveryOperation with large entries).
func TestRemovedSegmentInTheMiddleOfAWindow(t *testing.T) {
	config := testConfig(vfs.NewMem())
	l := open(t, config)
	s := l.Shard(1)
	first := entry(1, 1, 10)
	appendAll(t, s, first, entry(2, 1, 40_000), entry(3, 1, 40_000), entry(4, 1, 40_000))
	if err := s.Truncate(2); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(2); err != nil { // it holds the first entry 3 only
		t.Fatal(err)
	}
	again := entry(2, 2, 40_000)
	appendAll(t, s, again, entry(3, 2, 40_000))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, config).Shard(1)
	if s.First() != 1 || s.Last() != 3 {
		t.Fatalf("window %d to %d", s.First(), s.Last())
	}
	wantPin(t, s, first)
	wantPin(t, s, again)
}
