package bench

import (
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKafkaLosesABroker runs three JVMs, as make bench-peers installs them, kills one of them
// and has it come back. It is for who changes how Kafka is run:
//
//	STELA_BENCH_REAL=1 go test -run TestKafkaLosesABroker -v ./bench
func TestKafkaLosesABroker(t *testing.T) {
	if os.Getenv("STELA_BENCH_REAL") == "" {
		t.Skip("it takes a minute and 4 GB: STELA_BENCH_REAL=1 runs it")
	}
	kafka := &Kafka{Dir: PeersDir() + "/kafka"}
	version, err := kafka.Version(t.Context())
	if err != nil {
		t.Skip(err)
	}
	began := time.Now()
	cluster, err := kafka.Prepare(t.Context(), Layout{Dir: t.TempDir(), Nodes: 3, Port: 24100})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Kafka %s: prepared in %v", version, time.Since(began))
	began = time.Now()
	defer cluster.Stop()
	if err := cluster.Start(io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := firstAck(t.Context(), cluster, "first"); err != nil {
		t.Fatal(err)
	}
	t.Logf("first acknowledgement after %v", time.Since(began))

	config := Config{Partitions: 12, Records: 1_000_000, RecordBytes: kilobyteRecord, Linger: 5 * time.Millisecond}
	for _, topic := range []topicSpec{
		{name: "default", partitions: 12, replicas: 3},
		{name: "synced", partitions: 12, replicas: 3, configs: map[string]string{"flush.messages": "1"}},
	} {
		if _, err := createTopic(t.Context(), cluster, topic); err != nil {
			t.Fatal(err)
		}
		p, err := newProducer(cluster, topic.name, config)
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if err := p.Warm(t.Context(), config.Records); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		t.Logf("topic %s: %d records of 1 KB in %v: %.0f MB/s, cold", topic.name, config.Records, took, float64(config.Records)*kilobyteRecord/1e6/took.Seconds())
		p.Close()
	}

	began = time.Now()
	cluster.Nodes[0].Kill()
	cl, err := connect(cluster, kgo.DefaultProduceTopic("default"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for partition := range int32(12) {
		record := &kgo.Record{Partition: partition, Value: []byte("after " + strconv.Itoa(int(partition)))}
		if err := cl.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("broker 1 killed: all partitions took a record after %v", time.Since(began))
	if err := cluster.Nodes[0].Start(io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := firstAck(t.Context(), cluster, "second"); err != nil {
		t.Fatal(err)
	}
	t.Logf("broker 1 is back: a new topic took a record %v after the kill", time.Since(began))
}
