package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

func open(t testing.TB, fs vfs.FS) *index.Index {
	t.Helper()
	x, err := index.Open(index.Config{FS: fs, Dir: "index", Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func commit(t testing.TB, x *index.Index, fill func(*index.Batch)) {
	t.Helper()
	batch := x.NewBatch()
	defer batch.Close()
	fill(batch)
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
}

// runs returns consecutive runs whose sizes and times the generator draws.
func runs(rt *rapid.T, partition record.Partition) []index.Run {
	var all []index.Run
	next, newest := record.Offset(rapid.Int64Range(0, 1000).Draw(rt, "first")), int64(0)
	for i := range rapid.IntRange(1, 60).Draw(rt, "count") {
		n := record.Offset(rapid.Int64Range(1, 9).Draw(rt, "records"))
		newest = max(newest, rapid.Int64Range(0, 500).Draw(rt, "time"))
		all = append(all, index.Run{
			Partition: partition, First: next, Last: next + n - 1, Index: record.Index(i + 1), Term: 3,
			Position: record.Position(i * 512), Start: 7, Bytes: uint32(n) * 10, MaxTimestamp: newest,
		})
		next += n
	}
	return all
}

func TestFindsLikeAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := open(t, vfs.NewMem())
		all := runs(rt, 5)
		other := index.Run{Partition: 6, First: 0, Last: 10_000, MaxTimestamp: 9_999}
		commit(t, x, func(b *index.Batch) { b.PutRun(1, other) })
		for rest := all; len(rest) > 0; { // some in Pebble, some not, in rows of all sizes
			n := rapid.IntRange(1, len(rest)).Draw(rt, "together")
			commit(t, x, func(b *index.Batch) {
				for _, run := range rest[:n] {
					b.PutRun(1, run)
				}
			})
			rest = rest[n:]
			if rapid.Bool().Draw(rt, "flush") {
				if err := x.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
		}
		from := record.Offset(rapid.Int64Range(0, int64(all[len(all)-1].Last)+5).Draw(rt, "from"))
		limit := rapid.IntRange(1, 70).Draw(rt, "limit")
		at := sort.Search(len(all), func(i int) bool { return all[i].Last >= from })
		got, err := x.Runs(5, from, limit, nil)
		if err != nil {
			rt.Fatal(err)
		}
		if want := all[at:min(len(all), at+limit)]; !slices.Equal(want, got) {
			rt.Fatalf("runs from %d: %s", from, cmp.Diff(want, got))
		}
		when := rapid.Int64Range(0, 600).Draw(rt, "when")
		at = slices.IndexFunc(all, func(r index.Run) bool { return r.MaxTimestamp >= when })
		run, ok, err := x.RunAtTime(5, when)
		if err != nil || ok != (at >= 0) || ok && run != all[at] {
			rt.Fatalf("run at time %d: %+v %v %v, wanted number %d of %+v", when, run, ok, err, at, all)
		}
		if last, ok, err := x.LastRun(5); err != nil || !ok || last != all[len(all)-1] {
			rt.Fatalf("last run %+v %v %v", last, ok, err)
		}
		commit(t, x, func(b *index.Batch) { b.DropRunsBefore(1, 5, from) })
		at = sort.Search(len(all), func(i int) bool { return all[i].Last >= from })
		first, err := x.Runs(5, from, 1, nil)
		if err != nil || (len(first) == 1) != (at < len(all)) || len(first) == 1 && first[0] != all[at] {
			rt.Fatalf("first run after the drop: %+v %v", first, err)
		}
		if rest, _ := x.Runs(6, 0, 1, nil); len(rest) != 1 {
			rt.Fatal("the other partition's run is gone")
		}
	})
}

func TestEpochs(t *testing.T) {
	x := open(t, vfs.NewMem())
	commit(t, x, func(b *index.Batch) {
		b.PutEpoch(1, 5, 2, 0)
		b.PutEpoch(1, 5, 4, 10)
		b.PutEpoch(1, 5, 9, 30)
		b.PutEpoch(1, 6, 3, 7)
	})
	for _, test := range []struct {
		term, found record.Term
		end         record.Offset
		ok          bool
	}{{1, 0, 0, false}, {2, 2, 10, true}, {3, 2, 10, true}, {4, 4, 30, true}, {9, 9, -1, true}, {100, 9, -1, true}} {
		end, found, ok, err := x.EpochEnd(5, test.term)
		if err != nil || ok != test.ok || found != test.found || ok && end != test.end {
			t.Errorf("term %d: end %d found %d %v %v, wanted %+v", test.term, end, found, ok, err, test)
		}
	}
	commit(t, x, func(b *index.Batch) { b.DropRunsBefore(1, 5, 12) })
	if _, found, ok, _ := x.EpochEnd(5, 3); ok {
		t.Errorf("term 2, which ended at 10, is still there: %d", found)
	}
	if _, found, ok, _ := x.EpochEnd(5, 4); !ok || found != 4 {
		t.Error("term 4, which holds 12, is gone")
	}
}

func TestStreams(t *testing.T) {
	x := open(t, vfs.NewMem())
	keys := [][]byte{[]byte("a"), []byte("ab"), {}, {0}, {0, 0, 0, 1}, []byte("a\x00")}
	commit(t, x, func(b *index.Batch) {
		for i, key := range keys {
			for v := range int64(5) {
				b.PutVersion(1, index.StreamVersion{Partition: 5, Key: key, Version: v, Offset: record.Offset(10*int64(i) + v), EventID: [16]byte{byte(i), byte(v)}})
			}
		}
	})
	for i, key := range keys {
		head, version, err := x.StreamHead(5, key)
		if err != nil || head != 4 || version.Offset != record.Offset(10*i+4) || !bytes.Equal(version.Key, key) {
			t.Errorf("head of %q: %d %+v %v", key, head, version, err)
		}
		back, err := x.Versions(5, key, 2, 10, true)
		if err != nil || len(back) != 3 || back[0].Version != 2 || back[2].Version != 0 {
			t.Errorf("backward from 2 of %q: %+v %v", key, back, err)
		}
		forth, err := x.Versions(5, key, 3, 1, false)
		if err != nil || len(forth) != 1 || forth[0].Version != 3 || forth[0].EventID != [16]byte{byte(i), 3} {
			t.Errorf("forward from 3 of %q: %+v %v", key, forth, err)
		}
	}
	if head, _, err := x.StreamHead(6, []byte("a")); head != -1 || err != nil {
		t.Errorf("head of a stream that is not there: %d %v", head, err)
	}
}

func dump(t *testing.T, x *index.Index, shard record.Shard) []byte {
	t.Helper()
	snapshot, err := x.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = snapshot.Close() }()
	var b bytes.Buffer
	if err := snapshot.Export(shard, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fill(b *index.Batch) {
	b.PutRun(1, index.Run{Partition: 5, Last: 3})
	b.PutEpoch(1, 5, 2, 0)
	b.PutVersion(1, index.StreamVersion{Partition: 5, Key: []byte("s")})
	b.PutSegment(1, 9, []index.SegmentPartition{{Partition: 5, NextOffset: 4, MaxTimestamp: 77, Bytes: 123}})
	b.PutSegment(2, 9, []index.SegmentPartition{{Partition: 8, NextOffset: 1}})
	b.Put(1, []byte("g/one"), []byte("1"))
	b.Put(1, []byte("g/two"), bytes.Repeat([]byte("x"), 200_000))
	b.Put(2, []byte("g/one"), []byte("other shard"))
	b.SetApplied(1, 42)
	b.SetApplied(2, 7)
}

func TestExportImport(t *testing.T) {
	x := open(t, vfs.NewMem())
	commit(t, x, fill)
	export := dump(t, x, 1)
	y := open(t, vfs.NewMem())
	commit(t, y, func(b *index.Batch) { b.Put(1, []byte("old"), []byte("must go")); b.SetApplied(2, 7) })
	if err := y.Import(1, bytes.NewReader(export)); err != nil {
		t.Fatal(err)
	}
	if again := dump(t, y, 1); !bytes.Equal(again, export) {
		t.Errorf("the import exports %d other bytes than %d", len(again), len(export))
	}
	if applied, err := y.Applied(1); applied != 42 || err != nil {
		t.Errorf("applied %d %v", applied, err)
	}
	if applied, _ := y.Applied(2); applied != 7 {
		t.Error("the other shard was touched")
	}
	for i := range export {
		damaged := bytes.Clone(export[:min(len(export), 400)])
		if i >= len(damaged) {
			break
		}
		damaged[i] ^= 0x40
		if err := y.Import(1, bytes.NewReader(append(damaged, export[len(damaged):]...))); !errors.Is(err, record.ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if applied, _ := y.Applied(1); i >= len("stela-index-1\n") && applied != 0 {
			t.Fatalf("byte %d flipped: applied %d after a failed import", i, applied)
		}
	}
	if err := y.Import(1, bytes.NewReader(export[:len(export)-9])); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
}

func TestDropShard(t *testing.T) {
	x := open(t, vfs.NewMem())
	commit(t, x, fill)
	commit(t, x, func(b *index.Batch) { b.DropShard(1) })
	if runs, _ := x.Runs(5, 0, 1, nil); len(runs) > 0 {
		t.Error("a run is left")
	}
	if head, _, _ := x.StreamHead(5, []byte("s")); head != -1 {
		t.Error("a version is left")
	}
	if applied, _ := x.Applied(1); applied != 0 {
		t.Error("applied is left")
	}
	segment, err := x.Segment(9)
	if err != nil || len(segment) != 1 || len(segment[2]) != 1 || segment[2][0].Partition != 8 {
		t.Errorf("segment row: %+v %v", segment, err)
	}
	if value, ok, _ := x.Get(2, []byte("g/one")); !ok || string(value) != "other shard" {
		t.Error("the other shard's row is gone")
	}
}

// What was flushed survives a crash together with its Applied row; the rest goes as a whole.
func TestCrashGoesBackToFlush(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll("index", 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := fs.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Sync(); err != nil {
		t.Fatal(err)
	}
	x := open(t, fs)
	put := func(n int) {
		commit(t, x, func(b *index.Batch) {
			b.Put(1, fmt.Appendf(nil, "row%03d", n), []byte("v"))
			b.SetApplied(1, record.Index(n))
		})
	}
	for n := 1; n <= 10; n++ {
		put(n)
	}
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	for n := 11; n <= 20; n++ {
		put(n)
	}
	y := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	applied, err := y.Applied(1)
	if err != nil || applied < 10 {
		t.Fatalf("applied %d %v, flushed 10", applied, err)
	}
	rows, failed := y.Scan(1, []byte("row"))
	count := 0
	for range rows {
		count++
	}
	if failed() != nil || count != int(applied) {
		t.Errorf("%d rows, applied %d, %v", count, applied, failed())
	}
}

func BenchmarkCommit(b *testing.B) {
	x := open(b, vfs.NewMem())
	b.ReportAllocs()
	run := index.Run{Partition: 1}
	for i := 0; b.Loop(); i++ {
		batch := x.NewBatch()
		for p := range record.Partition(12) {
			run.Partition, run.First, run.Last = p, record.Offset(i*10), record.Offset(i*10+9)
			batch.PutRun(1, run)
		}
		batch.SetApplied(1, record.Index(i+1))
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
		batch.Close()
	}
}
