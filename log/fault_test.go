package log

import (
	"errors"
	"fmt"
	"sync/atomic"
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
				return errDisk
			}
			return nil
		}
		fault.Store(&full)
		appendAll(t, s, entry(1, 1, 10)) // the first segment was prepared; the second cannot be
		synctest.Wait()
		if err := l.Writable(); !errors.Is(err, errDisk) {
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
