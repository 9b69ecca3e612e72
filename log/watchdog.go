package log

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// failing is the failure of the whole log: once set, nothing is written any more.
type failing struct {
	failure atomic.Pointer[error]
}

// set reports whether this was the first failure.
func (f *failing) set(err error) bool { return f.failure.CompareAndSwap(nil, &err) }

func (f *failing) err() error {
	if p := f.failure.Load(); p != nil {
		return *p
	}
	return nil
}

const (
	// watchdogSteps is how many steps a watchdog's patience is counted in.
	watchdogSteps = 8
	// slowestDisk is what a disk must do at least, in bytes a second: it is busy and not hung as long as it does.
	slowestDisk = 1 << 20
)

// A Watchdog reports a call to the disk that does not return. It costs a timer and no
// goroutine while all is well; the timer's goroutine ends when fail returns.
//
// It counts steps, not time: a process that was stopped, or whose machine was paused, sees both the end of the
// call and the end of any patience when it goes on, and which comes first is chance. A step that comes
// late counts as one. All methods may be called from any goroutine; one call is watched at a time.
type Watchdog struct {
	timeout time.Duration
	fail    func(error)

	mu    sync.Mutex // guards the rest
	timer *time.Timer
	what  string        // the call that is under way; empty for none
	limit time.Duration // for that call
	steps int           // that have passed since it began
	due   time.Time     // when the next one will have: a timer that was stopped too late comes before that
	fired bool          // for the call that is under way
}

// NewWatchdog returns a watchdog that calls fail, on a goroutine of its own, when a call takes longer than timeout, and a
// second more for each MiB.
func NewWatchdog(timeout time.Duration, fail func(error)) *Watchdog {
	return &Watchdog{timeout: timeout, fail: fail}
}

// Begin starts to watch a call that is about so many bytes.
func (g *Watchdog) Begin(what string, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what, g.steps, g.fired = what, 0, false
	g.limit = g.timeout + time.Duration(bytes/slowestDisk)*time.Second
	if g.timer == nil {
		g.timer = time.AfterFunc(g.timeout, func() { g.step(time.Now()) })
	}
	g.wait(time.Now())
}

// wait has the next step come in time. g.mu is held.
func (g *Watchdog) wait(now time.Time) {
	pause := g.limit / watchdogSteps
	g.due = now.Add(pause)
	g.timer.Reset(pause)
}

// End says that the call returned.
func (g *Watchdog) End() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what, g.fired = "", false
	g.timer.Stop()
}

// hung reports whether a call is under way that was given up.
func (g *Watchdog) hung() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fired
}

// step takes note that the call has taken another step's time.
func (g *Watchdog) step(now time.Time) {
	if err := g.late(now); err != nil {
		g.fail(err)
	}
}

// late counts a step and returns an error if the call is given up now.
func (g *Watchdog) late(now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.what == "" || g.fired || now.Before(g.due) {
		return nil
	}
	if g.steps++; g.steps < watchdogSteps {
		g.wait(now)
		return nil
	}
	g.fired = true
	return fmt.Errorf("%s did not return within %s: %w", g.what, g.limit, ErrHung)
}
