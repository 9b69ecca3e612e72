package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/server/broker"
)

// Config is what a server works with. Nothing of it but the listeners is closed by the server.
type Config struct {
	Broker    *broker.Broker
	Listeners []Bound // from Listen; closed by Close
	Pool      *frame.Pool
	Limits    Limits
	Logger    *slog.Logger
	Metrics   *metrics.Kafka // nil: nobody reads them
}

// A Server takes connections of Kafka clients and answers their requests.
type Server struct {
	config   Config
	limits   Limits
	logger   *slog.Logger
	metrics  *metrics.Kafka
	apis     []api
	requests *budget // of request bytes
	answers  *budget // of Fetch answers' bytes
	noise    *noise
	ctx      context.Context // ends at Close; connections' contexts derive from it
	stop     context.CancelFunc
	running  sync.WaitGroup // accept loops and connections' readers

	mu      sync.Mutex // guards what follows
	open    map[*connection]struct{}
	clients map[string]int // open connections by IP address, loopback left out; only with a limit
	closed  bool
}

// NewServer returns a server that does not accept connections yet.
func NewServer(config Config) (*Server, error) {
	if len(config.Listeners) == 0 {
		return nil, errors.New("kafka server without a listener")
	}
	s := &Server{
		config:  config,
		limits:  config.Limits.withDefaults(),
		logger:  config.Logger,
		metrics: config.Metrics,
		open:    map[*connection]struct{}{},
		clients: map[string]int{},
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.metrics == nil {
		s.metrics = metrics.NewKafka(nil)
	}
	s.apis = serve(s.metrics)
	s.requests = newBudget(s.limits.TotalBytes)
	s.answers = newBudget(s.limits.TotalAnswers)
	s.noise = &noise{logger: s.logger}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections until Close, which makes it return nil. A listener that fails for good is an error.
func (s *Server) Serve() error {
	failures := make(chan error, len(s.config.Listeners))
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	for i := range s.config.Listeners {
		// Ends when the listener is closed, by Close.
		s.running.Go(func() {
			failures <- s.accept(&s.config.Listeners[i])
		})
	}
	s.mu.Unlock()
	var err error
	for range s.config.Listeners {
		err = errors.Join(err, <-failures)
	}
	return err
}

// accept takes connections until the listener is closed.
func (s *Server) accept(listener *Bound) error {
	const longestPause = time.Second
	pause := 5 * time.Millisecond
	for {
		conn, err := listener.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			s.welcome(listener, conn)
			continue
		}
		if s.ctx.Err() != nil {
			return nil //nolint:nilerr // Close closed the listener: this is how it ends
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("kafka listener %q: %w", listener.Advertised.Name, err)
		}
		// Out of file descriptors, most likely: what is open goes on.
		s.noise.warn("kafka: accept failed", "listener", listener.Advertised.Name, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, longestPause)
	}
}

// welcome starts a connection, or closes it when there are too many, of all or of its client.
func (s *Server) welcome(listener *Bound, conn net.Conn) {
	client := s.clientOf(conn)
	s.mu.Lock()
	var limit int
	switch {
	case len(s.open) >= s.limits.Connections:
		limit = s.limits.Connections
	case client != "" && s.clients[client] >= s.limits.PerAddress:
		limit = s.limits.PerAddress
	}
	if s.closed || limit > 0 {
		full := !s.closed
		s.mu.Unlock()
		if full {
			s.metrics.ConnectionsRefused.Add(1)
			s.noise.warn("kafka: too many connections, one was closed", "limit", limit, "of", cmp.Or(client, "all"), "remote", conn.RemoteAddr())
		}
		_ = conn.Close() // nothing was said on it
		return
	}
	if client != "" {
		s.clients[client]++
	}
	c := newConnection(s, listener, conn)
	s.open[c] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	s.metrics.ConnectionsAccepted.Add(1)
	s.metrics.Connections.Add(1)
	// Ends when the connection does; Close closes it.
	go func() {
		defer s.running.Done()
		c.run()
		s.metrics.Connections.Add(-1)
		s.mu.Lock()
		delete(s.open, c)
		if s.clients[client]--; s.clients[client] <= 0 {
			delete(s.clients, client)
		}
		s.mu.Unlock()
	}()
}

// clientOf returns the IP address whose connections are counted together, or "" when there is no limit for it: who
// is on this machine has other ways to exhaust it.
func (s *Server) clientOf(conn net.Conn) string {
	if s.limits.PerAddress == 0 {
		return ""
	}
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return ""
	}
	host, _, _ = strings.Cut(host, "%") // the zone says on which of our interfaces
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return ""
	}
	return host
}

// Close stops accepting, closes all connections and waits for their goroutines.
// Requests under way are not answered.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.stop()
	open := make([]*connection, 0, len(s.open))
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	var err error
	for _, l := range s.config.Listeners {
		err = errors.Join(err, l.Close())
	}
	for _, c := range open {
		c.close()
	}
	s.running.Wait()
	return err
}

// noise limits the log lines that clients can cause.
type noise struct {
	logger *slog.Logger

	mu      sync.Mutex // guards what follows
	begin   time.Time
	written int
	dropped int
}

const (
	noisePeriod = time.Minute
	noiseLines  = 20
)

// warn writes a line unless too many were written within the last minute.
func (n *noise) warn(message string, fields ...any) {
	n.mu.Lock()
	now := time.Now()
	if now.Sub(n.begin) >= noisePeriod {
		if n.dropped > 0 {
			fields = append(fields, "dropped_lines", n.dropped)
		}
		n.begin, n.written, n.dropped = now, 0, 0
	}
	if n.written == noiseLines {
		n.dropped++
		n.mu.Unlock()
		return
	}
	n.written++
	n.mu.Unlock()
	n.logger.Warn(message, fields...)
}
