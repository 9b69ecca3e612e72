package bench

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestHistogram(t *testing.T) {
	h := newHistogram()
	if h.Distribution() != nil {
		t.Error("an empty histogram has a distribution")
	}
	for ms := 1; ms <= 1000; ms++ {
		h.Record(time.Duration(ms) * time.Millisecond)
	}
	figures := Figures{}
	latencyFigures(figures, h.Distribution())
	for name, wanted := range map[string]float64{FigureP50: 500, FigureP99: 990, FigureP999: 999, FigureMax: 1000} {
		if got := figures[name]; math.Abs(got-wanted) > wanted/500 {
			t.Errorf("%s is %v, wanted %v", name, got, wanted)
		}
	}
}

func TestHistogramEnds(t *testing.T) {
	h := newHistogram()
	h.Record(-time.Second)
	h.Record(0)
	h.Record(time.Hour)
	if h.Count() != 3 {
		t.Errorf("%d of 3 were counted", h.Count())
	}
	if slowest := h.Ms(1); slowest < 599_000 || slowest > 601_000 {
		t.Errorf("an hour counts as %v ms, wanted ten minutes", slowest)
	}
}

func TestScheduleIsFixed(t *testing.T) {
	began := time.Unix(1000, 0)
	s := schedule{began: began, rate: 30_000}
	for i, wanted := range map[int64]time.Duration{
		0: 0, 1: 33333 * time.Nanosecond, 15_000: 500 * time.Millisecond, 30_000: time.Second, 30_000 * 3600: time.Hour,
	} {
		if got := s.due(i).Sub(began); got != wanted {
			t.Errorf("record %d is due after %v, wanted %v", i, got, wanted)
		}
	}
}

// A client that was held up sends what is overdue at once, and each record is late from its own time on.
func TestNoCoordinatedOmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := schedule{began: time.Now(), rate: 10}
		h := newHistogram()
		for i := range int64(20) {
			due, err := s.wait(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			if i == 5 {
				time.Sleep(time.Second) // The server stalls.
			}
			h.Record(time.Since(due))
		}
		// Record 5 waited 1 s, 6 waited 0.9 s, … 14 waited 0.1 s.
		if slow := h.Ms(0.75); slow < 450 || slow > 550 {
			t.Errorf("a quarter took more than %v ms, wanted about 500", slow)
		}
		if took := time.Since(s.began); took != 1900*time.Millisecond {
			t.Errorf("the schedule took %v, wanted 1.9 s in spite of the stall", took)
		}
	})
}

func TestScheduleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (schedule{began: time.Now(), rate: 1}).wait(ctx, 10); err == nil {
		t.Error("it waited for a time ten seconds away")
	}
	if _, err := (schedule{}).wait(ctx, 0); err == nil {
		t.Error("without a rate it went on")
	}
}

func TestProbeKnowsTheLongestSilence(t *testing.T) {
	at := time.Unix(0, 0)
	p := &probe{last: at}
	p.heard(at.Add(time.Second))
	p.forget()
	p.heard(at.Add(3 * time.Second))
	p.heard(at.Add(4 * time.Second))
	if silence, last := p.silence(); silence != 2*time.Second || !last.Equal(at.Add(4*time.Second)) {
		t.Errorf("silence %v until %v", silence, last)
	}
}
