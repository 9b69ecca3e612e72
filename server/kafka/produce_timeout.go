package kafka

import (
	"fmt"
	"time"

	"github.com/stela-db/stela/server/broker"
)

const (
	// shortestPatience and longestPatience bound what a client may say in Produce's timeout. A commit takes a sync of a
	// majority: less than the shortest would turn every hiccup into an open outcome.
	shortestPatience = 100 * time.Millisecond
	longestPatience  = 5 * time.Minute
)

// errUndecided says that the client's time is over and its batch neither committed nor refused.
var errUndecided = fmt.Errorf("not committed within the request's timeout, and it may still be: %w", broker.ErrTimedOut)

// patience is the time that a Produce request of this timeout is given.
func patience(timeoutMillis int32) time.Duration {
	return min(max(time.Duration(timeoutMillis)*time.Millisecond, shortestPatience), longestPatience)
}

// An alarm wakes a connection when a Produce request has waited for as long as its client does. There is one per
// connection: it is set for the request that is due first, and when that was answered in time, as nearly all are,
// it rings for nothing and is set for the next. A connection's mutex guards it.
type alarm struct {
	timer *time.Timer // nil before the first use
	at    time.Time   // when it rings; zero: it is off
	ring  func()
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.at = time.Time{}
}

// set makes the alarm ring at due, if it does not ring earlier.
func (a *alarm) set(due time.Time) {
	if !a.at.IsZero() && !due.Before(a.at) {
		return
	}
	a.at = due
	if a.timer == nil {
		a.timer = time.AfterFunc(time.Until(due), a.ring) // stopped when the connection ends
		return
	}
	a.timer.Reset(time.Until(due))
}

// grant gives a Produce request, which has been read, the time that its client waits for the answer.
func (c *connection) grant(a *produceAnswer) {
	if a.acks == 0 || a.open.Load() == 1 { // nobody waits, or only the reader's own part is open
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	a.due = a.began.Add(a.patience)
	c.alarm.set(a.due)
}

// ring makes the answers ready whose time is over, as they are.
func (c *connection) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alarm.at = time.Time{}
	if c.ended {
		return
	}
	now := time.Now()
	for _, a := range c.pending {
		switch {
		case a.ready || a.due.IsZero():
		case now.Before(a.due):
			c.alarm.set(a.due)
		default:
			a.expired, a.ready = true, true
		}
	}
	c.changed.Broadcast()
}
