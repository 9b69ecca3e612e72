package group

import "time"

// A turn is what happens to one group at one moment: a request, or something that is due.
type turn struct {
	*Machine
	live *live
	now  time.Time
}

func (m *Machine) at(now time.Time, l *live) turn { return turn{Machine: m, live: l, now: now} }
