package broker

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

func bounds(t testing.TB, p *Partition) (start, next record.Offset) {
	t.Helper()
	start, err := p.LogStart()
	if err != nil {
		t.Fatal(err)
	}
	if next, err = p.HighWatermark(); err != nil {
		t.Fatal(err)
	}
	return start, next
}

func TestRetentionByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(c *testConfig) { c.settings.RetentionInterval = 5 * time.Second })
		c.create("t", 1, "retention.ms", "60000")
		c.create("keep", 1, "retention.ms", "-1")
		n := c.leader("t", 0)
		p, keep := n.partition("t", 0), n.partition("keep", 0)
		for range 10 {
			n.mustProduce(p, testBatch{values: []string{"x"}})
			n.mustProduce(keep, testBatch{values: []string{"x"}})
			time.Sleep(12 * time.Second)
		}
		time.Sleep(8 * time.Second) // the ten are 20 to 128 seconds old now
		if start, next := bounds(t, p); start != 6 || next != 10 {
			t.Errorf("%d to %d is there, want 6 to 10", start, next)
		}
		for _, node := range c.nodes { // on every replica
			start, _ := bounds(t, p)
			if at, _ := bounds(t, node.partition("t", 0)); at != start {
				t.Errorf("node %d begins at %d, the leader at %d", node.id, at, start)
			}
		}
		time.Sleep(2 * time.Minute)
		if start, next := bounds(t, p); start != 10 || next != 10 {
			t.Errorf("in the end %d to %d is there", start, next)
		}
		if start, next := bounds(t, keep); start != 0 || next != 10 {
			t.Errorf("of the topic that keeps all, %d to %d is there", start, next)
		}
		c.restart(n)
		n = c.leader("t", 0)
		p = n.partition("t", 0)
		if start, next := bounds(t, p); start != 10 || next != 10 {
			t.Errorf("after a restart %d to %d is there", start, next)
		}
		if at := n.mustProduce(p, testBatch{values: []string{"y"}}); at != 10 {
			t.Errorf("the next record is at %d", at)
		}
	})
}

func TestRetentionBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, func(c *testConfig) { c.settings.RetentionInterval = 5 * time.Second })
		c.create("t", 1, "retention.bytes", "5000")
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		value := strings.Repeat("x", 1000) // a batch of 1,077 bytes
		for range 3 {
			for range 10 {
				n.mustProduce(p, testBatch{values: []string{value}})
			}
			time.Sleep(12 * time.Second)
			if start, next := bounds(t, p); next-start != 5 {
				t.Errorf("%d to %d is there, want 5 batches", start, next)
			}
		}
	})
}

func TestDeleteRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		for range 4 {
			n.mustProduce(p, testBatch{values: []string{"a", "b", "c"}})
		}
		del := func(before, want record.Offset) {
			t.Helper()
			if got, err := n.DeleteRecords(context.Background(), p, before); err != nil || got != want {
				t.Errorf("delete before %d: %d, %v; want %d", before, got, err, want)
			}
		}
		del(4, 4)
		del(2, 4)
		if got := n.read(p, 4); len(got) != 8 || got[0] != "4=b" {
			t.Errorf("read %v", got)
		}
		result := n.Fetch(context.Background(), &FetchRequest{MaxBytes: 1, Partitions: one(p, 3)})
		wantError(t, "fetch before the begin", result.Partitions[0].Err, ErrOffsetOutOfRange)
		if got := result.Partitions[0].LogStartOffset; got != 4 {
			t.Errorf("log start %d", got)
		}
		result.Release()
		_, err := n.DeleteRecords(context.Background(), p, 13)
		wantError(t, "delete beyond the end", err, ErrOffsetOutOfRange)
		del(-1, 12)
		if r := n.produce(p, testBatch{values: []string{"d"}}); r.Err != nil || r.BaseOffset != 12 || r.LogStartOffset != 12 {
			t.Errorf("produce: %+v", r)
		}
		n.mustProduce(n.partition("es", 0), testBatch{values: []string{"a"}})
		_, err = n.DeleteRecords(context.Background(), n.partition("es", 0), 1)
		wantError(t, "delete from an event store", err, ErrPolicyViolation)
	})
}

func small(c *testConfig) {
	c.segment, c.tail = 128<<10, 64<<10
	c.settings.RetentionInterval = 5 * time.Second
	c.replication = func(r *replication.Config) { r.SnapshotEntries, r.TrailingEntries = 64, 16 }
}

// fill writes about bytes into a partition.
func (n *testNode) fill(p *Partition, bytes int) {
	n.cluster.t.Helper()
	value := strings.Repeat("x", 4000)
	for ; bytes > 0; bytes -= len(value) {
		n.mustProduce(p, testBatch{values: []string{value}})
	}
}

// TestDeadSegmentsGo: segments whose records were deleted are removed on every node, those that hold anything live are not.
func TestDeadSegmentsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, small)
		c.create("t", 1)
		c.create("keep", 1)
		n := c.leader("t", 0)
		n.mustProduce(n.partition("keep", 0), testBatch{values: []string{"kept"}})
		n.fill(n.partition("t", 0), 1<<20)
		if got := len(n.log.Segments()); got < 8 {
			t.Fatalf("%d segments", got)
		}
		c.restart(c.nodes[n.id%3+1]) // sums of one segment are interrupted
		n = c.leader("t", 0)
		n.fill(n.partition("t", 0), 1<<20)
		p := n.partition("t", 0)
		_, next := bounds(t, p)
		if _, err := n.DeleteRecords(context.Background(), p, next-1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second) // nothing more is written: snapshots come because room is wanted
		synctest.Wait()
		for _, node := range c.nodes {
			segments := node.log.Segments()
			if len(segments) > 10 {
				t.Errorf("node %d has %d segments", node.id, len(segments))
			}
			if segments[0].Number != 1 {
				t.Errorf("node %d removed the segment that holds a live record", node.id)
			}
		}
		if got := n.read(n.partition("keep", 0), 0); !slices.Equal(got, []string{"0=kept"}) {
			t.Errorf("read %v", got)
		}
		c.rebuild() // the rest is whole without what was removed
		n = c.leader("t", 0)
		if got := n.read(n.partition("keep", 0), 0); !slices.Equal(got, []string{"0=kept"}) {
			t.Errorf("after a rebuild read %v", got)
		}
		if start, _ := bounds(t, n.partition("t", 0)); start != next-1 {
			t.Errorf("after a rebuild the begin is %d, want %d", start, next-1)
		}
	})
}

// TestQuietShardsLetGo: a shard in which little happens, and the metadata's, do not keep the segments of a busy one, though
// they have fewer entries than Raft keeps at hand.
func TestQuietShardsLetGo(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestCluster(t, nodes, func(c *testConfig) {
				small(c)
				c.shards = 2
				c.replication = nil // 8192 entries stay at hand
			})
			c.create("t", 2)
			n := c.leader("t", 0)
			quiet := c.leader("t", 1)
			quiet.mustProduce(quiet.partition("t", 1), testBatch{values: []string{"x"}})
			if _, err := quiet.DeleteRecords(context.Background(), quiet.partition("t", 1), 1); err != nil {
				t.Fatal(err)
			}
			n.fill(n.partition("t", 0), 2<<20)
			if got := len(n.log.Segments()); got < 16 {
				t.Fatalf("%d segments", got)
			}
			p := n.partition("t", 0)
			_, next := bounds(t, p)
			if _, err := n.DeleteRecords(context.Background(), p, next-1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			for _, node := range c.nodes {
				if got := len(node.log.Segments()); got > nearSegments+2 {
					t.Errorf("node %d of %d has %d segments", node.id, nodes, got)
				}
			}
			for range 2 { // and all goes on, also without what was let go of
				for number := range int32(2) {
					n := c.leader("t", number)
					n.mustProduce(n.partition("t", number), testBatch{values: []string{"y"}})
				}
				for _, node := range c.nodes {
					c.restart(node)
				}
			}
			c.create("u", 1)
		})
	}
}

// TestOldWindowsAreLetGo: a start reads the segments that hold a shard's window, so they are not too many, removed or not.
func TestOldWindowsAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, func(c *testConfig) {
			small(c)
			c.replication = nil
		})
		c.create("t", 1)
		n := c.leader("t", 0)
		n.fill(n.partition("t", 0), (windowSegments+8)*128<<10)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for id := range record.Shard(2) {
			if last := n.log.Shard(id).LastUpTo(n.log.Active() - windowSegments); last != 0 {
				t.Errorf("shard %d holds on to entry %d", id, last)
			}
		}
		if got := len(n.log.Segments()); got < windowSegments {
			t.Errorf("%d segments are left", got)
		}
	})
}

func TestDeletedTopicGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, small)
		c.create("t", 3)
		n := c.leader("t", 0)
		old := n.partition("t", 1)
		for i := range int32(3) {
			n.fill(n.partition("t", i), 256<<10)
			n.mustProduce(n.partition("t", i), testBatch{values: []string{"x"}, producer: 1, sequence: 0})
		}
		waiting := make(chan *FetchResult, 1)
		_, next := bounds(t, old)
		go func() {
			waiting <- n.Fetch(context.Background(), &FetchRequest{MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1, Partitions: one(old, next)})
		}()
		synctest.Wait()
		result, err := c.any().DeleteTopics(context.Background(), &meta.DeleteTopics{Topics: []meta.TopicRef{{Name: "t"}}})
		if err != nil || result.Topics[0].Err != nil {
			t.Fatal(err, result)
		}
		fetched := <-waiting
		wantError(t, "fetch that waited", fetched.Partitions[0].Err, ErrUnknownTopicOrPartition)
		fetched.Release()
		wantError(t, "produce through an old handle", n.produce(old, testBatch{values: []string{"x"}}).Err, ErrUnknownTopicOrPartition)
		c.create("t", 1)
		n = c.leader("t", 0)
		p := n.partition("t", 0)
		if at := n.mustProduce(p, testBatch{values: []string{"x"}, producer: 1, sequence: 0}); at != 0 {
			t.Errorf("the new topic begins at %d", at)
		}
		n.fill(p, 512<<10)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for _, node := range c.nodes {
			if got := len(node.log.Segments()); got > 8 {
				t.Errorf("node %d has %d segments", node.id, got)
			}
			if _, ok, err := node.index.LastRun(old.ID()); ok || err != nil {
				t.Errorf("node %d still knows runs of the deleted topic, %v", node.id, err)
			}
		}
	})
}

func TestSilentProducersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(c *testConfig) {
			c.settings.ProducerExpiry, c.settings.RetentionInterval = time.Minute, 10*time.Second
		})
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.mustProduce(p, testBatch{values: []string{"x"}, producer: 1, sequence: 0})
		n.mustProduce(p, testBatch{values: []string{"x"}, producer: 2, sequence: 0})
		for range 8 {
			time.Sleep(15 * time.Second)
			n.mustProduce(p, testBatch{values: []string{"x"}, producer: 2, sequence: n.sequence(p, 2)})
		}
		time.Sleep(time.Second)
		for _, node := range c.nodes {
			for id, known := range map[int64]bool{1: false, 2: true} {
				state, err := node.partition("t", 0).state.shard.loadProducer(producerKey{p.ID(), id})
				if err != nil || (state.count > 0) != known {
					t.Errorf("node %d, producer %d: %+v, %v", node.id, id, state, err)
				}
			}
		}
	})
}

// sequence returns a producer's next sequence number.
func (n *testNode) sequence(p *Partition, id int64) int32 {
	state, err := p.state.shard.loadProducer(producerKey{p.ID(), id})
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	return state.batches[0].last + 1
}
