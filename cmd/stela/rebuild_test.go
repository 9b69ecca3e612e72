package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestDeleteIndex deletes Pebble's folder on each node in turn and compares what
// the cluster says before and after: everything comes back from the log.
func TestDeleteIndex(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			c := newTestCluster(t, nodes)
			c.startAll()
			fillCluster(t, c)
			before := digestOf(t, c)
			for node := 1; node <= nodes; node++ {
				c.stop(node)
				folder := filepath.Join(c.folder(node), "index")
				entries, err := os.ReadDir(folder)
				if err != nil || len(entries) == 0 {
					t.Fatalf("nothing to delete in %s: %v", folder, err)
				}
				if err := os.RemoveAll(folder); err != nil {
					t.Fatal(err)
				}
				c.start(node)
				c.ready()
			}
			after := digestOf(t, c)
			t.Logf("digest before %s, after %s", before, after)
			if before != after {
				t.Error("the digests differ")
			}
		})
	}
}

// fillCluster writes something of every kind that an index holds.
func fillCluster(t *testing.T, c *testCluster) {
	t.Helper()
	enabled, retention := "true", "86400000"
	c.createTopic("orders", 4, map[string]*string{"retention.ms": &retention})
	c.createTopic("ledger", 2, map[string]*string{"eventstore.enable": &enabled})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cl := c.client(kgo.DefaultProduceTopic("orders"))
	for i := range 2000 {
		record := kgo.KeyStringRecord(fmt.Sprintf("k%d", i%37), fmt.Sprintf("value %d", i))
		record.Headers = []kgo.RecordHeader{{Key: "number", Value: fmt.Append(nil, i)}}
		cl.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
		if i%500 == 0 {
			if err := cl.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	mustStela(t, "", "consume", "orders", "-b", c.kafka(1), "--group", "audit", "-n", "1000")
	for version := range 5 {
		expect := "none"
		if version > 0 {
			expect = fmt.Sprint(version - 1)
		}
		mustStela(t, "", "stream", "append", "ledger", "acct-1", "--http", c.http(1), "--expect", expect, "-d", fmt.Sprintf(`{"n":%d}`, version))
	}
}

// digestOf hashes all that a client can see of the test's topics, groups and streams.
func digestOf(t *testing.T, c *testCluster) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	topics := []string{"ledger", "orders"}
	adm := kadm.NewClient(c.client())
	hash := sha256.New()
	details, err := describeTopics(ctx, adm, topics)
	if err != nil {
		t.Fatal(err)
	}
	for _, detail := range details {
		fmt.Fprintln(hash, detail.Topic, detail.ID, len(detail.Partitions))
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		config, err := configs.On(topic, nil)
		if err != nil || config.Err != nil {
			t.Fatal(err, config.Err)
		}
		for _, setting := range config.Configs {
			fmt.Fprintln(hash, topic, setting.Key, setting.MaybeValue(), setting.Source)
		}
	}
	for _, topic := range topics {
		out := mustStela(t, "", "consume", topic, "-b", c.kafka(1), "--from-beginning", "--exit", "-f", `%p %o %d %k %v %h\n`)
		lines := slices.Sorted(slices.Values(strings.Split(out, "\n")))
		fmt.Fprintln(hash, topic, len(lines), lines)
		byTime, err := listed(adm.ListOffsetsAfterMilli(ctx, 0, topic))
		if err != nil {
			t.Fatal(err)
		}
		for _, offset := range byTime.Offsets().Sorted() {
			fmt.Fprintln(hash, topic, offset.Partition, offset.At)
		}
	}
	committed, err := adm.FetchOffsets(ctx, "audit")
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, offset := range committed.Offsets().Sorted() {
		sum += offset.At
		fmt.Fprintln(hash, offset.Topic, offset.Partition, offset.At, offset.Metadata)
	}
	if sum != 1000 {
		t.Errorf("the group's offsets add up to %d, wanted 1000", sum)
	}
	fmt.Fprintln(hash, mustStela(t, "", "stream", "read", "ledger", "acct-1", "--http", c.http(1), "-o", "json"))
	return fmt.Sprintf("%x", hash.Sum(nil)[:8])
}
