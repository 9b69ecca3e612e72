package kafka_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server"
)

func (w *walk) fetchVersion(version int16, name string, offset int64, change func(*kmsg.FetchRequest)) *kmsg.FetchRequest {
	in := w.fetchRequest(name, offset)
	in.SetVersion(version)
	if change != nil {
		change(in)
	}
	return in
}

// Where topics may not be deleted, clients are told so in a code that their version knows.
func TestDeletionDisabled(t *testing.T) {
	address := node(t, func(c *server.Config) { c.BrokerConfigs = map[string]string{"delete.topic.enable": "false"} })
	w := &walk{TB: t, conn: dialNode(t, address)}
	w.topic("kept")
	for version, want := range map[int16]int16{1: 42, 2: 42, 3: 73, 6: 73} {
		in := kmsg.NewPtrDeleteTopicsRequest()
		in.SetVersion(version)
		in.TopicNames, in.Topics = []string{"kept"}, []kmsg.DeleteTopicsRequestTopic{{Topic: new("kept")}}
		w.version = version
		w.code("delete", ask(t, w.conn, in).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, want)
	}
}

// A fetch at the end waits, and what is produced meanwhile ends the wait.
func TestFetchIsWokenByProduce(t *testing.T) {
	address := node(t)
	w := &walk{TB: t, conn: dialNode(t, address), version: 9}
	w.topic("woken")
	for _, offset := range []int64{10, 11, 12} {
		in := w.fetchVersion(11, "woken", offset, func(in *kmsg.FetchRequest) { in.MaxWaitMillis = 20_000 })
		fetching := dialNode(t, address)
		if err := write(fetching, in); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		out := ask(t, w.conn, produceRequest(9, "woken", batch(t, 1000, "more"))).(*kmsg.ProduceResponse)
		w.code("produce", out.Topics[0].Partitions[0].ErrorCode, 0)
		p := read(t, fetching, in).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if took := time.Since(began); took > 5*time.Second || len(p.RecordBatches) == 0 || int64(binary.BigEndian.Uint64(p.RecordBatches)) != offset {
			t.Errorf("offset %d: after %s: %+v", offset, took, p)
		}
	}
}

func TestFetchWaitsForMinBytesAndMaxWait(t *testing.T) {
	w := &walk{TB: t, conn: dialNode(t, node(t)), version: 9}
	w.topic("waits")
	began := time.Now()
	in := w.fetchVersion(11, "waits", 0, func(in *kmsg.FetchRequest) { in.MinBytes, in.MaxWaitMillis = 1<<20, 300 })
	p := ask(t, w.conn, in).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if took := time.Since(began); took < 300*time.Millisecond || len(p.RecordBatches) == 0 {
		t.Errorf("after %s: %+v", took, p)
	}
}

// What is asked while a fetch waits is answered after it; what was asked before, before it.
func TestAnswersKeepTheOrderOfMixedRequests(t *testing.T) {
	w := &walk{TB: t, conn: dialNode(t, node(t)), version: 9}
	w.topic("mixed")
	produce := produceRequest(9, "mixed", batch(t, 1000, "more"))
	fetch := w.fetchVersion(11, "mixed", 13, func(in *kmsg.FetchRequest) { in.MaxWaitMillis = 200 })
	list := kmsg.NewPtrListOffsetsRequest()
	list.SetVersion(5)
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "mixed"
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Timestamp = -1
	topic.Partitions = append(topic.Partitions, partition)
	list.Topics = append(list.Topics, topic)
	order := []kmsg.Request{produce, produce, list, produce, fetch, produce, list, list}
	for _, in := range order {
		if err := write(w.conn, in); err != nil {
			t.Fatal(err)
		}
	}
	var ends []int64
	for _, in := range order {
		switch out := read(t, w.conn, in).(type) {
		case *kmsg.ProduceResponse:
			w.code("produce", out.Topics[0].Partitions[0].ErrorCode, 0)
		case *kmsg.ListOffsetsResponse:
			ends = append(ends, out.Topics[0].Partitions[0].Offset)
		case *kmsg.FetchResponse:
			w.code("fetch", out.Topics[0].Partitions[0].ErrorCode, 0)
		}
	}
	if len(ends) != 3 || ends[0] != 12 || ends[1] != 14 || ends[2] != 14 {
		t.Errorf("ends %v, wanted 12, 14, 14", ends)
	}
}

// Many Produce requests under way on one connection reach the log in the order in which they were sent.
func TestPipelinedProduceKeepsItsOrder(t *testing.T) {
	w := &walk{TB: t, conn: dialNode(t, node(t)), version: 9}
	w.topic("pipelined")
	const requests = 500
	sent := make(chan error, 1)
	go func() {
		for range requests {
			if err := write(w.conn, produceRequest(9, "pipelined", batch(t, 1000, "more"))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range requests {
		out := read(t, w.conn, produceRequest(9, "", nil)).(*kmsg.ProduceResponse)
		if p := out.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(10+i) {
			t.Fatalf("request %d: %+v", i, p)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestAcksOfNothing(t *testing.T) {
	address := node(t)
	w := &walk{TB: t, conn: dialNode(t, address), version: 9}
	w.topic("acks")
	none := produceRequest(9, "acks", batch(t, 1000, "unanswered"))
	none.Acks = 0
	if err := write(w.conn, none); err != nil {
		t.Fatal(err)
	}
	// The next answer on the connection is that of the next request.
	out := ask(t, w.conn, produceRequest(9, "acks", batch(t, 1000, "answered"))).(*kmsg.ProduceResponse)
	if p := out.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 11 {
		t.Errorf("%+v", p)
	}
	// A failure closes the connection.
	lost := dialNode(t, address)
	missing := produceRequest(9, "acks-missing", batch(t, 1000, "unanswered"))
	missing.Acks = 0
	if err := write(lost, missing); err != nil {
		t.Fatal(err)
	}
	if err := lost.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if n, err := lost.Read(b[:]); n > 0 || err == nil || isTimeout(err) {
		t.Errorf("read %d bytes, %v; wanted the connection closed", n, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	ok := errors.As(err, &timeout)
	return ok && timeout.Timeout()
}

// Clients are told the addresses of the listener through which they came.
func TestSeveralListeners(t *testing.T) {
	outside := freeAddress(t)
	listeners := []server.Listener{
		{Name: "inside", Bind: "127.0.0.1:0"},
		{Name: "outside", Bind: outside, Advertised: "kafka.example.com:19092"},
		{Name: "everywhere", Bind: "0.0.0.0:0"},
	}
	addresses := nodeAddresses(t, func(c *server.Config) { c.Kafka = listeners })
	_, port, err := net.SplitHostPort(addresses["everywhere"])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dial, want string }{
		{addresses["inside"], addresses["inside"]},
		{outside, "kafka.example.com:19092"},
		{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("127.0.0.1", port)},
		{net.JoinHostPort("127.0.0.2", port), net.JoinHostPort("127.0.0.2", port)},
	} {
		out := ask(t, dialNode(t, c.dial), kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse)
		if len(out.Brokers) != 1 || fmt.Sprintf("%s:%d", out.Brokers[0].Host, out.Brokers[0].Port) != c.want {
			t.Errorf("through %s: %+v, wanted %s", c.dial, out.Brokers, c.want)
		}
	}
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// A client that goes away while its fetch waits leaves nothing behind (TestMain looks for goroutines).
func TestClientLeavesWhileItsFetchWaits(t *testing.T) {
	w := &walk{TB: t, conn: dialNode(t, node(t)), version: 9}
	w.topic("left")
	if err := write(w.conn, w.fetchVersion(11, "left", 10, func(in *kmsg.FetchRequest) { in.MaxWaitMillis = 1 << 30 })); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.Close(); err != nil {
		t.Fatal(err)
	}
}
