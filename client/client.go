package client

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Defaults of Config.
const (
	DefaultBroker = "127.0.0.1:9092"
	DefaultHTTP   = "127.0.0.1:9644"
	DefaultID     = "stela-client"
)

// maxDoorConnections bounds the connections to one node's HTTP; further requests wait for
// one of them. A node refuses more than 256 from one address, and several clients may share it.
const maxDoorConnections = 64

// metadataMinAge is how long an answer about topics and leaders is believed at least.
const metadataMinAge = 250 * time.Millisecond

// Config says where the cluster is. The zero value is one node on this machine.
type Config struct {
	// Brokers are Kafka addresses, "host:port", to begin with; the rest of the
	// cluster is learned from any of them. Default: DefaultBroker.
	Brokers []string
	// HTTP are the nodes' HTTP addresses, "host:port". Any node serves every
	// stream; the next one is tried when one does not answer. Default: DefaultHTTP.
	HTTP []string
	// ClientID is the name in the server's logs and metrics. Default: DefaultID.
	ClientID string
	// WithoutUnseen has a ConflictError come without the events that the writer has not seen, which otherwise are read
	// when there is a conflict: for writers who read the stream, or give up, anyway.
	WithoutUnseen bool
	// Dial connects to either door. Default: TCP with a limit of 5 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger gets what the library cannot return as an error. Default: nothing is logged.
	Logger *slog.Logger
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	for name, addresses := range map[string][]string{"broker": c.Brokers, "http address": c.HTTP} {
		for _, address := range addresses {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return fmt.Errorf("%s %q is not host:port: %w", name, address, err)
			}
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if len(c.Brokers) == 0 {
		c.Brokers = []string{DefaultBroker}
	}
	if len(c.HTTP) == 0 {
		c.HTTP = []string{DefaultHTTP}
	}
	if c.ClientID == "" {
		c.ClientID = DefaultID
	}
	if c.Dial == nil {
		dialer := &net.Dialer{Timeout: 5 * time.Second}
		c.Dial = dialer.DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Client is the way to one cluster. It connects when something needs a connection.
type Client struct {
	config Config
	web    *http.Client
	quick  *quickDoor    // nil when only HTTP addresses were given
	door   atomic.Uint32 // which of config.HTTP answered last; written by every request that had to move on

	mu     sync.Mutex // guards admin, closed
	admin  *kadm.Client
	closed bool
}

// New returns a client. It checks the configuration and connects to nothing yet.
func New(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	c := &Client{config: config.withDefaults()}
	if len(config.Brokers) > 0 || len(config.HTTP) == 0 {
		c.quick = &quickDoor{client: c}
	}
	c.web = &http.Client{Transport: &http.Transport{
		DialContext:         c.config.Dial,
		MaxConnsPerHost:     maxDoorConnections,
		MaxIdleConnsPerHost: maxDoorConnections,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}}
	return c, nil
}

// Close drops the client's own connections. Producers, Consumers and Readers made
// from it have their own and are closed by themselves.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.admin != nil {
		c.admin.Close()
		c.admin = nil
	}
	if c.quick != nil {
		c.quick.close()
	}
	c.web.CloseIdleConnections()
}

// kafka opens a franz-go client with what all of ours share.
func (c *Client) kafka(options ...kgo.Opt) (*kgo.Client, error) {
	all := append([]kgo.Opt{
		kgo.SeedBrokers(c.config.Brokers...),
		kgo.ClientID(c.config.ClientID),
		kgo.Dialer(c.config.Dial),
		kgo.DisableClientMetrics(),
		// franz-go keeps metadata, and an error in it, for 5 s: too long for a topic that
		// was created just now and for a leader that has changed.
		kgo.MetadataMinAge(metadataMinAge),
		kgo.WithLogger(kafkaLogger{c.config.Logger}),
	}, options...)
	k, err := kgo.NewClient(all...)
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	return k, nil
}

// administrator returns the one Kafka connection that admin verbs share.
func (c *Client) administrator() (*kadm.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if c.admin == nil {
		k, err := c.kafka()
		if err != nil {
			return nil, err
		}
		c.admin = kadm.NewClient(k)
	}
	return c.admin, nil
}

// Brokers returns the Kafka addresses that the client begins with.
func (c *Client) Brokers() []string { return slices.Clone(c.config.Brokers) }

// kafkaLogger hands franz-go's lines on; what it calls information is noise to a user.
type kafkaLogger struct{ logger *slog.Logger }

// Level implements kgo.Logger.
func (l kafkaLogger) Level() kgo.LogLevel {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// Log implements kgo.Logger.
func (l kafkaLogger) Log(level kgo.LogLevel, message string, keyvals ...any) {
	to := slog.LevelDebug
	if level <= kgo.LogLevelError {
		to = slog.LevelWarn
	}
	l.logger.Log(context.Background(), to, "kafka client", append([]any{"message", strings.TrimSpace(message)}, keyvals...)...)
}
