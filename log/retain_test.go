package log

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

func scanned(t testing.TB, s *Shard, from, through record.Index) []record.Index {
	t.Helper()
	var found []record.Index
	if err := s.Scan(from, through, func(info EntryInfo, _ []byte) error {
		found = append(found, info.Index)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func indexes(from, through record.Index) []record.Index {
	var all []record.Index
	for i := from; i <= through; i++ {
		all = append(all, i)
	}
	return all
}

func filled(t testing.TB, fs FS, n record.Index, size int) (*Log, *Shard) {
	t.Helper()
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	for i := record.Index(1); i <= n; i++ {
		appendAll(t, s, entry(i, 1, size))
	}
	return l, s
}

func TestRemoveLeavesTheRest(t *testing.T) {
	fs := vfs.NewMem()
	l, s := filled(t, fs, 40, 9000) // 5 a segment
	if err := l.Remove(1); !errors.Is(err, ErrNeeded) {
		t.Fatalf("raft needs it: %v", err)
	}
	s.SetApplied(35)
	if err := s.Forget(30); err != nil {
		t.Fatal(err)
	}
	segments := l.Segments()
	active := segments[len(segments)-1].Number
	if err := l.Remove(active); !errors.Is(err, ErrNeeded) {
		t.Fatalf("it is active: %v", err)
	}
	if err := l.Remove(99); !errors.Is(err, ErrNotFound) {
		t.Fatalf("there is none: %v", err)
	}
	all := scanned(t, s, 0, 100)
	if !slices.Equal(all, indexes(1, 40)) {
		t.Fatalf("scan: %v", all)
	}
	held := func(number int64) []record.Index {
		var inside []record.Index
		for _, i := range all {
			info, err := entryInfo(s, i)
			if n, _ := segment.Split(info.Position); err == nil && n == number {
				inside = append(inside, i)
			}
		}
		return inside
	}
	gone := map[record.Index]bool{}
	for _, number := range []int64{3, 1, 4, 2} { // a hole, the first, holes that grow together
		for _, i := range held(number) {
			gone[i] = true
		}
		if err := l.Remove(number); err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(slices.Clone(all), func(i record.Index) bool { return gone[i] })
		if found := scanned(t, s, 0, 100); !slices.Equal(found, want) {
			t.Fatalf("after removing %d: %v, wanted %v", number, found, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, testConfig(fs))
		s = l.Shard(1)
		if found := scanned(t, s, 0, 100); !slices.Equal(found, want) {
			t.Fatalf("after removing %d and a restart: %v, wanted %v", number, found, want)
		}
		if s.RetainedFirst() != want[0] || s.First() != 31 {
			t.Fatalf("retained from %d, window from %d", s.RetainedFirst(), s.First())
		}
	}
	if _, _, err := s.Read(1, segment.At(1, 4096), 0, 10); !errors.Is(err, ErrNotFound) {
		t.Fatalf("read from a removed segment: %v", err)
	}
	// What was not removed and is missing is still noticed.
	clone := with(t, fs, segmentPath(5), nil)
	if _, err := Open(testConfig(clone)); !errors.Is(err, record.ErrCorrupt) {
		t.Fatal(err)
	}
}

func entryInfo(s *Shard, i record.Index) (found EntryInfo, err error) {
	err = s.Scan(i, i, func(info EntryInfo, _ []byte) error {
		found = info
		return nil
	})
	if err == nil && found.Index == 0 {
		err = ErrNotFound
	}
	return found, err
}

// A segment whose marker says that entries in an older segment are superseded stays as long as those do.
func TestRemoveKeepsMarkersThatAreNeeded(t *testing.T) {
	fs := vfs.NewMem()
	l, s := filled(t, fs, 9, 9000) // 6 in the first segment
	if err := s.Truncate(5); err != nil {
		t.Fatal(err)
	}
	for i := record.Index(5); i <= 20; i++ {
		appendAll(t, s, entry(i, 2, 9000))
	}
	s.SetApplied(20)
	if err := s.Forget(19); err != nil {
		t.Fatal(err)
	}
	wanted := func() {
		t.Helper()
		if err := s.Scan(1, 20, func(info EntryInfo, _ []byte) error {
			if info.Index >= 5 && info.Term != 2 {
				return fmt.Errorf("entry %d of term %d came back", info.Index, info.Term)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Remove(2); !errors.Is(err, ErrNeeded) {
		t.Fatalf("remove the marker's segment: %v", err)
	}
	wanted()
	for _, number := range []int64{1, 2} {
		if err := l.Remove(number); err != nil {
			t.Fatal(err)
		}
		wanted()
	}
}

func TestBackfill(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	for i := record.Index(1); i <= 6; i++ {
		appendAll(t, s, entry(i, 1, 3000))
	}
	s.SetApplied(3)
	// The node was behind: entries 4 to 6 were never committed, a snapshot up to 50 comes from the leader.
	if err := s.Truncate(4); err != nil {
		t.Fatal(err)
	}
	for i := record.Index(4); i <= 50; i += 5 {
		var batch []Entry
		for j := i; j < min(i+5, 51); j++ {
			batch = append(batch, entry(j, 2, 3000))
		}
		if err := s.Backfill(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WaitBackfill(); err != nil {
		t.Fatal(err)
	}
	if s.Last() != 3 {
		t.Fatalf("backfilled entries are in the window, which ends at %d", s.Last())
	}
	s.SetApplied(50)
	if err := s.Forget(3); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, entry(51, 2, 3000), entry(52, 2, 3000))
	for restart := range 2 {
		if found := scanned(t, s, 0, 100); !slices.Equal(found, indexes(1, 52)) {
			t.Fatalf("restart %d: %v", restart, found)
		}
		if found := scanned(t, s, 10, 20); !slices.Equal(found, indexes(10, 20)) {
			t.Fatalf("restart %d: %v", restart, found)
		}
		if err := s.Scan(1, 52, func(info EntryInfo, tail []byte) error {
			term := record.Term(2)
			if info.Index <= 3 {
				term = 1
			}
			payload, f, err := s.PinAt(info)
			if err != nil {
				return err
			}
			defer f.Release()
			if want := entry(info.Index, term, 3000).Payload; !slices.Equal(payload, want) {
				return fmt.Errorf("entry %d is another", info.Index)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if s.First() != 51 || s.Last() != 52 {
			t.Fatalf("window %d to %d", s.First(), s.Last())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, testConfig(fs))
		s = l.Shard(1)
	}
}

// Entries that Raft appended while a peer's were backfilled, and that are dropped then, do not hide those.
func TestBackfillBesideAppends(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	appendAll(t, s, entry(1, 1, 300), entry(2, 1, 300), entry(3, 1, 300))
	s.SetApplied(1)
	if err := s.Backfill([]Entry{entry(2, 2, 300), entry(3, 2, 300), entry(4, 2, 300), entry(5, 2, 300)}); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, entry(4, 1, 300))
	if err := s.Truncate(2); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(1); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, entry(6, 2, 300))
	for restart := range 2 {
		terms := map[record.Index]record.Term{}
		if err := s.Scan(0, 100, func(info EntryInfo, _ []byte) error {
			terms[info.Index] = info.Term
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(terms) != 6 || terms[1] != 1 || terms[2] != 2 || terms[3] != 2 || terms[4] != 2 || terms[5] != 2 {
			t.Fatalf("restart %d: terms %v", restart, terms)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, testConfig(fs))
		s = l.Shard(1)
	}
}

// A quiet shard's old window must not make a start read everything in between.
func TestStartReadsOnlyWhatHoldsTheWindows(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	quiet := l.Shard(0)
	appendAll(t, quiet, entry(1, 1, 10))
	busy := l.Shard(1)
	for i := record.Index(1); i <= 100; i++ {
		appendAll(t, busy, entry(i, 1, 9000))
	}
	busy.SetApplied(100)
	if err := busy.Forget(98); err != nil {
		t.Fatal(err)
	}
	for i := record.Index(101); i <= 110; i++ {
		appendAll(t, busy, entry(i, 1, 9000))
	}
	count := len(l.Segments())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// A damaged record in the middle lies in a segment that a start need not look at.
	b := readFile(t, fs, segmentPath(int64(count/2)))
	b[4096+20] ^= 1
	clone := with(t, fs, segmentPath(int64(count/2)), b)
	l = open(t, testConfig(clone))
	if l.Shard(0).First() != 1 || l.Shard(1).First() != 99 || l.Shard(1).Last() != 110 {
		t.Fatal("the windows are not as they were")
	}
	err := l.Shard(1).Scan(1, 110, func(EntryInfo, []byte) error { return nil })
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != segmentPath(int64(count/2)) {
		t.Fatalf("scan over the damage: %v", err)
	}
}
