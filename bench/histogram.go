package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What a histogram can tell apart: microseconds with three digits, up to ten minutes.
const (
	shortestLatency = 1
	longestLatency  = int64(10 * time.Minute / time.Microsecond)
	latencyDigits   = 3
)

// quantiles are the points of a distribution that results keep, for plots.
var quantiles = [...]float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1}

// A histogram counts latencies. What is beyond its ends counts as the end.
type histogram struct {
	mu      sync.Mutex // guards counted
	counted *hdrhistogram.Histogram
}

func newHistogram() *histogram {
	return &histogram{counted: hdrhistogram.New(shortestLatency, longestLatency, latencyDigits)}
}

// Record counts one latency. It may be called from any goroutine.
func (h *histogram) Record(latency time.Duration) {
	micros := min(max(latency.Microseconds(), shortestLatency), longestLatency)
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.counted.RecordValue(micros) // It is within the ends.
}

// Count returns how many were counted.
func (h *histogram) Count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counted.TotalCount()
}

// Ms returns the latency at a quantile from 0 to 1, in milliseconds.
func (h *histogram) Ms(quantile float64) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ms(quantile)
}

func (h *histogram) ms(quantile float64) float64 {
	return float64(h.counted.ValueAtPercentile(100*quantile)) / 1000
}

// Distribution returns the points that a result keeps; nothing when nothing was counted.
func (h *histogram) Distribution() []Quantile {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.counted.TotalCount() == 0 {
		return nil
	}
	points := make([]Quantile, len(quantiles))
	for i, q := range quantiles {
		points[i] = Quantile{Q: q, Ms: h.ms(q)}
	}
	return points
}

// latencyFigures adds the quantiles that tables show.
func latencyFigures(figures Figures, points []Quantile) {
	names := map[float64]string{0.5: FigureP50, 0.99: FigureP99, 0.999: FigureP999, 1: FigureMax}
	for _, point := range points {
		if name, ok := names[point.Q]; ok {
			figures[name] = point.Ms
		}
	}
}
