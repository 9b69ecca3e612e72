package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	maxBodyBytes   = 1 << 20
	maxHeaderBytes = 16 << 10
	maxConnections = 1024
	readTimeout    = 30 * time.Second
	writeTimeout   = 30 * time.Second // of an answer, from when it is ready
	idleTimeout    = 2 * time.Minute
	problemContent = "application/problem+json"
	jsonContent    = "application/json"
)

// A Handler answers one request.
type Handler func(*Request) error

type route struct {
	method  string
	parts   []string // "{name}" takes any one part
	handler Handler
}

// A Server answers HTTP requests by routes. Add routes before Serve.
type Server struct {
	routes []route
	logger *slog.Logger
	http   *fasthttp.Server
	// answers counts by the class of the status; the first has none.
	answers [6]atomic.Int64
	ctx     context.Context // ends when the server closes
	cancel  context.CancelFunc
}

// NewServer returns a server without routes. name goes into the Server header; logger
// may be nil.
func NewServer(name string, logger *slog.Logger) *Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{logger: logger}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &fasthttp.Server{
		Handler:               s.serve,
		Name:                  name,
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           idleTimeout,
		ReadBufferSize:        maxHeaderBytes,
		MaxRequestBodySize:    maxBodyBytes,
		Concurrency:           maxConnections,
		NoDefaultContentType:  true,
		CloseOnShutdown:       true,
		Logger:                quiet{logger},
		SecureErrorLogMessage: true,
		ErrorHandler: func(ctx *fasthttp.RequestCtx, err error) {
			status := http.StatusBadRequest
			if errors.Is(err, fasthttp.ErrBodyTooLarge) {
				status = http.StatusRequestEntityTooLarge
			}
			writeProblem(ctx, Refuse(status, "%v", err))
		},
	}
	return s
}

// Handle routes a method and a path such as /v1/orders/{id}/events to a handler. Of
// routes that fit, the first one added answers.
func (s *Server) Handle(method, path string, handler Handler) {
	s.routes = append(s.routes, route{method: method, parts: split(path), handler: handler})
}

// Routes returns what was added, as "GET /v1/orders/{id}", in order.
func (s *Server) Routes() []string {
	list := make([]string, 0, len(s.routes))
	for _, r := range s.routes {
		list = append(list, r.method+" /"+strings.Join(r.parts, "/"))
	}
	return list
}

// Serve answers requests until Close, then returns nil; at once when Close was called before.
func (s *Server) Serve(listener net.Listener) error {
	// fasthttp's Shutdown ends only listeners that it has taken already.
	mine := &closeOnce{Listener: listener}
	stop := context.AfterFunc(s.ctx, func() { _ = mine.Close() }) // Shutdown tells the error
	defer stop()
	if err := s.http.Serve(mine); err != nil && s.ctx.Err() == nil {
		return fmt.Errorf("serve http on %s: %w", listener.Addr(), err)
	}
	return nil
}

// Close stops listening, ends waiting requests and waits for the others until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	s.cancel()
	if err := s.http.ShutdownWithContext(ctx); err != nil {
		return fmt.Errorf("close http server: %w", err)
	}
	return nil
}

// closeOnce is a listener that more than one may close.
type closeOnce struct {
	net.Listener
	once sync.Once
	err  error
}

// Close implements net.Listener.
func (l *closeOnce) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

func split(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }

func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	defer func() { s.answers[min(ctx.Response.StatusCode()/100, len(s.answers)-1)].Add(1) }()
	request := &Request{http: ctx, ctx: s.ctx}
	defer func() {
		if cause := recover(); cause != nil {
			s.logger.Error("request made the handler panic", "path", string(ctx.Path()), "cause", cause, "stack", string(debug.Stack()))
			writeProblem(ctx, Refuse(http.StatusInternalServerError, "internal error"))
		}
	}()
	err := s.route(request)
	if err == nil {
		return
	}
	var problem *Problem
	if !errors.As(err, &problem) {
		s.logger.Error("request not served", "method", string(ctx.Method()), "path", string(ctx.Path()), "err", err)
		problem = Refuse(http.StatusInternalServerError, "internal error; the server's log says more")
	}
	writeProblem(ctx, problem)
}

func (s *Server) route(r *Request) error {
	// The path as it was sent: an encoded slash belongs to a part.
	parts := split(string(r.http.URI().PathOriginal()))
	for i := range parts {
		part, err := url.PathUnescape(parts[i])
		if err != nil {
			return Refuse(http.StatusBadRequest, "path: %v", err)
		}
		parts[i] = part
	}
	method, known := string(r.http.Method()), false
	for i := range s.routes {
		names, fits := s.routes[i].match(parts)
		if !fits {
			continue
		}
		known = true
		if s.routes[i].method == method || (method == http.MethodHead && s.routes[i].method == http.MethodGet) {
			r.names = names
			return s.routes[i].handler(r)
		}
	}
	if known {
		return Refuse(http.StatusMethodNotAllowed, "%s is not among the methods of %s", method, r.http.Path())
	}
	return Refuse(http.StatusNotFound, "nothing is served at %s", r.http.Path())
}

func (r *route) match(parts []string) (map[string]string, bool) {
	if len(parts) != len(r.parts) {
		return nil, false
	}
	var names map[string]string
	for i, want := range r.parts {
		if !strings.HasPrefix(want, "{") {
			if parts[i] != want {
				return nil, false
			}
			continue
		}
		if names == nil {
			names = map[string]string{}
		}
		names[strings.Trim(want, "{}")] = parts[i]
	}
	return names, true
}

// A Request is one request and the way to answer it. It is valid until the handler returns.
type Request struct {
	http  *fasthttp.RequestCtx
	ctx   context.Context
	names map[string]string
}

// Context ends when the server closes.
func (r *Request) Context() context.Context { return r.ctx }

// Method returns the request's method.
func (r *Request) Method() string { return string(r.http.Method()) }

// Path returns the path as it was sent, without query parameters.
func (r *Request) Path() string { return string(r.http.URI().PathOriginal()) }

// Name returns the part of the path at {name}.
func (r *Request) Name(name string) string { return r.names[name] }

// Query returns a query parameter, "" when absent.
func (r *Request) Query(name string) string { return string(r.http.QueryArgs().Peek(name)) }

// RawQuery returns all query parameters as they were sent.
func (r *Request) RawQuery() string { return string(r.http.URI().QueryString()) }

// Header returns a request header, "" when absent.
func (r *Request) Header(name string) string { return string(r.http.Request.Header.Peek(name)) }

// Body returns the body; it is valid until the handler returns.
func (r *Request) Body() []byte { return r.http.PostBody() }

// QueryInt returns a query parameter as a number from low to high, or fallback when it is absent.
func (r *Request) QueryInt(name string, fallback, low, high int) (int, error) {
	text := r.Query(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, Refuse(http.StatusBadRequest, "%s=%s: wanted a whole number from %d to %d", name, text, low, high)
	}
	return n, nil
}

// SetHeader sets a header of the answer.
func (r *Request) SetHeader(name, value string) { r.http.Response.Header.Set(name, value) }

// JSON answers with a body.
func (r *Request) JSON(status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	r.Bytes(status, jsonContent, append(b, '\n'))
	return nil
}

// Bytes answers with a body of any type.
func (r *Request) Bytes(status int, contentType string, body []byte) {
	r.http.SetStatusCode(status)
	r.http.SetContentType(contentType)
	r.http.SetBody(body)
}

func writeProblem(ctx *fasthttp.RequestCtx, problem *Problem) {
	body, err := json.Marshal(problem)
	if err != nil {
		body = []byte(`{"status":500,"title":"Internal Server Error"}`)
	}
	if problem.RetryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(problem.RetryAfter))
	}
	ctx.SetStatusCode(problem.Status)
	ctx.SetContentType(problemContent)
	ctx.SetBody(append(body, '\n'))
}

// quiet hands fasthttp's lines on as what they are: details of connections.
type quiet struct{ logger *slog.Logger }

// Printf implements fasthttp.Logger.
func (q quiet) Printf(format string, args ...any) {
	q.logger.Debug("http connection", "message", fmt.Sprintf(format, args...))
}
