package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRestartInTurn stops and starts every node of a loaded cluster in order, as an
// upgrade does.
func TestRestartInTurn(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	c.createTopic(loadTopic, loadPartitions, nil)
	l := startLoad(c)
	l.await(t, 100)
	var gaps, stops []time.Duration
	for node := 1; node <= 3; node++ {
		l.takeGap()
		began := time.Now()
		c.stop(node)
		stops = append(stops, time.Since(began))
		l.await(t, 200)
		c.start(node)
		c.ready()
		gaps = append(gaps, l.takeGap())
	}
	l.stop(t, c)
	t.Logf("stopped in %v; longest time without an acknowledgement %v", rounded(stops), rounded(gaps))
}

// TestWipedNode deletes all that a node has and starts it again: it comes back as a new
// incarnation and fetches everything from its peers.
func TestWipedNode(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	c.createTopic(loadTopic, loadPartitions, nil)
	fillBytes(t, c, 40<<20)
	l := startLoad(c)
	l.await(t, 100)
	for _, node := range []int{3, 2} {
		c.kill(node)
		if err := os.RemoveAll(c.folder(node)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.start(node)
		c.ready()
		t.Logf("node %d was ready %v after it had lost everything", node, time.Since(began).Round(time.Millisecond))
	}
	// One of the two that hold everything from their peers is all that the third has now.
	c.kill(1)
	l.await(t, 100)
	l.stop(t, c)
}

// fillBytes writes records that are no numbers' to a topic of their own.
func fillBytes(t *testing.T, c *testCluster, bytes int) {
	t.Helper()
	c.createTopic("bulk", 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cl := c.client(kgo.DefaultProduceTopic("bulk"))
	value := make([]byte, 10<<10)
	for i := range value {
		value[i] = byte(i * 7)
	}
	for range bytes / len(value) {
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestGroupThroughCrashes lets a group of two read a load while leaders are killed:
// nothing is skipped, and what was committed never goes back.
func TestGroupThroughCrashes(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	c.createTopic(loadTopic, loadPartitions, nil)
	l := startLoad(c)
	g := &groupReaders{seen: map[int64]int{}, committed: map[int32]int64{}}
	ctx, cancel := context.WithCancel(t.Context())
	var members sync.WaitGroup
	for range 2 {
		cl := c.client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics(loadTopic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(10*time.Second),
			kgo.HeartbeatInterval(500*time.Millisecond))
		members.Go(func() {
			g.read(ctx, t, cl)
			cl.CloseAllowingRebalance()
		})
	}
	for range 4 {
		l.await(t, 300)
		leader := c.leader(c.client(), loadTopic, 0)
		c.kill(leader)
		l.await(t, 300)
		c.start(leader)
		c.ready()
	}
	l.cancel()
	<-l.done
	eventually(t, "a group that has read everything", func(context.Context) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		missing := 0
		for number := range l.acked {
			if g.seen[number] == 0 {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d records are missing", missing, len(l.acked))
		}
		return nil
	})
	cancel()
	members.Wait()
	again := 0
	for _, times := range g.seen {
		again += times - 1
	}
	t.Logf("%d records read, %d of them again after a crash", len(g.seen), again)
	g.checkCommitted(t, c)
}

// groupReaders is what the members of a group have read and committed.
type groupReaders struct {
	mu        sync.Mutex // guards what follows
	seen      map[int64]int
	committed map[int32]int64 // by partition: the highest offset whose commit was answered
}

// read polls and commits until ctx ends.
func (g *groupReaders) read(ctx context.Context, t *testing.T, cl *kgo.Client) {
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		records := fetches.Records()
		next := map[int32]int64{}
		g.mu.Lock()
		for _, r := range records {
			number, err := strconv.ParseInt(string(r.Value), 10, 64)
			if err != nil {
				t.Errorf("partition %d offset %d: %v", r.Partition, r.Offset, err)
			}
			g.seen[number]++
			next[r.Partition] = r.Offset + 1
		}
		g.mu.Unlock()
		if len(records) > 0 && cl.CommitRecords(ctx, records...) == nil {
			g.mu.Lock()
			for partition, offset := range next {
				g.committed[partition] = max(g.committed[partition], offset)
			}
			g.mu.Unlock()
		}
		cl.AllowRebalance()
	}
}

// checkCommitted compares what the cluster says with what it acknowledged.
func (g *groupReaders) checkCommitted(t *testing.T, c *testCluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	offsets, err := kadm.NewClient(c.client()).FetchOffsets(ctx, "readers")
	if err != nil {
		t.Fatal(err)
	}
	var partitions []int32
	for partition, least := range g.committed {
		partitions = append(partitions, partition)
		if offset, ok := offsets.Lookup(loadTopic, partition); !ok || offset.At < least {
			t.Errorf("partition %d is committed at %d, acknowledged was %d", partition, offset.At, least)
		}
	}
	slices.Sort(partitions)
	t.Logf("committed offsets hold in partitions %v", partitions)
}
