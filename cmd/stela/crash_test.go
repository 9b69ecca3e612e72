package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	loadTopic      = "load"
	loadPartitions = 6
	// loadPause is the time between two records of the load.
	loadPause = 2 * time.Millisecond
	// loadInFlight bounds the records that wait for their answer.
	loadInFlight = 2000
)

// A load writes numbered records without end and notes which were acknowledged.
type load struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows
	acked   map[int64]bool
	failed  []error
	sent    int64
	lastAck time.Time
	gap     time.Duration // the longest time between two acknowledgements since the last takeGap
	changed chan struct{} // closed and replaced when a record is acknowledged
}

// startLoad begins to write with an idempotent producer and acks=all.
func startLoad(c *testCluster) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, done: make(chan struct{}), acked: map[int64]bool{}, lastAck: time.Now(), changed: make(chan struct{})}
	cl := c.client(kgo.DefaultProduceTopic(loadTopic), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(loadInFlight), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	go l.write(ctx, cl)
	return l
}

// write runs until stop.
func (l *load) write(ctx context.Context, cl *kgo.Client) {
	defer close(l.done)
	ticker := time.NewTicker(loadPause)
	defer ticker.Stop()
	for number := int64(0); ctx.Err() == nil; number++ {
		<-ticker.C
		l.mu.Lock()
		l.sent++
		l.mu.Unlock()
		cl.Produce(context.Background(), kgo.StringRecord(strconv.FormatInt(number, 10)), func(_ *kgo.Record, err error) { l.answered(number, err) })
	}
	flushing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.Flush(flushing); err != nil {
		l.answered(-1, fmt.Errorf("flush: %w", err))
	}
}

func (l *load) answered(number int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.acked[number] = true
	now := time.Now()
	l.gap = max(l.gap, now.Sub(l.lastAck))
	l.lastAck = now
	close(l.changed)
	l.changed = make(chan struct{})
}

// await returns when more further records were acknowledged.
func (l *load) await(t *testing.T, more int) {
	t.Helper()
	deadline := time.After(patience)
	l.mu.Lock()
	wanted := len(l.acked) + more
	l.mu.Unlock()
	for {
		l.mu.Lock()
		count, changed := len(l.acked), l.changed
		l.mu.Unlock()
		if count >= wanted {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d of %d records acknowledged after %v", count-wanted+more, more, patience)
		}
	}
}

// takeGap returns the longest time without an acknowledgement since the last call.
func (l *load) takeGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := l.gap
	l.gap = 0
	return gap
}

// stop ends the load and checks what the cluster stored against what it acknowledged.
func (l *load) stop(t *testing.T, c *testCluster) {
	t.Helper()
	l.cancel()
	<-l.done
	for _, err := range l.failed {
		t.Errorf("a record failed: %v", err)
		break
	}
	seen := readNumbers(t, c)
	lost, twice := 0, 0
	for number := range l.acked {
		if seen[number] == 0 {
			lost++
		}
	}
	for _, times := range seen {
		if times > 1 {
			twice++
		}
	}
	t.Logf("%d records sent, %d acknowledged, %d read; %d lost, %d duplicated", l.sent, len(l.acked), len(seen), lost, twice)
	if lost > 0 || twice > 0 {
		t.Errorf("%d acknowledged records lost, %d records twice", lost, twice)
	}
}

// readNumbers reads the load's topic and counts each number.
func readNumbers(t *testing.T, c *testCluster) map[int64]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cl := c.client(kgo.ConsumeTopics(loadTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, loadTopic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatalf("list ends: %v", err)
	}
	left := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			left[end.Partition] = end.Offset
		}
	})
	seen := map[int64]int{}
	next := map[int32]int64{}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := firstError(fetches.Err0(), fetchError(fetches)); err != nil {
			t.Fatalf("read with %v left: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d follows %d", r.Partition, r.Offset, next[r.Partition]-1)
			}
			next[r.Partition] = r.Offset + 1
			number, err := strconv.ParseInt(string(r.Value), 10, 64)
			if err != nil {
				t.Errorf("partition %d offset %d: %v", r.Partition, r.Offset, err)
			}
			seen[number]++
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return seen
}

// TestKillLeader kills the leader of a loaded shard again and again.
func TestKillLeader(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	c.createTopic(loadTopic, loadPartitions, nil)
	l := startLoad(c)
	l.await(t, 100)
	asking := c.client()
	var gaps []time.Duration
	for range rounds(t) {
		leader := c.leader(asking, loadTopic, 0)
		l.takeGap()
		c.kill(leader)
		l.await(t, loadInFlight/4)
		gaps = append(gaps, l.takeGap())
		c.start(leader)
		c.ready()
	}
	l.stop(t, c)
	slices.Sort(gaps)
	t.Logf("%d leaders killed; time without an acknowledgement: median %v, longest %v, all %v",
		len(gaps), gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond), rounded(gaps))
}

func rounded(durations []time.Duration) []time.Duration {
	short := make([]time.Duration, len(durations))
	for i, d := range durations {
		short[i] = d.Round(10 * time.Millisecond)
	}
	return short
}

// TestKillAll kills all three nodes at once again and again.
func TestKillAll(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	c.createTopic(loadTopic, loadPartitions, nil)
	l := startLoad(c)
	l.await(t, 100)
	var outages []time.Duration
	for range rounds(t) {
		l.await(t, loadInFlight/8)
		var all sync.WaitGroup
		for node := 1; node <= 3; node++ {
			all.Go(func() { c.kill(node) })
		}
		all.Wait()
		began := time.Now()
		for _, i := range rand.Perm(3) {
			c.start(i + 1)
		}
		l.await(t, 1)
		outages = append(outages, time.Since(began))
	}
	c.ready()
	l.stop(t, c)
	slices.Sort(outages)
	t.Logf("%d times all nodes killed; from restart to the first acknowledgement: median %v, longest %v",
		len(outages), outages[len(outages)/2].Round(time.Millisecond), outages[len(outages)-1].Round(time.Millisecond))
}
