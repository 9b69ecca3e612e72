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

// A watchdog reports a call to the disk that does not return. It costs a timer and no
// goroutine while all is well; the timer's goroutine ends when fail returns.
type watchdog struct {
	timeout time.Duration
	fail    func(error)

	mu    sync.Mutex // guards the rest
	timer *time.Timer
	what  string // the call that is under way; empty for none
	fired bool   // for the call that is under way
}

// begin starts to watch a call.
func (g *watchdog) begin(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what, g.fired = what, false
	if g.timer == nil {
		g.timer = time.AfterFunc(g.timeout, g.fire)
		return
	}
	g.timer.Reset(g.timeout)
}

// end says that the call returned.
func (g *watchdog) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what, g.fired = "", false
	g.timer.Stop()
}

// hung reports whether a call is under way that was given up.
func (g *watchdog) hung() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fired
}

func (g *watchdog) fire() {
	g.mu.Lock()
	what := g.what
	g.fired = what != ""
	g.mu.Unlock()
	if what != "" {
		g.fail(fmt.Errorf("%s in the log did not return within %s: %w", what, g.timeout, ErrHung))
	}
}
