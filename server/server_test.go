package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/server/meta"
)

// onDisk is a configuration of a single node on a disk and a network in memory.
func onDisk(fs vfs.FS, pipes *network.Pipes) Config {
	return Config{
		Storage: fs, Network: pipes.Host("n1"), SegmentBytes: 16 << 20, TailBytes: 1 << 20,
		Kafka: []Listener{{Bind: "n1:0"}}, HTTP: "n1:0",
	}
}

func open(t *testing.T, config Config) *Server {
	t.Helper()
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); s.Ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("not ready: %v", s.Ready())
		}
	}
	return s
}

func closeNode(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestStartStopStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, pipes := vfs.NewMem(), network.NewPipes()
		began := time.Now()
		s := open(t, onDisk(fs, pipes))
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("ready after %v of virtual time", took)
		}
		for _, address := range []string{s.Addresses().Kafka["PLAINTEXT"], s.Addresses().HTTP} {
			if !strings.HasPrefix(address, "n1:") || strings.HasSuffix(address, ":0") {
				t.Errorf("address %q", address)
			}
		}
		result, err := s.broker.CreateTopics(t.Context(), &meta.CreateTopics{Topics: []meta.CreateTopic{{Name: "t", Partitions: 3, ReplicationFactor: -1}}})
		if err != nil || result.Topics[0].Err != nil {
			t.Fatal(err, result)
		}
		id := s.broker.ClusterID()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v after its context ended", err)
		}
		closeNode(t, s) // again, for nothing
		s = open(t, onDisk(fs, pipes))
		defer closeNode(t, s)
		if topic := s.broker.View().TopicByName("t"); topic == nil || len(topic.Partitions) != 3 {
			t.Errorf("after a restart the topic is %+v", topic)
		}
		if got := s.broker.ClusterID(); got != id {
			t.Errorf("cluster %s, before %s", got, id)
		}
	})
}

// TestIndexComesBack deletes what can be remade while the node is stopped.
func TestIndexComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, pipes := vfs.NewMem(), network.NewPipes()
		s := open(t, onDisk(fs, pipes))
		if _, err := s.broker.AutoCreate(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		closeNode(t, s)
		if err := fs.RemoveAll(fs.PathJoin(DefaultData, "index")); err != nil {
			t.Fatal(err)
		}
		s = open(t, onDisk(fs, pipes))
		defer closeNode(t, s)
		if s.broker.View().TopicByName("t") == nil {
			t.Error("the topic is gone")
		}
	})
}

// TestRefusedStarts: what stands in the way of a start is said in words, and leaves nothing behind that runs or listens.
func TestRefusedStarts(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"folder in use":      {func(c *Config) { c.Kafka[0].Bind, c.HTTP = "n1:1", "n1:2" }, "in use"},
		"kafka port in use":  {func(c *Config) { c.Data, c.Kafka[0].Bind, c.HTTP = "other", "n1:9092", "n1:2" }, "n1:9092"},
		"http port in use":   {func(c *Config) { c.Data, c.Kafka[0].Bind, c.HTTP = "other", "n1:1", "n1:9644" }, "n1:9644"},
		"configuration":      {func(c *Config) { c.Data, c.DataShards = "other", 1000 }, "data shards"},
		"file in the way":    {func(c *Config) { c.Data = "file" }, "file"},
		"raft port in use":   {func(c *Config) { c.Data, c.Peers = "other", map[int32]string{1: "n1:9092", 2: "n2:1"} }, "n1:9092"},
		"folder of node one": {func(c *Config) { c.Data, c.Node, c.Peers = "one", 2, map[int32]string{1: "n1:5", 2: "n1:6"} }, "node 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, pipes := vfs.NewMem(), network.NewPipes()
				one := onDisk(fs, pipes)
				one.Data = "one"
				closeNode(t, open(t, one))
				config := onDisk(fs, pipes)
				config.Kafka[0].Bind, config.HTTP = "n1:9092", "n1:9644"
				s := open(t, config)
				if f, err := fs.Create("file", vfs.WriteCategoryUnspecified); err != nil || f.Close() != nil {
					t.Fatal(err)
				}
				other := onDisk(fs, pipes)
				test.change(&other)
				if second, err := New(other); err == nil {
					t.Error("it started")
					closeNode(t, second)
				} else if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %q does not say %q in one line", err, test.want)
				}
				if err := s.Ready(); err != nil {
					t.Errorf("the first node is no longer ready: %v", err)
				}
				closeNode(t, s)
			})
		})
	}
}

// TestFatal: a part that cannot go on ends Run with its error.
func TestFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		config := onDisk(vfs.NewMem(), network.NewPipes())
		config.Fatal = func(err error) { told <- err }
		s := open(t, config)
		broken := errors.New("the disk is gone")
		s.fatal(broken)
		s.fatal(errors.New("a consequence"))
		if err := s.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("Run returned %v", err)
		}
		if err := <-told; !errors.Is(err, broken) {
			t.Errorf("Fatal was told %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	three := map[int32]string{1: "a:1", 2: "b:1", 3: "c:1"}
	for want, config := range map[string]Config{
		"1 or more":               {Node: -1},
		"host:port":               {HTTP: "localhost"},
		"port is not a number":    {Kafka: []Listener{{Bind: "a:x"}}},
		"advertised":              {Kafka: []Listener{{Bind: "a:1", Advertised: "b"}}},
		"two kafka listeners":     {Kafka: []Listener{{Name: "x", Bind: "a:1"}, {Name: "x", Bind: "a:2"}}},
		"do not name node":        {Node: 4, Peers: three},
		"peer 1 address":          {Peers: map[int32]string{1: "", 2: "b:1"}},
		"segment bytes":           {SegmentBytes: 1000},
		"advertise an address":    {Node: 2, Peers: three, Kafka: []Listener{{Bind: "10.0.0.1:1"}, {Name: "out", Bind: "0.0.0.0:9092"}}},
		"listens everywhere":      {Node: 2, Peers: three, Kafka: []Listener{{Bind: ":9092"}}},
		"clients cannot connect":  {Kafka: []Listener{{Bind: ":9092", Advertised: "[::]:9092"}}},
		"cannot connect to peer":  {Peers: map[int32]string{1: "a:1", 2: "0.0.0.0:1"}},
		"tail bytes":              {TailBytes: 10},
		"read cache bytes":        {ReadBytes: 10},
		"or -1 for none":          {ReadBytes: -2},
		"data shards":             {DataShards: -1},
		"message.max.bytes":       {BrokerConfigs: map[string]string{"message.max.bytes": "100000000"}},
		"fit into a segment":      {BrokerConfigs: map[string]string{"message.max.bytes": "20000000"}, SegmentBytes: 16 << 20},
		"message.max.bytes \"x\"": {BrokerConfigs: map[string]string{"message.max.bytes": "x"}},
	} {
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), strings.Split(want, " \"")[0]) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for name, config := range map[string]Config{
		"three nodes":       {Node: 2, Peers: three},
		"largest batch":     {BrokerConfigs: map[string]string{"message.max.bytes": "33554432"}},
		"no read cache":     {ReadBytes: -1},
		"one node":          {Kafka: []Listener{{Bind: "0.0.0.0:9092"}}},
		"three, everywhere": {Node: 2, Peers: three, Kafka: []Listener{{Bind: ":9092", Advertised: "a:9092"}}},
	} {
		if err := config.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
