package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server"
)

// The gates: what a record, a partition and a connection may cost, as counts that neither the machine nor
// what else runs on it changes. A change that needs more than a limit here says why, and raises it.
const (
	// In batches of 62 records: one allocation for each batch would be 0.016, one for each record 1. What there is comes
	// with Raft's messages, of which the leader has two for each entry of 8 such batches.
	mostAllocationsMean   = 0.1 // of the three nodes
	mostAllocationsLeader = 0.2
	// Three copies in the log, and everything around the records: headers of batches and entries, padding, the index.
	mostBytesWritten = 3.1
	// Of one node. Each request is one entry, so that a sync for each of them is 1.97.
	mostSyncsPerMegabyte = 2.5
	// Of one node, when 256 requests with one record each are under way.
	mostSyncsPerSingleRecord = 0.5

	mostHeapPerIdlePartition = 256     // bytes, of one that was created and not used since the start
	mostHeapPerUsedPartition = 8 << 10 // bytes, of one that took a batch, whose frame stays in the pool
	mostHeapPerConnection    = 32 << 10
	mostGoroutines           = 2 // of a connection
	// For what happens meanwhile whatever the number of partitions: a segment begins, the index compacts.
	slack = 16
)

// A gate compares what was measured with its limit.
func gate(t *testing.T, what string, measured, limit float64) {
	t.Helper()
	t.Logf("%-46s %10.4g   (limit %g)", what, measured, limit)
	if measured > limit {
		t.Errorf("%s: %.4g, the limit is %g", what, measured, limit)
	}
}

// TestGatesOfRecords counts what three real nodes do for each record.
func TestGatesOfRecords(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	c.createTopic("gates", 8, nil)
	leader := c.leader(c.client(), "gates", 0)

	t.Run("bulk", func(t *testing.T) {
		l := &rawLoad{address: c.kafka(leader), topic: "gates", partitions: 8, records: 62, recordBytes: 1024, connections: 4, inFlight: 4}
		l.run(t, 60)
		cost := measureBulk(t, c, l)
		for round := 1; round < 5 && cost.mean > mostAllocationsMean; round++ {
			// Raft sends fewer entries at a time on a busy machine, and pools are emptied: noise adds, and takes nothing away.
			t.Logf("round %d: %.4g allocations per record, measured again", round, cost.mean)
			cost = measureBulk(t, c, l)
		}
		for node, syncs := range cost.syncs {
			gate(t, fmt.Sprintf("node %d: syncs per MB", node+1), syncs, mostSyncsPerMegabyte)
		}
		gate(t, "allocations per record, mean of the nodes", cost.mean, mostAllocationsMean)
		gate(t, "allocations per record, the leader", cost.most, mostAllocationsLeader)
		gate(t, "bytes written per byte produced, three nodes", cost.written, mostBytesWritten)
	})

	t.Run("single records", func(t *testing.T) {
		l := &rawLoad{address: c.kafka(leader), topic: "gates", partitions: 1, records: 1, recordBytes: 1024, connections: 16, inFlight: 16}
		l.run(t, 1000)
		before := c.scrape(t)
		l.run(t, 20_000)
		after := c.scrape(t)
		for node := range after {
			syncs := after[node].get(t, "stela_log_syncs_total") - before[node].get(t, "stela_log_syncs_total")
			gate(t, fmt.Sprintf("node %d: syncs per single record", node+1), syncs/20_000, mostSyncsPerSingleRecord)
		}
	})
}

// bulkCost is what a load of large batches cost.
type bulkCost struct {
	syncs      []float64 // per MB, by node
	mean, most float64   // allocations per record, of the nodes
	written    float64   // bytes per byte produced, all nodes together
}

// measureBulk sends 300 requests. What a node allocates by itself, for its heartbeats and for being scraped, is not
// the records': it is measured before, for a second.
func measureBulk(t *testing.T, c *testCluster, l *rawLoad) bulkCost {
	t.Helper()
	const requests, mallocs = 300, "go_memstats_mallocs_total"
	quiet, idle := c.scrape(t), time.Now()
	<-time.After(time.Second)
	before, began := c.scrape(t), time.Now()
	l.run(t, requests)
	after := c.scrape(t)
	background := max(1, float64(time.Since(began))/float64(began.Sub(idle)))
	records, bytes := float64(requests*l.partitions*l.records), float64(requests*l.partitions*l.records*l.recordBytes)
	var cost bulkCost
	for node := range after {
		spent := func(series string) float64 { return after[node].get(t, series) - before[node].get(t, series) }
		allocations := spent(mallocs) - background*(before[node].get(t, mallocs)-quiet[node].get(t, mallocs))
		cost.mean += allocations / records / float64(len(after))
		cost.most = max(cost.most, allocations/records)
		cost.syncs = append(cost.syncs, spent("stela_log_syncs_total")/(bytes/1e6))
		cost.written += (spent("stela_log_written_bytes_total") + spent("stela_index_written_bytes_total")) / bytes
	}
	return cost
}

// TestGatesOfPartitions counts what 5,000 partitions and 100 connections cost a node.
func TestGatesOfPartitions(t *testing.T) {
	const partitions, connections = 5000, 100
	s, err := server.New(server.Config{Data: t.TempDir(), Kafka: []server.Listener{{Bind: "127.0.0.1:0"}}, HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a node that is ready", func(context.Context) error { return s.Ready() })
	address := s.Addresses().Kafka["PLAINTEXT"]
	conn := dialRaw(t, address)
	createRaw(t, conn, "first", 1)
	(&rawLoad{address: address, topic: "first", partitions: 1, records: 1, recordBytes: 10, connections: 1, inFlight: 1}).run(t, 10)

	empty := spentNow(t)
	createRaw(t, conn, "many", partitions)
	idle := spentNow(t)
	(&rawLoad{address: address, topic: "many", partitions: partitions, records: 1, recordBytes: 10, connections: 1, inFlight: 1}).run(t, 1)
	used := spentNow(t)
	for name, now := range map[string]spent{"created": idle, "used": used} {
		gate(t, name+" partitions: goroutines for all of them", float64(now.goroutines-empty.goroutines), slack)
		gate(t, name+" partitions: open files for all of them", float64(now.files-empty.files), slack)
	}
	gate(t, "bytes of heap per idle partition", float64(idle.heap-empty.heap)/partitions, mostHeapPerIdlePartition)
	gate(t, "bytes of heap per used partition", float64(used.heap-empty.heap)/partitions, mostHeapPerUsedPartition)

	before := spentNow(t)
	l := &rawLoad{address: address, topic: "first", partitions: 1, records: 1, recordBytes: 10, connections: connections, inFlight: 1}
	l.open(t)
	l.run(t, 2*connections)
	after := spentNow(t)
	gate(t, "goroutines per connection", float64(after.goroutines-before.goroutines)/connections, mostGoroutines+float64(slack)/connections)
	gate(t, "bytes of heap per connection, both ends", float64(after.heap-before.heap)/connections, mostHeapPerConnection)
}

// spent is what this process holds.
type spent struct {
	heap       int64
	goroutines int
	files      int // 0 where /proc is not
}

// spentNow collects the garbage and counts.
func spentNow(t *testing.T) spent {
	t.Helper()
	runtime.GC()
	runtime.GC() // what pools keep goes the second time
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	open, _ := os.ReadDir("/proc/self/fd")
	return spent{heap: int64(memory.HeapAlloc), goroutines: runtime.NumGoroutine(), files: len(open)}
}

// scraped are the sums of a node's series by name.
type scraped map[string]float64

// get returns a series that must be there.
func (s scraped) get(t *testing.T, name string) float64 {
	t.Helper()
	value, ok := s[name]
	if !ok {
		t.Fatalf("/metrics has no %s", name)
	}
	return value
}

// scrape reads /metrics of all nodes.
func (c *testCluster) scrape(t *testing.T) []scraped {
	t.Helper()
	all := make([]scraped, c.Nodes)
	for i := range all {
		answer, err := http.Get("http://" + c.http(i+1) + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		all[i] = scraped{}
		for line := range strings.Lines(string(text)) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			name, _, _ = strings.Cut(name, "{")
			number, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64)
			if err == nil {
				all[i][name] += number
			}
		}
	}
	return all
}

// createRaw creates a topic over a connection that keeps nothing of it.
func createRaw(t *testing.T, conn *rawConn, name string, partitions int32) {
	t.Helper()
	in := kmsg.NewPtrCreateTopicsRequest()
	in.SetVersion(4)
	in.TimeoutMillis = int32(patience / time.Millisecond)
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, -1
	in.Topics = append(in.Topics, topic)
	out := conn.ask(t, in).(*kmsg.CreateTopicsResponse)
	if code := out.Topics[0].ErrorCode; code != 0 {
		t.Fatalf("create topic %s: code %d", name, code)
	}
}
