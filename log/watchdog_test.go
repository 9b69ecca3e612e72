package log

import (
	"errors"
	"testing"
	"time"
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
	g.Begin("a sync")
	for range 3 {
		step(1000 * time.Hour) // each time it was stopped
	}
	g.End()
	step(1000 * time.Hour)
	if failure != nil {
		t.Fatalf("a pause was taken for a hung disk: %v", failure)
	}
	now = time.Now()
	g.Begin("the next sync")
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
