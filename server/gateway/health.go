package gateway

import (
	_ "embed" // the contract is a file
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/internal/metrics"
)

//go:embed openapi.yaml
var contract []byte

// live answers as long as the process answers at all.
func (s *Server) live(r *request) error {
	answerJSON(r, fasthttp.StatusOK, []byte(`{"status":"live"}`))
	return nil
}

// ready answers whether the node has joined, has caught up and can serve.
func (s *Server) ready(r *request) error {
	if err := s.verbs.ready(); err != nil {
		return refuse(fasthttp.StatusServiceUnavailable, "not-ready", "the node is not ready", "%v", err)
	}
	answerJSON(r, fasthttp.StatusOK, []byte(`{"status":"ready"}`))
	return nil
}

// metrics writes all series. One scrape runs at a time: each costs memory in the number of partitions.
func (s *Server) metrics(r *request) error {
	select {
	case s.scrape <- struct{}{}:
		defer func() { <-s.scrape }()
	case <-r.ctx.Done():
		return overloaded("another scrape takes too long")
	}
	if err := s.config.Metrics.Write(r.http.Response.BodyWriter()); err != nil {
		r.http.Response.ResetBody()
		return errors.Join(errInternal, err)
	}
	r.http.Response.Header.SetContentType(metrics.ContentType)
	return nil
}

// openapi hands out the contract of these routes.
func (s *Server) openapi(r *request) error {
	r.http.Response.Header.SetContentType("application/yaml")
	r.http.Response.SetBodyRaw(contract)
	return nil
}

func answerJSON(r *request, status int, body []byte) {
	r.http.Response.SetStatusCode(status)
	r.http.Response.Header.SetContentType(contentJSON)
	r.http.Response.SetBodyRaw(append(body, '\n'))
}
