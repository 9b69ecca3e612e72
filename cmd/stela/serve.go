package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/server"
	"github.com/stela-db/stela/services"
)

// serve holds the flags of one node.
type serve struct {
	*general
	node        int32
	data        string
	kafka       []string
	http        string
	raft        string
	peers       []string
	dataShards  int
	autoCreate  bool
	settings    []string
	segment     byteCount
	tail        byteCount
	readCache   byteCount
	indexCache  byteCount
	directIO    bool
	heartbeat   time.Duration
	diskHang    time.Duration
	retainEvery time.Duration
	telling     telling
}

// telling is what a node says of itself.
type telling struct {
	level, format string // of the log
	profile       string // a file, "" for none
}

func newServe(g *general) *cobra.Command {
	c := &serve{general: g, segment: 64 << 20, indexCache: 16 << 20}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one node",
		Long: `Run one node in the foreground until SIGTERM or Ctrl-C. Without flags it is a
cluster of its own that makes topics when they are first named. For a cluster
every node gets the same --peers and its own --node.

A Kafka listener is [name://]host:port[,advertised-host:port]: where to listen,
and what to tell clients when that differs. --kafka may be repeated. GOMEMLIMIT is
respected, and a small one makes the defaults below smaller; without it the memory
is bounded by the sizes below and the requests in flight.

New topics that eventstore.topics matches keep streams, and so everything. Unless
--broker-config says otherwise these are the topics of the order services (shop up).`,
		Example: `  stela serve
  stela serve --data /var/lib/stela --kafka 0.0.0.0:9092,broker1.example.com:9092
  stela serve --node 1 --peers 1=10.0.0.1:33145,2=10.0.0.2:33145,3=10.0.0.3:33145
  STELA_DATA=/srv/stela stela serve --config /etc/stela.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.Int32Var(&c.node, "node", server.DefaultNode, "this node's number, from 1")
	flags.StringVar(&c.data, "data", server.DefaultData, "the `folder` for everything that must survive")
	flags.StringArrayVar(&c.kafka, "kafka", []string{server.DefaultKafkaAddress}, "a `listener` for Kafka clients; may be repeated")
	flags.StringVar(&c.http, "http", server.DefaultHTTPAddress, "the `address` for health, metrics and streams")
	flags.StringVar(&c.raft, "raft", "", "the `address` to listen on for other nodes (default this node's in --peers)")
	flags.StringArrayVar(&c.peers, "peers", nil, "all nodes as `1=host:port,2=host:port,...`, this one included; none for a single node")
	flags.IntVar(&c.dataShards, "data-shards", 1, "how many shards a cluster that is formed now spreads its partitions over")
	flags.BoolVar(&c.autoCreate, "auto-create", true, "make a topic when a client first names it")
	flags.StringArrayVarP(&c.settings, "broker-config", "c", nil, "a default under Kafka's `name=value`, such as num.partitions=6; may be repeated")
	flags.Var(&c.segment, "segment-bytes", "size of one log file")
	flags.Var(&c.tail, "tail-bytes", "how much of the log's end is kept in memory for followers and consumers (default 32MiB, or an eighth of GOMEMLIMIT if that is less)")
	flags.Var(&c.readCache, "read-cache-bytes", "memory for what consumers who are further behind read, and what is read ahead of them; -1 for none (default 128MiB, or an eighth of GOMEMLIMIT if that is less)")
	flags.BoolVar(&c.directIO, "direct-io", true, "write the log, and read it for consumers who are behind, past the system's page cache, where the file system lets us")
	flags.Var(&c.indexCache, "index-cache-bytes", "memory for the index's block cache")
	flags.DurationVar(&c.heartbeat, "heartbeat", 0, "heartbeat and election timeout (default 500ms, 50ms for a single node)")
	flags.DurationVar(&c.diskHang, "disk-hang", 2*time.Second, "a write or sync that takes longer ends the process")
	flags.DurationVar(&c.retainEvery, "retention-check", time.Minute, "how often data beyond its retention is looked for")
	flags.StringVar(&c.telling.level, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&c.telling.format, "log-format", "text", "text or json")
	flags.StringVar(&c.telling.profile, "cpu-profile", "", "a `file` for a CPU profile of the whole run, to be read by 'go tool pprof'")
	return cmd
}

// config turns the flags into the server's configuration.
func (c *serve) config() (server.Config, error) {
	logger, err := command.NewLogger(c.Err, c.telling.level, c.telling.format)
	if err != nil {
		return server.Config{}, err
	}
	config := server.Config{
		Node: c.node, Data: c.data, HTTP: c.http, Cluster: c.raft, DataShards: c.dataShards, NoAutoCreate: !c.autoCreate,
		SegmentBytes: int64(c.segment), TailBytes: int64(c.tail), ReadBytes: int64(c.readCache), IndexBytes: int64(c.indexCache), DirectIO: c.directIO,
		Timing: server.Timing{Heartbeat: c.heartbeat, DiskHang: c.diskHang, Retention: c.retainEvery},
		Logger: logger, Version: currentVersion().Version,
		BrokerConfigs: map[string]string{},
	}
	for _, text := range c.kafka {
		l, err := parseListener(text)
		if err != nil {
			return config, wrongSetting("kafka", err)
		}
		config.Kafka = append(config.Kafka, server.Listener(l))
	}
	if config.Peers, err = parsePeers(c.peers); err != nil {
		return config, wrongSetting("peers", err)
	}
	settings, err := parseAssignments(c.settings)
	if err != nil {
		return config, err
	}
	for name, value := range settings {
		if known := server.BrokerConfigNames(); !slices.Contains(known, name) {
			return config, command.Advise(fmt.Errorf("--broker-config: unknown name %q", name), "did you mean %q?", command.Nearest(name, known))
		}
		config.BrokerConfigs[name] = *value
	}
	if _, said := config.BrokerConfigs[eventStoreTopics]; !said {
		config.BrokerConfigs[eventStoreTopics] = strings.Join(shopTopics(), ",")
	}
	if err := config.Validate(); err != nil {
		return config, wrongSetting("", err)
	}
	return config, nil
}

// eventStoreTopics is the setting that names the topics which keep streams from the start.
const eventStoreTopics = "eventstore.topics"

// shopTopics names the topics of the order services. A client that writes to one of them
// first makes it what they need, so that it does not matter who was started first.
func shopTopics() []string {
	var names []string
	for _, topic := range services.Topics() {
		names = append(names, topic.Name)
	}
	return names
}

// wrongSetting is a value that may come from the command line, the environment or the file.
func wrongSetting(flag string, err error) error {
	if flag != "" {
		err = fmt.Errorf("--%s: %w", flag, err)
	}
	return command.Advise(err, "see 'stela serve --help'")
}

func (c *serve) run(ctx context.Context) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	stop, err := startProfile(c.telling.profile)
	if err != nil {
		return err
	}
	defer stop()
	logger := config.Logger
	config.Fatal = func(err error) { end(c.Err, err, os.Exit) } // The disk may hang: nothing orderly is tried.
	node, err := server.New(config)
	if err != nil {
		return explainServe(err)
	}
	addresses := node.Addresses()
	logger.Info("node is up", "node", config.Node, "data", config.Data, "kafka", addresses.Kafka, "http", addresses.HTTP,
		"version", config.Version)
	err = node.Run(ctx)
	if err == nil {
		logger.Info("node has stopped", "node", config.Node)
	}
	return err
}

// startProfile begins a CPU profile if a file is given. stop ends it.
func startProfile(name string) (stop func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, command.Advise(fmt.Errorf("--cpu-profile: %w", err), "name a file in a folder that is there")
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("--cpu-profile: %w", err), file.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close() // A profile that is cut short says so when it is read.
	}, nil
}

// explainServe says what to do when a node does not start.
func explainServe(err error) error {
	switch {
	case command.IsAdvised(err):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return command.Advise(err, "look at it with 'stela dump'; nothing was changed")
	case strings.Contains(err.Error(), "is in use by another process"):
		return command.Advise(err, "stop the other process or choose another --data")
	}
	return err
}
