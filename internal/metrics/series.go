package metrics

import (
	"sync/atomic"
	"time"
)

// A Counter only grows.
type Counter struct{ value atomic.Int64 } // written by whoever counts

// Add adds n, which must not be negative.
func (c *Counter) Add(n int64) {
	if c != nil {
		c.value.Add(n)
	}
}

// Value returns the sum so far.
func (c *Counter) Value() int64 {
	if c == nil {
		return 0
	}
	return c.value.Load()
}

// A Gauge goes up and down.
type Gauge struct{ value atomic.Int64 } // written by whoever counts

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) {
	if g != nil {
		g.value.Add(n)
	}
}

// Value returns the present value.
func (g *Gauge) Value() int64 {
	if g == nil {
		return 0
	}
	return g.value.Load()
}

// bounds are the upper ends of the histograms' buckets. One list for all, so that
// histograms of different requests can be added up in a dashboard.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// A Histogram counts durations in fixed buckets from 50 µs to 10 s.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // written by Observe; the last one is above all bounds
	sum     atomic.Int64                   // nanoseconds; written by Observe
}

// Observe counts one duration; a negative one counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	if h == nil {
		return
	}
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Count returns how many durations were observed.
func (h *Histogram) Count() uint64 {
	count, _ := h.read()
	return count
}

// read returns the count of all observations and the cumulative count for each bound in seconds.
func (h *Histogram) read() (count uint64, cumulative map[float64]uint64) {
	if h == nil {
		return 0, nil
	}
	cumulative = make(map[float64]uint64, len(bounds))
	for i := range bounds {
		count += h.buckets[i].Load()
		cumulative[bounds[i].Seconds()] = count
	}
	return count + h.buckets[len(bounds)].Load(), cumulative
}
