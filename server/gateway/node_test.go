package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/server"
	"github.com/stela-db/stela/server/gateway"
)

// A node is a whole real node on a disk and a network in memory.
type node struct {
	t     *testing.T
	web   *http.Client
	kafka *kgo.Client
	admin *kadm.Client
}

// withNode runs a test against one node in virtual time.
func withNode(t *testing.T, test func(*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		s, err := server.New(server.Config{
			Storage: vfs.NewMem(), Network: pipes.Host("n1"), SegmentBytes: 16 << 20, TailBytes: 1 << 20,
			Kafka: []server.Listener{{Bind: "n1:9092"}}, HTTP: "n1:9644", Version: "test",
			Fatal: func(err error) { t.Errorf("fatal: %v", err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		dial := func(ctx context.Context, _, address string) (net.Conn, error) {
			return pipes.Host("client").Dial(ctx, address)
		}
		transport := &http.Transport{DialContext: dial}
		n := &node{t: t, web: &http.Client{Transport: transport}}
		n.kafka, err = kgo.NewClient(kgo.SeedBrokers("n1:9092"), kgo.Dialer(dial), kgo.ConsumeTopics(), kgo.MetadataMinAge(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		n.admin = kadm.NewClient(n.kafka)
		n.waitReady()
		test(n)
		n.kafka.Close()
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("end: %v", err)
		}
	})
}

func (n *node) waitReady() {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		status, _, body := n.ask("GET", "/health/ready", "")
		if status == 200 {
			return
		}
		if time.Since(began) > 10*time.Second {
			n.t.Fatalf("not ready: %s", body)
		}
	}
}

func (n *node) ask(method, target, body string, header ...string) (int, http.Header, string) {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), method, "http://n1:9644"+target, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := n.web.Do(request)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func (n *node) createTopic(name string, partitions int32, configs map[string]*string) {
	n.t.Helper()
	if _, err := n.admin.CreateTopic(n.t.Context(), partitions, -1, configs, name); err != nil {
		n.t.Fatal(err)
	}
}

func event(id string, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"type":"order.placed","source":"/test","data":%s}`, id, data)
}

const batch = "application/cloudevents-batch+json"

// The door on a real node: conditions, duplicates, conflicts, reads, and the same events over Kafka.
func TestStreamsOnANode(t *testing.T) {
	withNode(t, func(n *node) {
		yes := "true"
		n.createTopic("orders", 3, map[string]*string{"eventstore.enable": &yes})
		n.createTopic("plain", 1, nil)
		const stream = "/v1/topics/orders/streams/9827"
		type answer struct {
			FirstVersion, LastVersion, FirstOffset int64
			Partition                              int32
		}
		post := func(target, expected, body string) (int, answer, string) {
			t.Helper()
			status, _, text := n.ask("POST", target, body, "Content-Type", batch, "Expected-Version", expected)
			var a answer
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			return status, a, text
		}
		if status, _, text := n.ask("GET", stream, ""); status != 404 {
			t.Errorf("empty stream: %d %s", status, text)
		}
		status, first, text := post(stream, "none", "["+event("e0", `{"total":12900}`)+","+event("e1", "1")+"]")
		if status != 201 || first.FirstVersion != 0 || first.LastVersion != 1 {
			t.Fatalf("%d %s", status, text)
		}
		if status, again, text := post(stream, "none", "["+event("e0", `{"total":12900}`)+","+event("e1", "1")+"]"); status != 200 || again != first {
			t.Errorf("again: %d %s", status, text)
		}
		if status, _, text := post(stream, "none", "["+event("x", "0")+"]"); status != 409 || !strings.Contains(text, `"actual":1`) || !strings.Contains(text, `"id":"e0"`) {
			t.Errorf("conflict: %d %s", status, text)
		}
		if status, a, text := post(stream, "1", "["+event("e2", `"`+strings.Repeat("x", 1000)+`"`)+"]"); status != 201 || a.FirstVersion != 2 {
			t.Errorf("next: %d %s", status, text)
		}
		if status, _, text := post(stream, "7", "["+event("e9", "0")+"]"); status != 409 {
			t.Errorf("from the future: %d %s", status, text)
		}
		if status, _, text := post(stream, "exists", "["+event("e3", "3")+"]"); status != 201 {
			t.Errorf("exists: %d %s", status, text)
		}
		if status, _, text := post("/v1/topics/plain/streams/x", "any", "["+event("e3", "3")+"]"); status != 409 || !strings.Contains(text, "not-event-store") {
			t.Errorf("plain topic: %d %s", status, text)
		}
		if status, _, text := post("/v1/topics/nothing/streams/x", "any", "["+event("e3", "3")+"]"); status != 404 || !strings.Contains(text, "unknown-topic") {
			t.Errorf("no topic: %d %s", status, text)
		}
		n.checkSequences(stream, []string{"0", "1", "2", "3"})
		n.checkSequences(stream+"?direction=backward&limit=2", []string{"3", "2"})
		n.checkSequences(stream+"?minVersion=3&from=3", []string{"3"})
		waited := make(chan string, 1)
		go func() {
			_, _, text := n.ask("GET", stream+"?minVersion=4&from=4", "")
			waited <- text
		}()
		synctest.Wait()
		post(stream, "3", "["+event("e4", "4")+"]")
		if text := <-waited; !strings.Contains(text, `"sequence":"4"`) {
			t.Errorf("the wait ended with %s", text)
		}
		n.checkKafkaReads("orders", 5)
		began := time.Now()
		status, header, text := n.ask("GET", stream+"?minVersion=9", "")
		if status != 503 || !strings.Contains(text, "version-not-reached") || header.Get("Retry-After") == "" || time.Since(began) < 10*time.Second {
			t.Errorf("a version that does not come: %d after %s: %s", status, time.Since(began), text)
		}
	})
}

func (n *node) checkSequences(target string, want []string) {
	n.t.Helper()
	status, header, text := n.ask("GET", target, "")
	var events []struct{ Sequence, ID string }
	if err := json.Unmarshal([]byte(text), &events); err != nil || status != 200 {
		n.t.Fatalf("%s: %d %v %s", target, status, err, text)
	}
	var got []string
	for _, e := range events {
		if got = append(got, e.Sequence); e.ID != "e"+e.Sequence {
			n.t.Errorf("%s: event %s has version %s", target, e.ID, e.Sequence)
		}
	}
	if !slices.Equal(got, want) || header.Get("Stream-Version") != "3" {
		n.t.Errorf("%s: %v at version %s, wanted %v", target, got, header.Get("Stream-Version"), want)
	}
}

// checkKafkaReads reads the topic as any Kafka client does.
func (n *node) checkKafkaReads(topic string, count int) {
	n.t.Helper()
	n.kafka.AddConsumeTopics(topic)
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	var ids []string
	for len(ids) < count {
		fetches := n.kafka.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			n.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Key) != "9827" {
				n.t.Errorf("key %q", r.Key)
			}
			for _, header := range r.Headers {
				if header.Key == "ce_id" {
					ids = append(ids, string(header.Value))
				}
			}
		})
	}
	if want := []string{"e0", "e1", "e2", "e3", "e4"}; !slices.Equal(ids, want) {
		n.t.Errorf("read %v", ids)
	}
}

// Metrics of a whole node under promtool's own rules, with what dashboards look for.
func TestMetricsOfANode(t *testing.T) {
	withNode(t, func(n *node) {
		n.createTopic("orders", 2, nil)
		ctx := n.t.Context()
		for i := range 10 {
			if err := n.kafka.ProduceSync(ctx, &kgo.Record{Topic: "orders", Key: fmt.Append(nil, i), Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		var committed kadm.Offsets
		committed.AddOffset("orders", 0, 1, -1)
		committed.AddOffset("orders", 1, 0, -1)
		if err := n.admin.CommitAllOffsets(ctx, "billing", committed); err != nil {
			t.Fatal(err)
		}
		status, header, text := n.ask("GET", "/metrics", "")
		if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Fatalf("%d %s", status, header.Get("Content-Type"))
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
		for _, series := range []string{
			`stela_application_ready 1`,
			`stela_cluster_topics 1`,
			`stela_cluster_partitions 2`,
			`stela_cluster_unavailable_partitions 0`,
			`stela_kafka_records_produced_total{topic="orders"} 10`,
			`stela_kafka_under_replicated_replicas{partition="0",topic="orders"} 0`,
			`stela_raft_leader{shard="0"} 1`,
			`stela_raft_leadership_changes_total{shard="1"} 1`,
			`stela_kafka_consumer_group_lag{group="billing",topic="orders"} 9`,
			`stela_kafka_consumer_group_series_left_out{of="partition"} 0`,
			`kafka_brokers 1`,
			`kafka_topic_partitions{topic="orders"} 2`,
			`kafka_topic_partition_replicas{partition="1",topic="orders"} 1`,
			`kafka_topic_partition_in_sync_replica{partition="1",topic="orders"} 1`,
			`kafka_consumergroup_current_offset{consumergroup="billing",partition="0",topic="orders"} 1`,
			`kafka_consumergroup_members{consumergroup="billing"} 0`,
		} {
			if !strings.Contains(text, "\n"+series+"\n") {
				t.Errorf("no %s", series)
			}
		}
		for _, name := range []string{
			"stela_kafka_request_latency_seconds_bucket", "stela_kafka_request_bytes_total", "stela_kafka_max_offset",
			"stela_kafka_records_fetched_total", "stela_log_syncs_total", "stela_index_disk_bytes", "stela_application_build",
			"kafka_topic_partition_current_offset", "kafka_topic_partition_oldest_offset", "kafka_topic_partition_leader",
			"kafka_topic_partition_under_replicated_partition", "kafka_consumergroup_lag", "kafka_broker_info", "process_resident_memory_bytes",
		} {
			if !strings.Contains(text, "\n"+name+"{") && !strings.Contains(text, "\n"+name+" ") {
				t.Errorf("no %s", name)
			}
		}
	})
}

// What an operator asks for, against the contract.
func TestAdminOfANode(t *testing.T) {
	withNode(t, func(n *node) {
		yes := "true"
		n.createTopic("orders", 2, map[string]*string{"eventstore.enable": &yes})
		n.createTopic("plain", 1, nil)
		for _, target := range []string{"/v1/topics", "/v1/topics?name=orders", "/v1/cluster"} {
			status, _, text := n.ask("GET", target, "")
			if status != 200 {
				t.Errorf("%s: %d %s", target, status, text)
			}
			path, _, _ := strings.Cut(target, "?")
			gateway.CheckBody(t, path, text)
		}
		if _, _, text := n.ask("GET", "/v1/topics?name=orders", ""); !strings.Contains(text, `"eventStore":true`) || strings.Contains(text, "plain") {
			t.Errorf("%s", text)
		}
		if status, _, text := n.ask("GET", "/v1/topics?name=none", ""); status != 404 {
			t.Errorf("%d %s", status, text)
		}
		if _, _, text := n.ask("GET", "/v1/cluster", ""); !strings.Contains(text, `"controller":1`) || !strings.Contains(text, `"version":"test"`) {
			t.Errorf("%s", text)
		}
	})
}
