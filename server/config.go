package server

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/server/meta"
)

// The addresses of a node that was told none.
const (
	DefaultKafkaAddress = "127.0.0.1:9092"
	DefaultHTTPAddress  = "127.0.0.1:9644"
	DefaultData         = "stela-data"
	DefaultNode         = 1
)

const (
	minSegmentBytes = 16 << 20
	maxSegmentBytes = 1 << 30
	maxDataShards   = 15
)

// MaxNodes is how many nodes a cluster may have.
const MaxNodes = 9

// Listener is one address that Kafka clients connect to.
type Listener struct {
	Name       string // default "PLAINTEXT"; unique within a node
	Bind       string // host:port that is listened on
	Advertised string // host:port that clients are told; default: Bind, with the real port when it was 0
}

// Config is all that a node may be told. The zero value is a single node on the
// operating system's disk and network, with the default addresses, that makes
// topics when they are first named.
type Config struct {
	Node         int32            // 1 to 2^31-1; default 1
	Data         string           // folder; default DefaultData
	Kafka        []Listener       // default: one on DefaultKafkaAddress
	HTTP         string           // host:port; default DefaultHTTPAddress
	Cluster      string           // host:port that other nodes connect to; needed with Peers
	Peers        map[int32]string // node to cluster address of every node, this one included; empty: a single node
	DataShards   int              // of a cluster that is formed now; default 1
	NoAutoCreate bool             // clients must create topics before they use them

	// BrokerConfigs are settings under Kafka's names, such as num.partitions, message.max.bytes, log.retention.ms.
	BrokerConfigs map[string]string

	SegmentBytes int64 // of one log file; default 64 MiB
	TailBytes    int64 // of the log's end that is kept in memory; default 32 MiB, or 1/8 of Go's memory limit if that is less
	ReadBytes    int64 // of memory for what consumers who are behind read; default 128 MiB, or likewise 1/8; -1 for none
	IndexBytes   int64 // of Pebble's block cache; default 16 MiB
	DirectIO     bool  // the log is written, and read for those who are behind, past the system's page cache, where the file system lets us

	Timing  Timing
	Storage log.FS          // default: the operating system's
	Network network.Network // default: TCP
	Logger  *slog.Logger    // default: none
	// Fatal is called when the node cannot go on and perhaps cannot even close in
	// order, as with a disk that hangs. Default: Run returns the error.
	Fatal func(error)
	// Version is the build that metrics and /v1/cluster name.
	Version string
}

// Raft is what a shard keeps at hand for its followers, which simulations change. Zero fields have defaults.
type Raft struct {
	SnapshotEntries uint64 // applied since the last snapshot, after which another is taken; default 16384
	TrailingEntries uint64 // that stay at hand after a snapshot; default 8192
}

// Timing is how long things take, and how many entries, which simulations and impatient operators change. Zero fields have defaults.
type Timing struct {
	Raft      Raft
	Heartbeat time.Duration // and election timeout; default 500 ms, 50 ms for a single node
	DiskHang  time.Duration // a write or sync that takes longer ends the node; default 2 s
	Retention time.Duration // how often old data is looked for; default 1 min
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Node == 0 {
		c.Node = DefaultNode
	}
	if c.Data == "" {
		c.Data = DefaultData
	}
	if len(c.Kafka) == 0 {
		c.Kafka = []Listener{{Bind: DefaultKafkaAddress}}
	}
	c.Kafka = append([]Listener(nil), c.Kafka...)
	for i := range c.Kafka {
		if c.Kafka[i].Name == "" {
			c.Kafka[i].Name = "PLAINTEXT"
			if i > 0 {
				c.Kafka[i].Name += strconv.Itoa(i + 1)
			}
		}
	}
	if c.HTTP == "" {
		c.HTTP = DefaultHTTPAddress
	}
	if c.DataShards == 0 {
		c.DataShards = 1
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.TailBytes == 0 {
		c.TailBytes = ofMemory(32<<20, 8)
	}
	if c.ReadBytes == 0 {
		c.ReadBytes = ofMemory(128<<20, 8)
	}
	if c.IndexBytes == 0 {
		c.IndexBytes = 16 << 20
	}
	if c.Timing.DiskHang == 0 {
		c.Timing.DiskHang = 2 * time.Second
	}
	if c.Storage == nil {
		c.Storage = log.OSFS()
	}
	if c.Network.Listen == nil {
		c.Network = network.TCP()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	return c
}

// Validate says what is wrong with the configuration, as one line for a person.
func (c Config) Validate() error {
	c = c.withDefaults()
	if c.Node < 1 {
		return fmt.Errorf("node %d: a node's number is 1 or more", c.Node)
	}
	names := map[string]bool{}
	for _, listener := range c.Kafka {
		if err := checkAddress("kafka listener", listener.Bind); err != nil {
			return err
		}
		if listener.Advertised != "" {
			if err := checkAddress("advertised kafka listener", listener.Advertised); err != nil {
				return err
			}
		}
		if err := c.checkReach(listener); err != nil {
			return err
		}
		if names[listener.Name] {
			return fmt.Errorf("two kafka listeners are named %s: give one another name, as in internal://host:port", listener.Name)
		}
		names[listener.Name] = true
	}
	if err := checkAddress("http", c.HTTP); err != nil {
		return err
	}
	if err := c.validatePeers(); err != nil {
		return err
	}
	switch {
	case c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes:
		return fmt.Errorf("segment bytes %d: between %d and %d", c.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	case c.TailBytes < 1<<20:
		return fmt.Errorf("tail bytes %d: at least %d", c.TailBytes, 1<<20)
	case c.ReadBytes < 1<<20 && c.ReadBytes != -1:
		return fmt.Errorf("read cache bytes %d: at least %d, or -1 for none", c.ReadBytes, 1<<20)
	case c.DataShards < 1 || c.DataShards > maxDataShards:
		return fmt.Errorf("data shards %d: between 1 and %d", c.DataShards, maxDataShards)
	}
	return c.validateBrokerConfigs()
}

// BrokerConfigNames returns the names that BrokerConfigs may have, sorted.
func BrokerConfigNames() []string {
	keys := meta.BrokerKeys()
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].Name
	}
	return names
}

// brokerNumber returns what BrokerConfigs or else the key's default says; the configuration is valid.
func (c Config) brokerNumber(name string) int {
	keys := meta.BrokerKeys()
	text, ok := c.BrokerConfigs[name]
	if i := slices.IndexFunc(keys, func(k meta.ConfigKey) bool { return k.Name == name }); !ok && i >= 0 {
		text = keys[i].Default
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		panic(fmt.Sprintf("BUG: broker config %s is %q", name, text))
	}
	return n
}

func (c Config) validateBrokerConfigs() error {
	known := map[string]*meta.ConfigKey{}
	keys := meta.BrokerKeys()
	for i := range keys {
		known[keys[i].Name] = &keys[i]
	}
	for _, name := range slices.Sorted(maps.Keys(c.BrokerConfigs)) {
		key := known[name]
		if key == nil {
			return fmt.Errorf("broker config %q: there is none of this name", name)
		}
		if err := key.Check(c.BrokerConfigs[name]); err != nil {
			return err
		}
	}
	if err := c.checkSaidTwice(); err != nil {
		return err
	}
	if text, ok := c.BrokerConfigs["message.max.bytes"]; ok { // up to meta.MaxMessageBytes, as Check has said
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > c.SegmentBytes-segmentReserve {
			return fmt.Errorf("message.max.bytes %d: a batch has to fit into a segment of %d bytes, which takes %d; make segments larger",
				n, c.SegmentBytes, c.SegmentBytes-segmentReserve)
		}
	}
	return nil
}

// checkReach refuses a listener whose clients could not be told where it is. A node of its own needs to be told nothing: its
// clients have reached it. Those of a cluster come through one node and must be told of the others.
func (c Config) checkReach(l Listener) error {
	switch {
	case l.Advertised != "" && isWildcard(l.Advertised):
		return fmt.Errorf("kafka listener %s: clients cannot connect to %q: advertise a host that they can reach", l.Name, l.Advertised)
	case l.Advertised == "" && isWildcard(l.Bind) && len(c.Peers) > 0:
		return fmt.Errorf("kafka listener %s listens everywhere (%s), so clients of the other nodes cannot be told where it is: "+
			"advertise an address that they can reach, as in %s,HOST:PORT", l.Name, l.Bind, l.Bind)
	}
	return nil
}

// isWildcard reports whether an address means all addresses of a machine.
func isWildcard(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

func (c Config) validatePeers() error {
	if len(c.Peers) == 0 {
		return nil
	}
	if len(c.Peers) > MaxNodes {
		return fmt.Errorf("%d peers: at most %d", len(c.Peers), MaxNodes)
	}
	if _, ok := c.Peers[c.Node]; !ok {
		return fmt.Errorf("the peers do not name node %d: list every node of the cluster, this one included", c.Node)
	}
	for node, address := range c.Peers {
		if node < 1 {
			return fmt.Errorf("peer %d: a node's number is 1 or more", node)
		}
		if err := checkAddress(fmt.Sprintf("peer %d", node), address); err != nil {
			return err
		}
		if isWildcard(address) {
			return fmt.Errorf("nodes cannot connect to peer %d at %q: name its host, and what it listens on with --raft", node, address)
		}
	}
	if c.Cluster != "" {
		if err := checkAddress("cluster", c.Cluster); err != nil {
			return err
		}
	}
	return nil
}

func checkAddress(what, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s address %q: host:port is needed", what, address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s address %q: the port is not a number between 0 and 65535", what, address)
	}
	return nil
}
