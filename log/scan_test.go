package log

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

// What retention removes while it is scanned is not retained; that is no failure of the scan.
func TestScanWhileSegmentsAreRemoved(t *testing.T) {
	var opened atomic.Pointer[func(string)]
	config := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f := opened.Load(); f != nil && op.Kind == errorfs.OpOpen {
			(*f)(op.Path)
		}
		return nil
	})))
	l := open(t, config)
	s := l.Shard(1)
	for i := record.Index(1); i <= 9; i++ { // 6 a segment
		appendAll(t, s, entry(i, 1, 9000))
	}
	if err := s.Truncate(5); err != nil { // 5 and 6 of term 1 lie in segment 1, the marker in segment 2
		t.Fatal(err)
	}
	for i := record.Index(5); i <= 40; i++ {
		appendAll(t, s, entry(i, 2, 9000))
	}
	s.SetApplied(40)
	if err := s.Forget(38); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // so that no file is open for reading
		t.Fatal(err)
	}
	l = open(t, config)
	s = l.Shard(1)
	var once atomic.Bool
	remove := func(path string) {
		if strings.HasSuffix(path, segmentPath(2)) && !once.Swap(true) {
			for _, number := range []int64{1, 2} {
				if err := l.Remove(number); err != nil {
					t.Error(err)
				}
			}
		}
	}
	opened.Store(&remove)
	found := scanned(t, s, 0, 100)
	opened.Store(nil)
	if !once.Load() || len(found) == 0 || found[0] < 6 || !slices.Equal(found, indexes(found[0], 40)) {
		t.Errorf("entries that were removed when the files were looked at: %v", found)
	}
	first := found[0]
	found = nil
	if err := s.Scan(0, 100, func(info EntryInfo, _ []byte) error {
		if found = append(found, info.Index); len(found) == 1 {
			return l.Remove(4) // its entries have been found, and not been read yet
		}
		return nil
	}); err != nil || len(found) >= len(indexes(first, 40)) || found[len(found)-1] != 40 {
		t.Errorf("entries that were removed when they were to be read: %v, %v", found, err)
	}
}

// A file that is missing and was not removed is no matter of retention.
func TestScanFindsLostSegment(t *testing.T) {
	fs := vfs.NewMem()
	l, s := filled(t, fs, 40, 9000)
	l.readers.forget(2)
	if err := fs.Remove(segmentPath(2)); err != nil {
		t.Fatal(err)
	}
	if err := s.Scan(0, 100, func(EntryInfo, []byte) error { return nil }); err == nil {
		t.Error("the scan passed over a segment that is lost")
	}
}
