// Package gateway is the shop's front door: HTTP for customers and operators.
//
// It knows the public API. It keeps nothing: an order is accepted when order.submitted
// is in the log, and a request that is repeated is recognised by the log, through any
// number of gateways. It decides nothing about orders; what they look like it asks of the
// read model, and their history it reads from the log, stream by stream.
//
// Idempotency: the order's id is the client's, or follows from customer and
// Idempotency-Key; order.submitted is appended expecting no stream, with an id that
// follows from order, key and body. The same request gets the same answer; another body
// under the same id or key gets 422.
//
// Reading what one wrote: answers carry a Consistency-Token; a read that brings it back
// is answered by a view at least that fresh, or with 503.
//
// Overload: while the order service is behind by more than a minute, new orders get 429. One
// that is down for more than 10 s stops no orders; it takes them when it is back.
//
// A Gateway may be used from any goroutine. Run ends everything it started.
package gateway

import (
	"context"
	_ "embed" // for the contract
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/web"
)

const (
	appendTimeout = 5 * time.Second
	readTimeout   = 5 * time.Second
	watchPeriod   = time.Second
	statusTimeout = 2 * time.Second
	degradedLag   = 5.0  // seconds behind from which orders are accepted with a warning
	refusedLag    = 60.0 // seconds behind from which orders are refused
	lagMaxAge     = 10 * time.Second
)

// A Service is one of the services behind the gateway.
type Service struct {
	Name    string
	Address string // of its HTTP, "host:port"
}

// Config says where the gateway runs and what is behind it.
type Config struct {
	// Client is the way to the log. The gateway does not close it.
	Client *client.Client
	// Topics are created at the start when they do not exist.
	Topics []client.Topic
	// Services are those that /v1/status tells of; query, inventory and order must be among them.
	Services []Service
	// Currency is that of orders that name none.
	Currency string
	// Address is where the gateway listens, "host:port".
	Address string
	// Listen opens the listener. Default: TCP.
	Listen func(address string) (net.Listener, error)
	// Dial connects to the services. Default: TCP.
	Dial web.Dial
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets what happens. Default: nothing is logged.
	Logger *slog.Logger
}

// A Gateway serves the public API.
type Gateway struct {
	config  Config
	web     *web.Server
	clients map[string]*web.Client // by service

	mu   sync.Mutex // guards lag, seen
	lag  float64    // seconds that the order service is behind, as last seen
	seen time.Time  // when that was
}

// New returns a gateway.
func New(config Config) (*Gateway, error) {
	if config.Listen == nil {
		config.Listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Currency == "" {
		config.Currency = event.DefaultCurrency
	}
	g := &Gateway{config: config, clients: map[string]*web.Client{}, web: web.NewServer("stela-"+event.Gateway, config.Logger)}
	for _, service := range config.Services {
		g.clients[service.Name] = web.NewClient(service.Address, config.Dial)
	}
	for _, name := range []string{event.Query, event.Inventory, event.Order} {
		if g.clients[name] == nil {
			return nil, fmt.Errorf("gateway: no address for %s", name)
		}
	}
	g.routes()
	return g, nil
}

// contract is the HTTP API, which is served too.
//
//go:embed openapi.yaml
var contract []byte

func (g *Gateway) routes() {
	g.web.Handle(http.MethodGet, "/openapi.yaml", func(r *web.Request) error {
		r.Bytes(http.StatusOK, "application/yaml", contract)
		return nil
	})
	g.web.Handle(http.MethodPost, "/v1/orders", g.submit)
	g.web.Handle(http.MethodGet, "/v1/orders", g.forward(event.Query))
	g.web.Handle(http.MethodGet, "/v1/orders/{id}", g.get)
	g.web.Handle(http.MethodGet, "/v1/orders/{id}/events", g.history)
	g.web.Handle(http.MethodGet, "/v1/stock", g.forward(event.Query))
	g.web.Handle(http.MethodGet, "/v1/stock/{sku}", g.forward(event.Query))
	g.web.Handle(http.MethodPost, "/v1/stock/{sku}/receive", g.forward(event.Inventory))
	g.web.Handle(http.MethodGet, "/v1/status", g.status)
	g.web.Handle(http.MethodGet, "/healthz", func(r *web.Request) error {
		return r.JSON(http.StatusOK, map[string]string{"status": "ok"})
	})
	g.web.HandleMetrics(event.Gateway, g.config.Client.Ping)
	g.web.Handle(http.MethodGet, "/readyz", func(r *web.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
		defer cancel()
		if err := g.config.Client.Ping(ctx); err != nil {
			return web.Refuse(http.StatusServiceUnavailable, "%v", err).Later(1)
		}
		return r.JSON(http.StatusOK, map[string]string{"status": "ready"})
	})
}

// Run serves until ctx ends, then returns nil, or until it finds a topic that cannot be used.
func (g *Gateway) Run(ctx context.Context) error {
	listener, err := g.config.Listen(g.config.Address)
	if err != nil {
		return fmt.Errorf("gateway: listen on %s: %w", g.config.Address, err)
	}
	served := make(chan error, 1)
	go func() { served <- g.web.Serve(listener) }() // ends with web.Close below
	if err = framework.EnsureTopics(ctx, g.config.Client, g.config.Topics, g.config.Logger); err == nil {
		g.watch(ctx)
	} else {
		err = fmt.Errorf("gateway: %w", err)
	}
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, c := range g.clients {
		c.Close()
	}
	return errors.Join(err, g.web.Close(closing), <-served)
}

// watch looks how far behind the order service is, until ctx ends.
func (g *Gateway) watch(ctx context.Context) {
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		status, err := g.serviceStatus(ctx, event.Order)
		if err != nil {
			continue // behind forgets what was seen last
		}
		g.mu.Lock()
		g.lag, g.seen = status.LagSeconds, g.config.Now()
		g.mu.Unlock()
	}
}

// behind returns how many seconds the order service is behind, 0 when that is not known: a
// service that is down takes its orders when it is back, and how far behind it was when it
// went down says nothing then.
func (g *Gateway) behind() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.config.Now().Sub(g.seen) > lagMaxAge {
		return 0
	}
	return g.lag
}

func (g *Gateway) serviceStatus(ctx context.Context, name string) (framework.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var status framework.Status
	_, err := g.clients[name].Do(ctx, web.Call{Path: "/ops/status", Into: &status})
	return status, err
}

// forward hands a request on to a service and its answer back.
func (g *Gateway) forward(service string) web.Handler {
	return func(r *web.Request) error { return g.pass(r, service, r.Path()) }
}

// passed are the headers that go through the gateway, there and back.
var passed = [...]string{"Consistency-Token", "Idempotency-Key", "ETag", "Retry-After"}

func (g *Gateway) pass(r *web.Request, service, path string) error {
	call := web.Call{Method: r.Method(), Path: path, Headers: map[string]string{}}
	if query := r.RawQuery(); query != "" {
		call.Path += "?" + query
	}
	if body := r.Body(); len(body) > 0 {
		call.Body = body
	}
	for _, name := range passed {
		if value := r.Header(name); value != "" {
			call.Headers[name] = value
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxForward)
	defer cancel()
	answer, err := g.clients[service].Do(ctx, call)
	var problem *web.Problem
	if err != nil && !errors.As(err, &problem) {
		return web.Refuse(http.StatusServiceUnavailable, "the %s service does not answer", service).Later(1)
	}
	for _, name := range passed {
		if value := answer.Headers[http.CanonicalHeaderKey(name)]; value != "" {
			r.SetHeader(name, value)
		}
	}
	r.Bytes(answer.Status, answer.Headers["Content-Type"], answer.Body)
	return nil
}

// A Status tells how the shop is, as /v1/status shows it.
type Status struct {
	Status   string             `json:"status"` // ok or degraded
	Log      string             `json:"log"`    // ok, or why not
	Services []framework.Status `json:"services"`
}

// status answers with a line per service and one for the log.
func (g *Gateway) status(r *web.Request) error {
	status := Status{Status: "ok", Log: "ok", Services: make([]framework.Status, len(g.config.Services))}
	var wait sync.WaitGroup
	for i, service := range g.config.Services {
		wait.Go(func() {
			s, err := g.serviceStatus(r.Context(), service.Name)
			if err != nil {
				s = framework.Status{State: "unreachable", Detail: err.Error(), LagEvents: -1}
			}
			s.Service, s.Address = service.Name, service.Address
			status.Services[i] = s
		})
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	if err := g.config.Client.Ping(ctx); err != nil {
		status.Status, status.Log = "degraded", err.Error()
	}
	wait.Wait()
	for _, s := range status.Services {
		if s.State != "ready" || s.LagSeconds > degradedLag {
			status.Status = "degraded"
		}
	}
	return r.JSON(http.StatusOK, status)
}
