package kafka_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server"
	"github.com/stela-db/stela/server/meta"
)

// cluster runs three nodes in memory and returns the addresses of their Kafka listeners by node.
func cluster(t testing.TB) map[int32]string {
	t.Helper()
	addresses, _ := clusterOf(t)
	return addresses
}

// clusterOf is cluster with the nodes themselves.
func clusterOf(t testing.TB) (map[int32]string, map[int32]*server.Server) {
	t.Helper()
	peers := map[int32]string{}
	for id := range int32(3) {
		peers[id+1] = freeAddress(t)
	}
	addresses := map[int32]string{}
	servers := map[int32]*server.Server{}
	for id := range int32(3) {
		s, err := server.New(server.Config{
			Node: id + 1, Data: "data", Storage: vfs.NewMem(), HTTP: "127.0.0.1:0", Cluster: peers[id+1], Peers: peers,
			Kafka:  []server.Listener{{Name: "PLAINTEXT", Bind: "127.0.0.1:0"}},
			Fatal:  func(err error) { t.Errorf("node %d cannot go on: %v", id+1, err) },
			Timing: server.Timing{DiskHang: 20 * time.Second}, // the race detector takes its time for large writes to memory
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close node %d: %v", id+1, err)
			}
		})
		addresses[id+1] = s.Addresses().Kafka["PLAINTEXT"]
		servers[id+1] = s
	}
	for id, s := range servers {
		waitFor(t, fmt.Sprintf("node %d", id), s.Ready)
	}
	return addresses, servers
}

// waitFor asks until the answer is nil.
func waitFor(t testing.TB, what string, ready func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A node that does not lead a partition says so, and in versions that can, who does and where that is.
func TestOtherNodesNameTheLeader(t *testing.T) {
	addresses := cluster(t)
	w := &walk{TB: t, conn: dialNode(t, addresses[1]), version: 9}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.SetVersion(7)
	create.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "led", 1, -1
	create.Topics = append(create.Topics, topic)
	created := ask(t, w.conn, create).(*kmsg.CreateTopicsResponse).Topics[0]
	w.code("create", created.ErrorCode, 0)
	w.want("three copies", created.ReplicationFactor == 3, created)
	w.topicID = created.TopicID

	metadata := kmsg.NewPtrMetadataRequest()
	metadata.SetVersion(12)
	var leader int32
	for id, address := range addresses {
		conn := dialNode(t, address)
		waitFor(t, fmt.Sprintf("a leader, as node %d knows it", id), func() error {
			out := ask(t, conn, metadata).(*kmsg.MetadataResponse)
			if len(out.Brokers) != 3 || len(out.Topics) != 1 || out.Topics[0].Partitions[0].ErrorCode != 0 {
				return fmt.Errorf("%+v", out)
			}
			leader = out.Topics[0].Partitions[0].Leader
			return nil
		})
	}
	for id, address := range addresses {
		if id == leader {
			continue
		}
		conn := dialNode(t, address)
		for version := int16(3); version <= 11; version++ {
			out := ask(t, conn, produceRequest(version, "led", batch(t, 1000, "x"))).(*kmsg.ProduceResponse)
			p := out.Topics[0].Partitions[0]
			w.code("produce", p.ErrorCode, 6)
			told := p.CurrentLeader.LeaderID == leader && len(out.Brokers) == 1 && out.Brokers[0].NodeID == leader &&
				fmt.Sprintf("%s:%d", out.Brokers[0].Host, out.Brokers[0].Port) == addresses[leader]
			w.want(fmt.Sprint("leader in produce ", version), told == (version >= 10), out)
		}
		for version := int16(4); version <= 17; version++ {
			out := ask(t, conn, w.fetchVersion(version, "led", 0, nil)).(*kmsg.FetchResponse)
			p := out.Topics[0].Partitions[0]
			w.code("fetch", p.ErrorCode, 6)
			w.want(fmt.Sprint("leader in fetch ", version), (p.CurrentLeader.LeaderID == leader) == (version >= 12), out)
			told := len(out.Brokers) == 1 && fmt.Sprintf("%s:%d", out.Brokers[0].Host, out.Brokers[0].Port) == addresses[leader]
			w.want(fmt.Sprint("its address in fetch ", version), told == (version >= 16), out)
		}
	}
	ctx := patience(t)
	producer := client(t, addresses[leader%3+1], kgo.DefaultProduceTopic("led"))
	for i := range 100 {
		if err := producer.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// Replicas in sync and offline are what they are, not what was assigned.
func TestMetadataTellsWhichReplicasFollow(t *testing.T) {
	addresses, servers := clusterOf(t)
	ctx := patience(t)
	c := client(t, addresses[1], kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
	if err := c.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.SetVersion(12)
	describe := kmsg.NewPtrDescribeClusterRequest()
	expect := func(id int32, inSync, offline []int32) {
		t.Helper()
		conn := dialNode(t, addresses[id])
		waitFor(t, fmt.Sprintf("replicas as node %d knows them", id), func() error {
			out := ask(t, conn, metadata).(*kmsg.MetadataResponse)
			if len(out.Topics) != 1 || len(out.Topics[0].Partitions) == 0 {
				return fmt.Errorf("%+v", out)
			}
			var brokers, described []int32
			for _, b := range out.Brokers {
				brokers = append(brokers, b.NodeID)
			}
			for _, b := range ask(t, conn, describe).(*kmsg.DescribeClusterResponse).Brokers {
				described = append(described, b.NodeID)
			}
			if !slices.Equal(brokers, inSync) || !slices.Equal(described, inSync) {
				return fmt.Errorf("brokers %v, described as %v; wanted %v", brokers, described, inSync)
			}
			for _, p := range out.Topics[0].Partitions {
				if !slices.Equal(p.Replicas, []int32{1, 2, 3}) || !slices.Equal(p.ISR, inSync) || !slices.Equal(p.OfflineReplicas, offline) {
					return fmt.Errorf("replicas %v, in sync %v, offline %v; wanted in sync %v, offline %v", p.Replicas, p.ISR, p.OfflineReplicas, inSync, offline)
				}
			}
			return nil
		})
	}
	expect(1, []int32{1, 2, 3}, []int32{})
	expect(3, []int32{1, 2, 3}, []int32{})
	if err := servers[2].Close(); err != nil {
		t.Fatal(err)
	}
	expect(1, []int32{1, 3}, []int32{2})
	expect(3, []int32{1, 3}, []int32{2})
	if groups, err := kadm.NewClient(c).ListGroups(ctx); err != nil || len(groups) != 0 {
		t.Errorf("groups of a cluster with a dead node: %v", err)
	}
}

// What max.message.bytes may be, three nodes replicate: the largest batch is one number everywhere.
func TestLargestBatchIsReplicated(t *testing.T) {
	addresses := cluster(t)
	ctx := patience(t)
	c := client(t, addresses[1], kgo.DefaultProduceTopic("large"), kgo.ConsumeTopics("large"), kgo.ProducerBatchMaxBytes(meta.MaxMessageBytes),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.FetchMaxBytes(64<<20), kgo.FetchMaxPartitionBytes(64<<20))
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "large", 1, -1
	config := kmsg.NewCreateTopicsRequestTopicConfig()
	config.Name, config.Value = "max.message.bytes", new(strconv.Itoa(meta.MaxMessageBytes))
	topic.Configs = append(topic.Configs, config)
	create.Topics = append(create.Topics, topic)
	created, err := create.RequestWith(ctx, c)
	if err != nil || created.Topics[0].ErrorCode != 0 {
		t.Fatalf("create: %+v, %v", created, err)
	}
	value := bytes.Repeat([]byte("0123456789abcdef"), (meta.MaxMessageBytes-1024)/16)
	if err := c.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetched := c.PollRecords(ctx, 1)
	if got := fetched.Records(); fetched.Err() != nil || len(got) != 1 || !bytes.Equal(got[0].Value, value) {
		t.Fatalf("%d records, %v", len(got), fetched.Err())
	}
}
