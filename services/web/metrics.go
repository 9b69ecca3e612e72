package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
)

// metricsPatience bounds how long a scrape asks whether the service is ready.
const metricsPatience = 2 * time.Second

// Metrics are numbers of one service in Prometheus's text format, as they are written.
type Metrics struct {
	Service string
	text    bytes.Buffer
}

// Add writes a number. kind is gauge or counter.
func (m *Metrics) Add(kind, name, help string, value any) {
	fmt.Fprintf(&m.text, "# HELP %s %s\n# TYPE %s %s\n%s{service=%q} %v\n", name, help, name, kind, name, m.Service, value)
}

// AddReady writes whether the service is ready: err says why it is not.
func (m *Metrics) AddReady(err error) {
	ready := 0
	if err == nil {
		ready = 1
	}
	m.Add("gauge", "shop_ready", "1 while the service has caught up and what it needs answers.", ready)
}

// AddAnswers writes how a server has answered.
func (m *Metrics) AddAnswers(s *Server) {
	const name = "shop_http_answers_total"
	fmt.Fprintf(&m.text, "# HELP %s Answers over HTTP, by the class of their status.\n# TYPE %s counter\n", name, name)
	for class := 1; class < len(s.answers); class++ {
		fmt.Fprintf(&m.text, "%s{service=%q,class=\"%dxx\"} %d\n", name, m.Service, class, s.answers[class].Load())
	}
}

// Answer answers a request with what was written.
func (m *Metrics) Answer(r *Request) error {
	r.Bytes(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", m.text.Bytes())
	return nil
}

// HandleMetrics adds /metrics for a service that has no numbers but these.
func (s *Server) HandleMetrics(service string, ready func(ctx context.Context) error) {
	s.Handle(http.MethodGet, "/metrics", func(r *Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), metricsPatience)
		defer cancel()
		m := &Metrics{Service: service}
		m.AddReady(ready(ctx))
		m.AddAnswers(s)
		return m.Answer(r)
	})
}
