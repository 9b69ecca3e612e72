package group

import (
	"container/heap"
	"time"
)

// alarmKind says what is due.
type alarmKind uint8

const (
	alarmSession alarmKind = iota // a member has not been heard of
	alarmPending                  // a member was given an id and did not come back with it
	alarmJoin                     // the time to join is over
	alarmSync                     // the time to sync is over
)

// An alarm is a point in time at which something is due unless it is moved before. A later
// time is only noted; the heap learns of it when the earlier one is reached, so that a heartbeat costs nothing.
type alarm struct {
	kind   alarmKind
	live   *live
	member string // id, of alarmSession and alarmPending

	due    time.Time // zero when it is off
	queued time.Time // its place in the heap
	index  int       // in the heap; -1 when it is not there
}

func newAlarm(kind alarmKind, l *live, member string) *alarm {
	return &alarm{kind: kind, live: l, member: member, index: -1}
}

// alarms is a heap of alarms, the earliest first.
type alarms []*alarm

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].queued.Before(h[j].queued) }
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is heap.Interface's.
func (h *alarms) Push(x any) {
	a := x.(*alarm)
	a.index = len(*h)
	*h = append(*h, a)
}

// Pop is heap.Interface's.
func (h *alarms) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	a.index = -1
	return a
}

// set moves the alarm to due.
func (h *alarms) set(a *alarm, due time.Time) {
	a.due = due
	switch {
	case a.index < 0:
		a.queued = due
		heap.Push(h, a)
	case due.Before(a.queued):
		a.queued = due
		heap.Fix(h, a.index)
	}
}

// off switches the alarm off.
func (h *alarms) off(a *alarm) {
	a.due = time.Time{}
	if a.index >= 0 {
		heap.Remove(h, a.index)
	}
}

// next returns an alarm that is due and switches it off; nil when there is none.
func (h *alarms) next(now time.Time) *alarm {
	for len(*h) > 0 {
		a := (*h)[0]
		if a.queued.After(now) {
			return nil
		}
		if a.due.After(now) {
			a.queued = a.due
			heap.Fix(h, 0)
			continue
		}
		h.off(a)
		return a
	}
	return nil
}

// wake returns when next may have something; zero for never.
func (h alarms) wake() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].queued
}
