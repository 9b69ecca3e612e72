package framework

import (
	"context"
	"time"

	"github.com/stela-db/stela/services/web"
)

// serveMetrics writes the service's numbers in Prometheus's text format.
func (s *Service) serveMetrics(r *web.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	status := s.Status(ctx)
	m := &web.Metrics{Service: s.definition.Name}
	m.AddReady(s.Ready())
	m.Add("gauge", "shop_lag_events", "Events in the log that are not dealt with; -1 when the log does not answer.", status.LagEvents)
	m.Add("gauge", "shop_lag_seconds", "Age of the oldest input under way, or how long the state has been behind the log.", status.LagSeconds)
	m.Add("gauge", "shop_aside_records", "Records that were put aside.", status.Aside)
	for _, counter := range []struct {
		name, help string
		value      int64
	}{
		{"shop_folded_events_total", "Events folded into the state.", s.counts.folded.Load()},
		{"shop_appended_events_total", "Events appended to the own topic.", s.counts.appended.Load()},
		{"shop_decided_inputs_total", "Inputs dealt with.", s.counts.decided.Load()},
		{"shop_conflicts_total", "Appends that found the stream moved.", s.counts.conflicts.Load()},
		{"shop_duplicates_total", "Appends that the log had already.", s.counts.duplicates.Load()},
		{"shop_calls_total", "Calls to the outside that had an outcome.", s.counts.calls.Load()},
		{"shop_calls_failed_total", "Calls to the outside that told nothing.", s.counts.callsFailed.Load()},
	} {
		m.Add("counter", counter.name, counter.help, counter.value)
	}
	m.AddAnswers(s.web)
	return m.Answer(r)
}
