package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

// A testCluster is a few nodes on disks in memory and a network in memory. It must be used inside a synctest bubble.
type testCluster struct {
	t     testing.TB
	pipes *network.Pipes
	nodes map[int32]*testNode
	tune  func(*testConfig)
}

type testConfig struct {
	settings    Settings
	segment     int64
	tail        int64
	shards      int
	replication func(*replication.Config)
}

type testNode struct {
	cluster     *testCluster
	id          int32
	fs          vfs.FS
	dir         string
	log         *log.Log
	index       *index.Index
	pool        *frame.Pool
	replication *replication.Node
	*Broker
	fatal chan error
}

func newTestCluster(t *testing.T, nodes int, tune func(*testConfig)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, pipes: network.NewPipes(), nodes: map[int32]*testNode{}, tune: tune}
	for id := range int32(nodes) {
		c.nodes[id+1] = &testNode{cluster: c, id: id + 1, fs: vfs.NewMem(), dir: "data"}
	}
	for _, n := range c.nodes {
		n.start()
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
		}
	})
	c.ready()
	return c
}

func (c *testCluster) peers() map[int32]string {
	if len(c.nodes) == 1 {
		return nil
	}
	peers := map[int32]string{}
	for id := range c.nodes {
		peers[id] = fmt.Sprintf("n%d:1", id)
	}
	return peers
}

func (n *testNode) start() {
	t := n.cluster.t
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("node %d: %v", n.id, err)
		}
	}
	config := testConfig{segment: 1 << 20, tail: 1 << 20, shards: 1}
	if n.cluster.tune != nil {
		n.cluster.tune(&config)
	}
	config.settings.EntryBytes, config.settings.MaxBatchBytes = int(config.segment/4), int(config.segment/2)
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("STELA_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.id)
	}
	n.fatal = make(chan error, 100)
	fatal := func(err error) { n.fatal <- err }
	check(n.fs.MkdirAll(n.dir, 0o755))
	identity, err := replication.OpenIdentity(n.fs, n.dir, n.id)
	check(err)
	n.pool = frame.NewPool(4 << 20)
	n.log, err = log.Open(log.Config{
		FS: n.fs, Dir: n.dir + "/log", Incarnation: identity.Incarnation, SegmentBytes: config.segment, TailBytes: config.tail,
		Pool: n.pool, Logger: logger, Fatal: fatal,
	})
	check(err)
	n.index, err = index.Open(index.Config{FS: n.fs, Dir: n.dir + "/index", CacheBytes: 1 << 20, Logger: logger, Fatal: fatal})
	check(err)
	rc := replication.Config{
		Identity: *identity, Peers: n.cluster.peers(), Network: n.cluster.pipes.Host(fmt.Sprintf("n%d", n.id)), FS: n.fs, Dir: n.dir,
		Log: n.log, Pool: n.pool, Logger: logger, Fatal: fatal, DataShards: config.shards,
	}
	if config.replication != nil {
		config.replication(&rc)
	}
	n.replication, err = replication.New(rc)
	check(err)
	var peers []int32
	for id := range n.cluster.peers() {
		peers = append(peers, id)
	}
	n.Broker, err = New(Config{
		Node: n.id, Peers: peers, Replication: n.replication, Log: n.log, Index: n.index, Pool: n.pool, Settings: config.settings,
		Listeners: []meta.Listener{{Name: "PLAINTEXT", Host: fmt.Sprintf("n%d", n.id), Port: 9092}}, Logger: logger, Fatal: fatal,
	})
	check(err)
	check(n.Broker.Start())
}

func (n *testNode) stop() {
	if n.Broker == nil {
		return
	}
	t := n.cluster.t
	for _, err := range []error{n.Broker.Close(), n.replication.Close(), n.index.Close(), n.log.Close()} {
		if err != nil {
			t.Errorf("close node %d: %v", n.id, err)
		}
	}
	n.Broker = nil
	select {
	case err := <-n.fatal:
		t.Errorf("node %d failed: %v", n.id, err)
	default:
	}
}

// crash ends a node as a process ends that is killed: what it wrote is there, synced or not.
func (n *testNode) crash() {
	n.cluster.pipes.Crash(fmt.Sprintf("n%d", n.id))
	kept := n.fs
	n.stop()
	n.fs = kept
}

// until waits in virtual time until done.
func (c *testCluster) until(what string, done func() error) {
	c.t.Helper()
	var err error
	for range 3000 {
		if err = done(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("%s: %v", what, err)
}

func (c *testCluster) ready() {
	c.t.Helper()
	c.until("ready", func() error {
		for id, n := range c.nodes {
			if n.Broker == nil {
				continue
			}
			if err := n.Ready(); err != nil {
				return fmt.Errorf("node %d: %w", id, err)
			}
		}
		return nil
	})
}

// any returns a running node.
func (c *testCluster) any() *testNode {
	for _, n := range c.nodes {
		if n.Broker != nil {
			return n
		}
	}
	c.t.Fatal("no node runs")
	return nil
}

func (c *testCluster) create(name string, partitions int32, configs ...string) {
	c.t.Helper()
	topic := meta.CreateTopic{Name: name, Partitions: partitions, ReplicationFactor: -1}
	for i := 0; i < len(configs); i += 2 {
		topic.Configs = append(topic.Configs, meta.Setting{Name: configs[i], Value: &configs[i+1]})
	}
	result, err := c.any().CreateTopics(context.Background(), &meta.CreateTopics{Topics: []meta.CreateTopic{topic}})
	if err == nil {
		err = result.Topics[0].Err
	}
	if err != nil {
		c.t.Fatalf("create %s: %v", name, err)
	}
	c.until("topic known everywhere", func() error {
		for id, n := range c.nodes {
			if n.Broker != nil && n.View().TopicByName(name) == nil {
				return fmt.Errorf("node %d does not know %s", id, name)
			}
		}
		return nil
	})
}

// leader waits for the node that leads a partition and is ready to.
func (c *testCluster) leader(topic string, number int32) *testNode {
	c.t.Helper()
	var found *testNode
	c.until("leader of "+topic, func() error {
		for _, n := range c.nodes {
			if n.Broker == nil {
				continue
			}
			p, err := n.Partition(topic, number)
			if err != nil {
				return err
			}
			if _, _, err := p.state.leadership(); err == nil && p.state.shard.group.Leader().Local {
				found = n
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return found
}

func (n *testNode) partition(topic string, number int32) *Partition {
	n.cluster.t.Helper()
	p, err := n.Partition(topic, number)
	if err != nil {
		n.cluster.t.Fatalf("partition %s/%d: %v", topic, number, err)
	}
	return p
}

// A testBatch says what a batch is made of.
type testBatch struct {
	key      []byte
	values   []string
	headers  []record.Header
	producer int64 // 0: none
	epoch    int16
	sequence int32
	time     int64 // 0: now
	codec    record.Codec
}

func (n *testNode) batch(b testBatch) (record.Batch, *frame.Frame) {
	builder := record.NewBuilder()
	builder.Codec = b.codec
	if b.producer != 0 {
		builder.ProducerID, builder.ProducerEpoch, builder.BaseSequence = b.producer, b.epoch, b.sequence
	}
	at := b.time
	if at == 0 {
		at = time.Now().UnixMilli()
	}
	for i, v := range b.values {
		builder.Add(at+int64(i), b.key, []byte(v), b.headers)
	}
	bytes, err := builder.AppendBatch(nil, &record.Codecs{})
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	f := n.pool.Get(len(bytes))
	copy(f.Bytes(), bytes)
	return record.Batch(f.Bytes()), f
}

// send produces one batch without waiting.
func (n *testNode) send(p *Partition, b testBatch) <-chan ProduceResult {
	batch, f := n.batch(b)
	outcome := make(chan ProduceResult, 1)
	n.Produce([]ProduceBatch{{Partition: p, Batch: batch, Frame: f, Receiver: ReceiverFunc(func(r ProduceResult) { outcome <- r })}})
	return outcome
}

// produce produces one batch and waits for its answer.
func (n *testNode) produce(p *Partition, b testBatch) ProduceResult {
	return <-n.send(p, b)
}

func (n *testNode) mustProduce(p *Partition, b testBatch) record.Offset {
	n.cluster.t.Helper()
	r := n.produce(p, b)
	if r.Err != nil {
		n.cluster.t.Fatalf("produce: %v", r.Err)
	}
	return r.BaseOffset
}

// read fetches all of a partition's records from an offset on, as "offset=value".
func (n *testNode) read(p *Partition, from record.Offset) []string {
	t := n.cluster.t
	t.Helper()
	list := []string{}
	for {
		result := n.Fetch(context.Background(), &FetchRequest{
			MaxBytes: 1 << 20, Partitions: []FetchPartition{{Partition: p, Offset: from, MaxBytes: 1 << 20, LeaderEpoch: -1}},
		})
		got := &result.Partitions[0]
		if got.Err != nil {
			t.Fatalf("fetch from %d: %v", from, got.Err)
		}
		for _, stored := range got.Batches {
			for len(stored) > 0 {
				batch, rest, err := record.NextBatch(stored)
				if err == nil {
					err = record.CheckBatch(batch)
				}
				if err != nil {
					t.Fatal(err)
				}
				for r, err := range (&record.Codecs{}).Records(batch, 1<<20) {
					if err != nil {
						t.Fatal(err)
					}
					if offset := batch.Offset(&r); offset >= from {
						list = append(list, fmt.Sprintf("%d=%s", offset, r.Value))
					}
				}
				from, stored = batch.LastOffset()+1, rest
			}
		}
		end := got.HighWatermark
		result.Release()
		if from >= end {
			return list
		}
	}
}

// depose makes another node the leader of shard 1 and returns that.
func (c *testCluster) depose(n *testNode) *testNode {
	c.t.Helper()
	if err := n.replication.Group(1).Transfer(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	var next *testNode
	c.until("another leader", func() error {
		for _, other := range c.nodes {
			if other.Broker == nil || other == n {
				continue
			}
			if s := other.shard(1); s != nil && s.group.Leader().Local && s.isLeading() {
				next = other
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return next
}

func (s *shard) isLeading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leading
}
