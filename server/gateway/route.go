package gateway

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/internal/metrics"
)

// A route is one row of the routing table.
type route struct {
	method string
	path   []string // its segments; {topic} and {stream} match any one segment
	handle func(*request) error
	counts *metrics.GatewayRoute
	hint   string // instead of handle: the answer says that this is not here and what is
}

// A request is one request on its way through a handler. It is used by one goroutine.
type request struct {
	http   *fasthttp.RequestCtx
	ctx    context.Context
	topic  string // of the path
	stream string // of the path
}

// table is the routing table. GET rows answer HEAD as well.
func (s *Server) table() []route {
	counted := metrics.NewGateway(s.config.Metrics)
	row := func(method, path, name string, handle func(*request) error) route {
		return route{method: method, path: segments(path), handle: handle, counts: counted.Route(name)}
	}
	elsewhere := func(method, path, hint string) route {
		return route{method: method, path: segments(path), hint: hint}
	}
	const stream = "/v1/topics/{topic}/streams/{stream}"
	return []route{
		row("GET", "/health/live", "live", s.live),
		row("GET", "/health/ready", "ready", s.ready),
		row("GET", "/metrics", "metrics", s.metrics),
		row("GET", "/openapi.yaml", "openapi", s.openapi),
		row("GET", "/v1/cluster", "cluster", s.cluster),
		row("GET", "/v1/topics", "topics", s.topics),
		row("POST", stream, "stream_append", s.append),
		row("GET", stream, "stream_read", s.read),
		elsewhere("DELETE", stream,
			"streams keep their events; to be rid of all of a topic's, delete the topic (stela topic delete)"),
		elsewhere("PUT", stream, "append with POST and Expected-Version"),
		elsewhere("PATCH", stream, "append with POST and Expected-Version"),
		elsewhere("POST", "/v1/topics/{topic}/append",
			"an append goes to one stream: POST /v1/topics/{topic}/streams/{stream}"),
		elsewhere("GET", "/v1/topics/{topic}/events",
			"read a topic with a Kafka client (stela consume), or one stream with GET /v1/topics/{topic}/streams/{stream}"),
	}
}

func segments(path string) []string { return strings.Split(path[1:], "/") }

// matches reports whether the path is the route's, and what stands in the place of its variables.
func (r *route) matches(path []string) (topic, stream string, ok bool) {
	if len(path) != len(r.path) {
		return "", "", false
	}
	for i, want := range r.path {
		switch {
		case want == "{topic}" && path[i] != "":
			topic = path[i]
		case want == "{stream}" && path[i] != "":
			stream = path[i]
		case want != path[i]:
			return "", "", false
		}
	}
	return topic, stream, true
}

// find returns the route of a request, with its variables set, or the problem to answer.
func (s *Server) find(r *request) (*route, error) {
	path, err := splitPath(r.http.URI().PathOriginal())
	if err != nil {
		return nil, badRequest("%v", err)
	}
	method := string(r.http.Method())
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allowed []string
	hint := ""
	for i := range s.routes {
		topic, stream, ok := s.routes[i].matches(path)
		if !ok {
			continue
		}
		if s.routes[i].method == method {
			hint = s.routes[i].hint
		}
		if s.routes[i].handle == nil {
			continue
		}
		if s.routes[i].method == method {
			r.topic, r.stream = topic, stream
			return &s.routes[i], nil
		}
		if allowed = append(allowed, s.routes[i].method); s.routes[i].method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	if allowed == nil {
		if hint == "" {
			hint = "the routes are listed in /openapi.yaml"
		}
		return nil, refuse(fasthttp.StatusNotFound, "no-route", "there is nothing at this path", "%s", hint)
	}
	slices.Sort(allowed)
	if hint == "" {
		hint = "allowed here: " + strings.Join(allowed, ", ")
	}
	r.http.Response.Header.Set("Allow", strings.Join(allowed, ", "))
	return nil, refuse(fasthttp.StatusMethodNotAllowed, "method-not-allowed", "not with this method", "%s", hint)
}

// handle answers one request.
func (s *Server) handle(http *fasthttp.RequestCtx) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.life, s.config.RequestTimeout)
	defer cancel()
	r := &request{http: http, ctx: ctx}
	found, err := s.find(r)
	if err == nil {
		err = s.run(found, r)
	}
	if err != nil {
		s.refuse(r, err)
	}
	if s.life.Err() != nil {
		http.Response.SetConnectionClose()
	}
	if found == nil {
		s.counts.unrouted.Add(1)
		return
	}
	found.counts.Answered(http.Response.StatusCode())
	found.counts.Latency.Observe(time.Since(began))
}

// run calls the handler. A panic becomes an error: one request's bug must not take the node with it.
func (s *Server) run(found *route, r *request) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.counts.panics.Add(1)
			s.logger.Error("bug in a handler", "panic", cause, "stack", string(debug.Stack()))
			err = refuse(fasthttp.StatusInternalServerError, "internal", "a bug in the server", "it was logged")
		}
	}()
	return found.handle(r)
}

// refuse answers with the problem that an error is or stands for.
func (s *Server) refuse(r *request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = s.problemOf(err)
	}
	p.write(&r.http.Response)
}

// unreadable answers what could not be read as a request. The connection is closed after it.
func (s *Server) unreadable(http *fasthttp.RequestCtx, err error) {
	s.counts.unreadable.Add(1)
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		refuse(fasthttp.StatusRequestHeaderFieldsTooLarge, "head-too-large", "the head of the request is too large",
			"limit %d bytes", maxHeadBytes).write(&http.Response)
	case isTimeout(err):
		refuse(fasthttp.StatusRequestTimeout, "request-timeout", "the request did not arrive in time",
			"limit %s", s.config.ReadTimeout).write(&http.Response)
	default:
		badRequest("it could not be read as http/1.1").write(&http.Response)
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
