package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/server/broker"
)

// Config says where the gateway listens and how much it lets in. Broker, Network and Address are required.
type Config struct {
	Broker  *broker.Broker
	Network network.Network
	// Address is the "host:port" to listen on; port 0 picks a free one.
	Address string
	// Metrics is what /metrics writes. Default: a registry of its own.
	Metrics *metrics.Registry
	// Version is the build that /v1/cluster and the metrics name.
	Version string
	Logger  *slog.Logger

	// MaxBodyBytes bounds one request's body. Default 4 MiB.
	MaxBodyBytes int
	// MaxAnswerBytes is where the answer to a read ends early; one event more may be in it. Default 4 MiB.
	MaxAnswerBytes int
	// MaxBytesInFlight bounds the bodies of all requests, and once more the answers to all reads: slow readers
	// cannot stop those who append. Default 64 MiB.
	MaxBytesInFlight int
	// MaxConnections bounds the connections, MaxConnectionsPerIP those from one address but loopback.
	// Default 1024 and 256.
	MaxConnections      int
	MaxConnectionsPerIP int

	// ReadTimeout bounds the reading of one request, WriteTimeout the writing of one answer. Default 30 s each.
	ReadTimeout, WriteTimeout time.Duration
	// IdleTimeout is how long a connection may be silent between requests. Default 2 min.
	IdleTimeout time.Duration
	// RequestTimeout bounds the work for one request, and how long a read waits for minVersion. Default 10 s.
	RequestTimeout time.Duration
	// CloseTimeout is how long Close waits for answers under way. Default 5 s.
	CloseTimeout time.Duration
}

// maxHeadBytes bounds the request line and the headers of a request together.
const maxHeadBytes = 16 << 10

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	number := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	duration := func(field *time.Duration, value time.Duration) {
		if *field <= 0 {
			*field = value
		}
	}
	number(&c.MaxBodyBytes, 4<<20)
	number(&c.MaxAnswerBytes, 4<<20)
	number(&c.MaxBytesInFlight, 64<<20)
	number(&c.MaxConnections, 1024)
	number(&c.MaxConnectionsPerIP, 256)
	duration(&c.ReadTimeout, 30*time.Second)
	duration(&c.WriteTimeout, 30*time.Second)
	duration(&c.IdleTimeout, 2*time.Minute)
	duration(&c.RequestTimeout, 10*time.Second)
	duration(&c.CloseTimeout, 5*time.Second)
	if c.Metrics == nil {
		c.Metrics = metrics.NewRegistry()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	return c
}

// A Server is the HTTP front of one node.
type Server struct {
	config   Config
	logger   *slog.Logger
	verbs    verbs
	routes   []route
	mappings []mapping
	memory   *budget       // of the bodies of requests
	answers  *budget       // to reads
	scrape   chan struct{} // holds one: scrapes are serial
	conns    connections
	http     fasthttp.Server
	counts   counts

	life   context.Context // ends when Close begins; the parent of every request's context
	finish context.CancelFunc
	closed sync.Once
}

// New returns a gateway that listens already and answers once Serve runs. An
// address that cannot be listened on is an error.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	if config.Broker == nil {
		return nil, errors.New("gateway without a broker")
	}
	s := newServer(config, brokerVerbs(config.Broker))
	raw, err := config.Network.Listen(config.Address)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	s.listen(raw)
	s.observe()
	return s, nil
}

// newServer returns a server without a listener, which answers from the given verbs.
func newServer(config Config, verbs verbs) *Server {
	s := &Server{
		config:   config,
		logger:   config.Logger,
		verbs:    verbs,
		mappings: mappings(),
		memory:   newBudget(int64(config.MaxBytesInFlight)),
		answers:  newBudget(int64(config.MaxBytesInFlight)),
		scrape:   make(chan struct{}, 1),
	}
	s.life, s.finish = context.WithCancel(context.Background())
	s.counts = newCounts(config.Metrics)
	s.routes = s.table()
	s.conns = connections{
		logger: config.Logger,
		limit:  config.MaxConnections, limitIP: config.MaxConnectionsPerIP,
		open:    config.Metrics.Counter("stela_http_connections_opened_total", "HTTP connections that were served."),
		closed:  config.Metrics.Counter("stela_http_connections_closed_total", "HTTP connections that were served and have ended."),
		refused: config.Metrics.Counter("stela_http_connections_refused_total", "HTTP connections over a limit."),
		done:    make(chan struct{}), conns: map[*conn]bool{}, perIP: map[netip.Addr]int{},
		serve: s.http.ServeConn,
	}
	s.http = fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.unreadable,
		ConnState:                    s.conns.state,
		Logger:                       printer{s.logger},
		Name:                         "stela",
		ReadBufferSize:               maxHeadBytes,
		MaxRequestBodySize:           config.MaxBodyBytes,
		StreamRequestBody:            true, // so that a body is read only when there is memory for it
		ReadTimeout:                  config.ReadTimeout,
		WriteTimeout:                 config.WriteTimeout,
		IdleTimeout:                  config.IdleTimeout,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
	}
	return s
}

// listen takes the listener over.
func (s *Server) listen(raw net.Listener) {
	s.conns.listener = raw
	// The date comes from a goroutine of fasthttp's that never ends. A network in
	// memory is a simulation's, where all that was begun has to end.
	_, tcp := raw.Addr().(*net.TCPAddr)
	s.http.NoDefaultDate = !tcp
}

// Address returns the "host:port" that is listened on.
func (s *Server) Address() net.Addr { return s.conns.listener.Addr() }

// Serve answers requests until Close; then it returns nil. An error means that the listener broke.
func (s *Server) Serve() error {
	if err := s.conns.accept(); err != nil {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// Close stops listening, lets answers under way be finished within Config.CloseTimeout,
// and ends all connections. Waits of readers end at once. More calls do nothing.
func (s *Server) Close() error {
	var err error
	s.closed.Do(func() {
		s.finish()
		err = s.conns.close(s.config.CloseTimeout)
	})
	return err
}

// printer passes fasthttp's own messages on.
type printer struct{ logger *slog.Logger }

// Printf implements fasthttp.Logger.
func (p printer) Printf(format string, args ...any) {
	p.logger.Warn("http server", "message", fmt.Sprintf(format, args...))
}
