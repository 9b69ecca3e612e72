package log

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

var errDisk = errors.New("disk says no")

// faulty returns a disk on which fault decides the fate of operations once it is set.
func faulty() (FS, *atomic.Pointer[func(errorfs.Op) error]) {
	var fault atomic.Pointer[func(errorfs.Op) error]
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f := fault.Load(); f != nil {
			return (*f)(op)
		}
		return nil
	})), &fault
}

func TestFailedWriteOrSyncEndsTheLog(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWriteAt, errorfs.OpFileSyncData} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, fault := faulty()
				config := testConfig(fs)
				fatal := make(chan error, 8)
				config.Fatal = func(err error) { fatal <- err }
				l := open(t, config)
				s := l.Shard(1)
				appendAll(t, s, entry(1, 1, 10))
				failures := 0
				f := func(op errorfs.Op) error {
					if op.Kind == kind {
						failures++
						return errDisk
					}
					return nil
				}
				fault.Store(&f)
				waiting := make(chan error, 2)
				if err := s.Append([]Entry{entry(2, 1, 10), entry(3, 1, 10)}); err != nil {
					t.Fatal(err)
				}
				for i := range record.Index(2) {
					go func() { waiting <- s.WaitDurable(2 + i) }()
				}
				for range 2 {
					if err := <-waiting; !errors.Is(err, errDisk) {
						t.Errorf("waiting: %v", err)
					}
				}
				fault.Store(nil) // the disk is well again, but what it lost is not known
				if err := s.Append([]Entry{entry(4, 1, 10)}); !errors.Is(err, errDisk) {
					t.Errorf("append: %v", err)
				}
				if err := l.Shard(7).Append([]Entry{entry(1, 1, 10)}); !errors.Is(err, errDisk) {
					t.Errorf("append to another shard: %v", err)
				}
				if err := s.WaitDurable(1); err != nil {
					t.Errorf("what was durable before: %v", err)
				}
				synctest.Wait()
				if err := <-fatal; !errors.Is(err, errDisk) || len(fatal) != 0 {
					t.Errorf("fatal: %v and %d more", err, len(fatal))
				}
				if failures != 1 {
					t.Errorf("%d calls failed: it was tried again", failures)
				}
			})
		})
	}
}

func TestHungDiskEndsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, fault := faulty()
		config := testConfig(fs)
		fatal := make(chan error, 8)
		config.Fatal = func(err error) { fatal <- err }
		l := open(t, config)
		s := l.Shard(1)
		appendAll(t, s, entry(1, 1, 10))
		release := make(chan struct{})
		hang := func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData {
				<-release
			}
			return nil
		}
		fault.Store(&hang)
		began := time.Now()
		if err := s.Append([]Entry{entry(2, 1, 10)}); err != nil {
			t.Fatal(err)
		}
		if err := s.WaitDurable(2); !errors.Is(err, ErrHung) {
			t.Errorf("waiting: %v", err)
		}
		if took := time.Since(began); took != config.HangTimeout && took != defaultHangTimeout {
			t.Errorf("noticed after %s", took)
		}
		if err := <-fatal; !errors.Is(err, ErrHung) {
			t.Error(err)
		}
		if err := l.Close(); !errors.Is(err, ErrHung) {
			t.Errorf("close while the disk hangs: %v", err)
		}
		close(release)
		synctest.Wait()
		if err := s.WaitDurable(2); err == nil {
			t.Error("a write that came late was taken for durable")
		}
		if len(fatal) != 0 {
			t.Error("fatal was called twice")
		}
	})
}

func TestFullDiskIsToldAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, fault := faulty()
		l := open(t, testConfig(fs))
		s := l.Shard(1)
		synctest.Wait()
		full := func(op errorfs.Op) error {
			if op.Kind == errorfs.OpOpen {
				return syscall.ENOSPC
			}
			return nil
		}
		fault.Store(&full)
		appendAll(t, s, entry(1, 1, 10)) // the first segment was prepared; the second cannot be
		synctest.Wait()
		if err := l.Writable(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("writable: %v", err)
		}
		appendAll(t, s, entry(2, 1, 10)) // there is room left in this one
		fault.Store(nil)
		time.Sleep(2 * prepareRetry)
		if err := l.Writable(); err != nil {
			t.Fatalf("writable again: %v", err)
		}
		for i := record.Index(3); i < 20; i++ {
			appendAll(t, s, entry(i, 1, 10_000))
		}
	})
}

// A log that is idle notes how far it is synced, once, and then touches the disk no more.
func TestIdleLogNotesItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, testConfig(vfs.NewMem()))
		appendAll(t, l.Shard(1), entry(1, 1, 10))
		before := l.Stats()
		time.Sleep(time.Hour)
		after := l.Stats()
		if after.Records != before.Records+1 || after.Syncs != before.Syncs {
			t.Errorf("an idle hour: %d records, %d syncs", after.Records-before.Records, after.Syncs-before.Syncs)
		}
		if err := l.Shard(1).WaitDurable(2); !errors.Is(err, ErrNotFound) {
			t.Errorf("waiting for what was not appended: %v", err)
		}
	})
}

// Everything that is queued while the disk is busy is written and synced together.
func TestOneSyncForAllThatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, fault := faulty()
		l := open(t, testConfig(fs))
		appendAll(t, l.Shard(1), entry(1, 1, 10))
		slow := func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}
		fault.Store(&slow)
		before := l.Stats()
		done := make(chan error, 30)
		for shard := range record.Shard(30) {
			go func() {
				s := l.Shard(shard + 2)
				if err := s.Append([]Entry{entry(1, 1, 100)}); err != nil {
					done <- err
					return
				}
				done <- s.WaitDurable(1)
			}()
		}
		for range 30 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if syncs := l.Stats().Syncs - before.Syncs; syncs > 2 {
			t.Errorf("%d syncs for 30 shards", syncs)
		}
	})
}

// What a killed process had written but not synced is read by the next start; before that calls it durable it must be.
func TestStartSyncsWhatItFinds(t *testing.T) {
	disk := vfs.NewCrashableMem()
	var failing atomic.Bool
	config := testConfig(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && failing.Load() {
			return errDisk
		}
		return nil
	})))
	config.Fatal = nil
	l := open(t, config)
	appendAll(t, l.Shard(1), entry(1, 1, 100))
	failing.Store(true)
	if err := l.Shard(1).Append([]Entry{entry(2, 1, 100)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Shard(1).WaitDurable(2); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	failing.Store(false)
	l = open(t, config)
	durable := l.Shard(1).Durable()
	if durable != 2 {
		t.Fatalf("the next start found %d entries", durable)
	}
	config.FS = disk.CrashClone(vfs.CrashCloneCfg{})
	if found := open(t, config).Shard(1).Last(); found != durable {
		t.Fatalf("%d was said to be durable, %d survived", durable, found)
	}
}

// held returns a log whose syncs wait until release is called, once for each.
func held(t *testing.T, config Config) (l *Log, hold func(), release func()) {
	t.Helper()
	var holding atomic.Bool
	turns := make(chan struct{}, 100)
	config.FS = errorfs.Wrap(config.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && holding.Load() && strings.HasSuffix(op.Path, ".segment") {
			<-turns
		}
		return nil
	}))
	config.HangTimeout = time.Hour
	l = open(t, config)
	t.Cleanup(func() { // before the log is closed
		holding.Store(false)
		close(turns)
	})
	return l, func() { holding.Store(true) }, func() {
		turns <- struct{}{}
		synctest.Wait()
	}
}

// A sync that was under way when entries were truncated says nothing about those that took their places.
func TestLateSyncAfterTruncation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, hold, release := held(t, testConfig(vfs.NewMem()))
		s := l.Shard(1)
		appendAll(t, s, entry(1, 1, 10))
		hold()
		if err := s.Append([]Entry{entry(2, 1, 10), entry(3, 1, 10), entry(4, 1, 10)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the sync of 2 to 4 is under way
		if err := s.Truncate(3); err != nil {
			t.Fatal(err)
		}
		if err := s.Append([]Entry{entry(3, 2, 10), entry(4, 2, 10), entry(5, 2, 10)}); err != nil {
			t.Fatal(err)
		}
		release()
		if durable := s.Durable(); durable > 2 {
			t.Errorf("durable is %d, but the entries after 2 are other ones now", durable)
		}
		release()
		if durable := s.Durable(); durable != 5 {
			t.Errorf("durable is %d at the end", durable)
		}
	})
}

// What is not durable cannot be read from disk, so it stays in memory however little room there is.
func TestWhatIsNotDurableStaysInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig(vfs.NewMem()) // no room at all
		l, hold, release := held(t, config)
		s := l.Shard(1)
		appendAll(t, s, entry(1, 1, 10))
		hold()
		var all []Entry
		for i := record.Index(2); i < 20; i++ {
			e := entry(i, 1, 3000)
			all = append(all, e)
			if err := s.Append([]Entry{e}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for _, e := range all {
			wantPin(t, s, e)
		}
		if reads := l.Stats().DiskReads; reads != 0 {
			t.Errorf("%d reads of what is not there yet", reads)
		}
		for range 10 {
			release()
		}
		if s.Durable() != 19 || l.Stats().TailBytes > 10_000 {
			t.Errorf("durable %d, %d bytes in memory", s.Durable(), l.Stats().TailBytes)
		}
		before := l.Stats().DiskReads
		tail, f, err := s.PinTail(19, 1)
		if err != nil || !bytes.HasSuffix(all[17].Payload, tail) || l.Stats().DiskReads != before+1 {
			t.Errorf("tail: %v", err)
		}
		f.Release()
	})
}

// Tails of what is not applied yet stay in memory when the frames go, and go when it is applied.
func TestTailsStayUntilApplied(t *testing.T) {
	config := testConfig(vfs.NewMem())
	config.TailBytes = 20_000
	l := open(t, config)
	s := l.Shard(1)
	for i := record.Index(1); i <= 10; i++ {
		appendAll(t, s, entry(i, 1, 10_000))
	}
	for i := record.Index(1); i <= 10; i++ {
		tail, f, err := s.PinTail(i, 1)
		if err != nil || !bytes.HasSuffix(entry(i, 1, 10_000).Payload, tail) {
			t.Fatal(err)
		}
		f.Release()
	}
	if reads := l.Stats().DiskReads; reads != 0 {
		t.Errorf("%d reads", reads)
	}
	before := l.Stats().TailBytes
	s.SetApplied(8)
	if after := l.Stats().TailBytes; after >= before {
		t.Errorf("%d bytes in memory before, %d after", before, after)
	}
	if _, f, err := s.PinTail(3, 1); err != nil || l.Stats().DiskReads != 1 {
		t.Errorf("an applied tail: %v, %d reads", err, l.Stats().DiskReads)
	} else {
		f.Release()
	}
}

// A segment goes only when it is durable that its entries were forgotten.
func TestRemoveWaitsForWhatWasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig(vfs.NewMem())
		l, hold, release := held(t, config)
		s := l.Shard(1)
		for i := record.Index(1); i <= 20; i++ {
			appendAll(t, s, entry(i, 1, 9000))
		}
		hold()
		if err := s.Forget(18); err != nil {
			t.Fatal(err)
		}
		removed := make(chan error, 1)
		go func() { removed <- l.Remove(1) }()
		synctest.Wait()
		if _, err := config.FS.Stat(segmentPath(1)); err != nil {
			t.Errorf("the segment is gone before the marker is durable: %v", err)
		}
		release()
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
		if _, err := config.FS.Stat(segmentPath(1)); err == nil {
			t.Error("the segment is still there")
		}
	})
}
