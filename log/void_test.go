package log

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
)

// torn returns a disk on which the power was lost while the head of the segment after the newest was written.
func torn(t *testing.T) (disk *vfs.MemFS, void int64, last record.Index) {
	t.Helper()
	fs := vfs.NewMem()
	l, s := filled(t, fs, 20, 9000)
	waitForPrepared(l)
	void, last = l.Active()+1, s.Last()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, testConfig(fs).SegmentBytes)
	copy(b[512:], "only one sector of the head came to the disk")
	return with(t, fs, segmentPath(void), b), void, last
}

// What could not be read is never removed: nobody can say that nothing live is in it.
func TestUnreadableSegmentStays(t *testing.T) {
	fs, void, last := torn(t)
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	appendAll(t, s, entry(last+1, 2, 100))
	s.SetApplied(last + 1)
	if err := s.Forget(last); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, info := range l.Segments() {
		found = found || info.Number == void && info.Void
	}
	if !found {
		t.Errorf("segment %d is not listed as unreadable: %+v", void, l.Segments())
	}
	if err := l.Remove(void); !errors.Is(err, ErrNeeded) {
		t.Errorf("remove what cannot be read: %v", err)
	}
	if _, err := fs.Stat(segmentPath(void)); err != nil {
		t.Errorf("the segment is gone: %v", err)
	}
}

// The number of a removed segment is not used again: the next start would finish the removal.
func TestNumberOfRemovedSegmentIsNotReused(t *testing.T) {
	fs, void, last := torn(t)
	config := testConfig(fs)
	l := open(t, config) // prepares the segment after the unreadable one, and writes nothing to it
	waitForPrepared(l)
	if err := l.removed.add(void, nil); err != nil { // as an earlier release did
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for restart := range record.Index(3) {
		l = open(t, config)
		if found := l.Shard(1).Last(); found != last+restart {
			t.Fatalf("start %d: the log ends at %d, wanted %d", restart, found, last+restart)
		}
		appendAll(t, l.Shard(1), entry(last+restart+1, 2, 44_000)) // begins a segment
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func waitForPrepared(l *Log) {
	p := l.writer.next
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.ready == nil {
		p.changed.Wait()
	}
}

// A segment goes only when the head of the next one, which tells where it ended and what it held, is durable.
func TestRemoveWaitsForTheNextHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashableMem()
		config := testConfig(disk)
		l := open(t, config)
		s := l.Shard(1)
		for i := record.Index(1); s.fits(9000); i++ {
			appendAll(t, s, entry(i, 1, 9000))
		}
		s.SetApplied(s.Last())
		// The marker that forgets everything is the last record that fits.
		for s.fits(0) && l.room() > 1024 {
			appendAll(t, s, entry(s.Last()+1, 1, 0))
			s.SetApplied(s.Last())
		}
		for l.room() > 512 {
			if err := s.Append([]Entry{{Index: s.Last() + 1, Term: 1, Kind: 1}}); err != nil {
				t.Fatal(err)
			}
			s.SetApplied(s.Last())
		}
		if err := s.Forget(s.Last()); err != nil {
			t.Fatal(err)
		}
		if room := l.room(); room != 0 {
			t.Fatalf("%d bytes are left in the segment", room)
		}
		time.Sleep(2 * noteDelay) // the note begins the next segment, and is not synced
		if number := l.Active(); number != 2 {
			t.Fatalf("the log is in segment %d", number)
		}
		if err := l.Remove(1); !errors.Is(err, ErrNeeded) {
			t.Errorf("remove the segment before one that is not durable: %v", err)
		}
		config.FS = disk.CrashClone(vfs.CrashCloneCfg{})
		again := open(t, config)
		if again.Shard(1).Last() != 0 {
			t.Errorf("entries up to %d came back", again.Shard(1).Last())
		}
	})
}

// room is how many bytes are left in the active segment.
func (l *Log) room() int64 {
	l.writer.mu.Lock()
	defer l.writer.mu.Unlock()
	return l.config.SegmentBytes - int64(l.writer.end)&(1<<30-1)
}

// fits reports whether an entry of n bytes of records would go to the active segment.
func (s *Shard) fits(n int) bool { return s.log.room() > int64(n)+2048 }
