package log

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

// A process that was stopped while the disk worked finds, when it goes on, that the call has returned and that the time for it is up.
func TestPausedProcessIsNoHungDisk(t *testing.T) {
	var failure error
	g := NewWatchdog(80*time.Hour, func(err error) { failure = err }) // its own timer does not come
	now := time.Now()
	step := func(after time.Duration) {
		now = now.Add(after)
		g.step(now)
	}
	g.Begin("a sync", 0)
	for range 3 {
		step(1000 * time.Hour) // each time it was stopped
	}
	g.End()
	step(1000 * time.Hour)
	if failure != nil {
		t.Fatalf("a pause was taken for a hung disk: %v", failure)
	}
	now = time.Now()
	g.Begin("the next sync", 0)
	for range 100 {
		step(time.Minute) // timers of the call before, which were stopped too late
	}
	if failure != nil || g.hung() {
		t.Fatalf("the patience with a call before was counted: %v", failure)
	}
	for range watchdogSteps - 1 {
		step(10 * time.Hour)
	}
	if failure != nil {
		t.Fatalf("too early: %v", failure)
	}
	step(10 * time.Hour)
	if !errors.Is(failure, ErrHung) || !g.hung() {
		t.Errorf("a disk that hangs: %v", failure)
	}
	failure = nil
	step(10 * time.Hour)
	if failure != nil {
		t.Errorf("told twice: %v", failure)
	}
	g.End()
}

// A disk that takes its time for a lot is slow; one that takes as long for little hangs.
func TestSlowDiskIsNoHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, fault := faulty()
		config := testConfig(fs)
		config.SegmentBytes = 16 << 20
		config.Fatal = func(error) {}
		l := open(t, config)
		s := l.Shard(1)
		appendAll(t, s, entry(1, 1, 10))
		slow := func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData {
				time.Sleep(4 * defaultHangTimeout)
			}
			return nil
		}
		fault.Store(&slow)
		var entries []Entry
		for i := range record.Index(8) {
			entries = append(entries, entry(2+i, 1, 1<<20))
		}
		appendAll(t, s, entries...)
		if err := s.Append([]Entry{entry(10, 1, 10)}); err != nil {
			t.Fatal(err)
		}
		if err := s.WaitDurable(10); !errors.Is(err, ErrHung) {
			t.Errorf("8 s for a small entry: %v", err)
		}
		fault.Store(nil)
		time.Sleep(time.Minute)
	})
}
