package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// idleFor is how long an idle cluster is watched.
const idleFor = 4 * time.Second

// TestStart prints how long a new cluster takes to acknowledge its first record,
// and what it costs when idle. Nothing of that is a pass or a failure.
func TestStart(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			c := newTestCluster(t, nodes)
			began := time.Now()
			for node := 1; node <= nodes; node++ {
				c.start(node)
			}
			firstAck(t, c)
			t.Logf("%d nodes: first acknowledgement %v after the start", nodes, time.Since(began).Round(time.Millisecond))
			c.ready()
			cpu := make([]time.Duration, nodes)
			for i := range cpu {
				cpu[i] = cpuTime(c.nodes[i].ID())
			}
			<-time.After(idleFor)
			for i := range cpu {
				used := cpuTime(c.nodes[i].ID()) - cpu[i]
				t.Logf("node %d idle: %d MB resident, %.1f %% of a core", i+1, residentMB(c.nodes[i].ID()), 100*used.Seconds()/idleFor.Seconds())
			}
			again := time.Now()
			for node := 1; node <= nodes; node++ {
				c.stop(node)
			}
			t.Logf("stopped in %v", time.Since(again).Round(time.Millisecond))
			again = time.Now()
			for node := 1; node <= nodes; node++ {
				c.start(node)
			}
			firstAck(t, c)
			t.Logf("%d nodes: first acknowledgement %v after a restart", nodes, time.Since(again).Round(time.Millisecond))
		})
	}
}

// firstAck produces until something is acknowledged, as an impatient client does.
func firstAck(t *testing.T, c *testCluster) {
	t.Helper()
	eventually(t, "first acknowledgement", func(ctx context.Context) error {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers()...), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("first"),
			kgo.MetadataMinAge(20*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
		if err != nil {
			return err
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return cl.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr()
	})
}

// residentMB reads a process's resident memory where /proc is.
func residentMB(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(after)[0])
			return kb / 1024
		}
	}
	return -1
}

// cpuTime reads how much CPU a process has used where /proc is.
func cpuTime(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if !ok || len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
