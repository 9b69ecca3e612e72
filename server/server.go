package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/gateway"
	"github.com/stela-db/stela/server/kafka"
	"github.com/stela-db/stela/server/meta"
)

// segmentReserve is the part of a segment that the largest batch leaves free: for the heads, and for the notes beside it.
const segmentReserve = 1 << 20

// Server is one node.
type Server struct {
	config Config
	logger *slog.Logger

	registry    *metrics.Registry
	pool        *frame.Pool
	log         *log.Log
	index       *index.Index
	replication *replication.Node
	broker      *broker.Broker
	kafka       *kafka.Server
	gateway     *gateway.Server
	addresses   Addresses

	closers []closer // in the order of opening
	once    sync.Once
	failing sync.Once
	dead    atomic.Bool // fatal was called
	ending  chan error  // of replication, when it is closed beside the broker
	failed  chan error  // the first thing that ends the node
	serving sync.WaitGroup
}

type closer struct {
	what  string
	close func() error
}

// Addresses are where a running node listens.
type Addresses struct {
	Kafka map[string]string // by listener name, as clients are told
	HTTP  string
}

// New opens the node's folder and listeners and starts it. It does not wait for
// the cluster: clients are answered that no leader is there until there is one.
// What was opened is closed again when something cannot be.
func New(config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config.withDefaults(), failed: make(chan error, 1)}
	s.logger = s.config.Logger
	s.registry = metrics.NewRegistry()
	s.pool = frame.NewPool(keepFrameBytes())
	if config.Storage == nil { // a process of its own, not one of many nodes of a test
		s.pool = frame.NewMappedPool(keepFrameBytes())
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// fatal is what every part calls that cannot go on; the first one counts.
func (s *Server) fatal(err error) {
	s.failing.Do(func() {
		s.dead.Store(true)
		s.failed <- err
		if s.config.Fatal != nil {
			s.config.Fatal(err)
		}
	})
}

func (s *Server) opened(what string, c func() error) {
	s.closers = append(s.closers, closer{what, c})
}

func (s *Server) open() error {
	fs := s.config.Storage
	if err := makeFolder(fs, s.config.Data); err != nil {
		return fmt.Errorf("make data folder %s: %w", s.config.Data, err)
	}
	lock, err := fs.Lock(fs.PathJoin(s.config.Data, "LOCK"))
	if err != nil {
		return fmt.Errorf("data folder %s is in use by another process, or cannot be locked: %w", s.config.Data, err)
	}
	s.opened("data folder", lock.Close)
	bound, err := s.listenKafka()
	if err != nil {
		return err
	}
	web, err := s.config.Network.Listen(s.config.HTTP)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	s.opened("http listener", closeListener(web))
	if err := s.openStorage(); err != nil {
		return err
	}
	if err := s.openBroker(bound, web.Addr()); err != nil {
		return err
	}
	return s.openFronts(bound, web)
}

// makeFolder makes a folder and those above it so that they survive a loss of power.
func makeFolder(fs log.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for {
		parent := fs.PathDir(dir)
		d, err := fs.OpenDir(parent)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
		if parent == dir || parent == "." || parent == "/" || parent == "" {
			return nil
		}
		dir = parent
	}
}

func (s *Server) listenKafka() ([]kafka.Bound, error) {
	listeners := make([]kafka.Listener, len(s.config.Kafka))
	for i, l := range s.config.Kafka {
		listeners[i] = kafka.Listener{Name: l.Name, Bind: l.Bind, Advertised: l.Advertised}
	}
	bound, err := kafka.Listen(s.config.Network, listeners)
	if err != nil {
		return nil, err
	}
	s.addresses.Kafka = map[string]string{}
	for i := range bound {
		s.opened("kafka listener", closeListener(bound[i].Listener))
		told := bound[i].Advertised
		host := told.Host
		if host == "" {
			host, _, _ = net.SplitHostPort(bound[i].Addr().String())
		}
		s.addresses.Kafka[told.Name] = net.JoinHostPort(host, strconv.Itoa(int(told.Port)))
	}
	return bound, nil
}

func (s *Server) openStorage() error {
	c := &s.config
	fs := c.Storage
	identity, err := replication.OpenIdentity(fs, c.Data, c.Node)
	if err != nil {
		return err
	}
	s.log, err = log.Open(log.Config{
		FS: fs, Dir: fs.PathJoin(c.Data, "log"), Incarnation: identity.Incarnation, SegmentBytes: c.SegmentBytes,
		TailBytes: c.TailBytes, ReadBytes: c.ReadBytes, Direct: c.DirectIO,
		Pool: s.pool, Logger: s.logger, Fatal: s.fatal, HangTimeout: c.Timing.DiskHang,
	})
	if err != nil {
		return err
	}
	s.opened("log", s.log.Close)
	s.index, err = index.Open(index.Config{
		FS: fs, Dir: fs.PathJoin(c.Data, "index"), CacheBytes: c.IndexBytes, Logger: s.logger, Fatal: s.fatal,
	})
	if err != nil {
		return err
	}
	s.opened("index", s.index.Close)
	s.replication, err = replication.New(replication.Config{
		Identity: *identity, Peers: s.peers(), Network: c.Network, FS: fs, Dir: c.Data,
		Log: s.log, Pool: s.pool, Logger: s.logger, Fatal: s.fatal,
		HeartbeatTimeout: c.Timing.Heartbeat, DataShards: c.DataShards,
		SnapshotEntries: c.Timing.Raft.SnapshotEntries, TrailingEntries: c.Timing.Raft.TrailingEntries,
	})
	if err != nil {
		return err
	}
	s.opened("replication", func() error {
		if s.ending != nil {
			return <-s.ending
		}
		return s.replication.Close()
	})
	return nil
}

// peers returns the cluster addresses, the own one replaced by what to listen on.
func (s *Server) peers() map[int32]string {
	peers := map[int32]string{}
	maps.Copy(peers, s.config.Peers)
	if s.config.Cluster != "" && len(peers) > 0 {
		peers[s.config.Node] = s.config.Cluster
	}
	return peers
}

func (s *Server) openBroker(bound []kafka.Bound, web net.Addr) error {
	told := make([]meta.Listener, len(bound))
	for i := range bound {
		told[i] = bound[i].Advertised
	}
	s.addresses.HTTP = s.reachable(web, told)
	var err error
	s.broker, err = broker.New(broker.Config{
		Node: s.config.Node, Peers: slices.Collect(maps.Keys(s.config.Peers)), Replication: s.replication, Log: s.log, Index: s.index, Pool: s.pool,
		Settings: broker.Settings{
			AutoCreate: s.config.autoCreate(), MaxBatchBytes: int(s.config.SegmentBytes) - segmentReserve, RetentionInterval: s.config.Timing.Retention, MetaConfigs: s.metaConfigs(bound),
			ProducerExpiry: time.Duration(s.config.brokerNumber(meta.KeyProducerExpirationMs)) * time.Millisecond,
		},
		Listeners: told, HTTPAddress: s.addresses.HTTP, Logger: s.logger, Fatal: s.fatal,
	})
	if err != nil {
		return err
	}
	s.opened("broker", s.broker.Close)
	return s.broker.Start()
}

// reachable returns the address of the HTTP front for others: a node that listens
// everywhere is reached at the host that its Kafka clients use.
func (s *Server) reachable(web net.Addr, told []meta.Listener) string {
	host, port, err := net.SplitHostPort(web.String())
	if err != nil {
		return web.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() && len(told) > 0 && told[0].Host != "" {
		host = told[0].Host
	}
	return net.JoinHostPort(host, port)
}

func (s *Server) openFronts(bound []kafka.Bound, web net.Listener) error {
	var err error
	counted := metrics.NewKafka(s.registry)
	s.observe(counted)
	s.kafka, err = kafka.NewServer(kafka.Config{
		Broker: s.broker, Listeners: bound, Pool: s.pool, Logger: s.logger, Metrics: counted,
		Limits: kafka.Limits{
			Connections: s.config.brokerNumber(meta.KeyMaxConnections), PerAddress: s.config.brokerNumber(meta.KeyMaxConnectionsPerIP),
		},
	})
	if err != nil {
		return err
	}
	s.opened("kafka front", s.kafka.Close)
	already := network.Network{Listen: func(string) (net.Listener, error) { return web, nil }, Dial: s.config.Network.Dial}
	s.gateway, err = gateway.New(gateway.Config{
		Broker: s.broker, Network: already, Address: s.config.HTTP, Metrics: s.registry, Version: s.config.Version, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.opened("http front", s.gateway.Close)
	s.serve("kafka front", s.kafka.Serve)
	s.serve("http front", s.gateway.Serve)
	return nil
}

// serve runs a front until it is closed; one that breaks ends the node.
func (s *Server) serve(what string, run func() error) {
	// Ends when Close closes the front.
	s.serving.Go(func() {
		if err := run(); err != nil {
			s.fatal(fmt.Errorf("%s: %w", what, err))
		}
	})
}

// closeListener closes a listener that a front may have closed already.
func closeListener(listener io.Closer) func() error {
	return func() error {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// Addresses returns where the node listens.
func (s *Server) Addresses() Addresses { return s.addresses }

// Ready returns nil when the node has joined, has caught up and can serve, else the reason.
func (s *Server) Ready() error { return s.broker.Ready() }

// Run waits until ctx ends or the node cannot go on, and closes it. It returns nil in the first case.
func (s *Server) Run(ctx context.Context) error {
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-s.failed:
	}
	return errors.Join(failure, s.Close())
}

// Close closes everything, fronts first. It may be called more than once.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		if s.dead.Load() && s.replication != nil {
			// Raft stands still where the disk failed, and the broker waits for Raft.
			s.ending = make(chan error, 1)
			go func() { s.ending <- s.replication.Close() }() // awaited by replication's closer
		}
		for _, c := range slices.Backward(s.closers) {
			if failed := c.close(); failed != nil {
				err = errors.Join(err, fmt.Errorf("close %s: %w", c.what, failed))
			}
		}
		s.serving.Wait()
	})
	return err
}
