package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
)

func one(p *Partition, offset record.Offset) []FetchPartition {
	return []FetchPartition{{Partition: p, Offset: offset, MaxBytes: 1 << 20, LeaderEpoch: -1}}
}

func TestFetchWaitsForRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		start := time.Now()
		result := n.Fetch(context.Background(), &FetchRequest{MaxWait: 3 * time.Second, MinBytes: 1, MaxBytes: 1 << 20, Partitions: one(p, 0)})
		if waited := time.Since(start); waited != 3*time.Second || result.Partitions[0].Err != nil || result.Partitions[0].Bytes() != 0 {
			t.Errorf("nothing came after %v: %+v", waited, result.Partitions[0])
		}
		result.Release()
		answered := make(chan *FetchResult, 1)
		go func() {
			answered <- n.Fetch(context.Background(), &FetchRequest{MaxWait: time.Hour, MinBytes: 200, MaxBytes: 1 << 20, Partitions: one(p, 0)})
		}()
		synctest.Wait()
		n.mustProduce(p, testBatch{values: []string{strings.Repeat("x", 30)}})
		synctest.Wait()
		if len(answered) > 0 {
			t.Error("answered with fewer bytes than wanted")
		}
		start = time.Now()
		n.mustProduce(p, testBatch{values: []string{strings.Repeat("x", 100)}})
		result = <-answered
		if got := &result.Partitions[0]; got.Err != nil || got.HighWatermark != 2 || got.Bytes() < 200 {
			t.Errorf("got %+v", got)
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("woken after %v", waited)
		}
		result.Release()
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			answered <- n.Fetch(ctx, &FetchRequest{MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1 << 20, Partitions: one(p, 2)})
		}()
		synctest.Wait()
		cancel()
		(<-answered).Release()
		if w := &p.state.waiters; w.root.next != &w.root || len(p.state.shard.fetchers) != 0 {
			t.Error("a waiter was left behind")
		}
	})
}

func TestFetchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 2)
		n := c.leader("t", 0)
		p, q := n.partition("t", 0), n.partition("t", 1)
		large := strings.Repeat("x", 1000)
		for range 10 {
			n.mustProduce(p, testBatch{values: []string{large}})
			n.mustProduce(q, testBatch{values: []string{large}})
		}
		fetch := func(maxBytes, each int) [2]int {
			t.Helper()
			result := n.Fetch(context.Background(), &FetchRequest{MaxWait: time.Hour, MinBytes: 1 << 20, MaxBytes: maxBytes, Partitions: []FetchPartition{
				{Partition: p, MaxBytes: each, LeaderEpoch: -1}, {Partition: q, MaxBytes: each, LeaderEpoch: -1},
			}})
			defer result.Release()
			var counts [2]int
			for i := range counts {
				for _, b := range result.Partitions[i].Batches {
					for len(b) > 0 {
						_, rest, err := record.NextBatch(b)
						if err != nil {
							t.Fatal(err)
						}
						counts[i], b = counts[i]+1, rest
					}
				}
			}
			return counts
		}
		for _, test := range []struct {
			maxBytes, each int
			want           [2]int
		}{{1 << 20, 2500, [2]int{2, 2}}, {3500, 1 << 20, [2]int{3, 0}}, {3500, 2500, [2]int{2, 1}}, {10, 10, [2]int{1, 0}}, {1 << 20, 10, [2]int{1, 0}}} {
			if got := fetch(test.maxBytes, test.each); got != test.want {
				t.Errorf("max %d each %d: %v batches, want %v", test.maxBytes, test.each, got, test.want)
			}
		}
	})
}

func TestFetchErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.mustProduce(p, testBatch{values: []string{"a"}})
		_, epoch := n.Leader(p.ID())
		for _, test := range []struct {
			node   *testNode
			offset record.Offset
			epoch  int32
			want   error
		}{
			{n, 1, epoch, nil},
			{n, 2, -1, ErrOffsetOutOfRange},
			{n, -1, -1, ErrOffsetOutOfRange},
			{n, 0, epoch - 1, ErrFencedLeaderEpoch},
			{n, 0, epoch + 1, ErrUnknownLeaderEpoch},
			{c.nodes[n.id%3+1], 0, -1, ErrNotLeader},
		} {
			result := test.node.Fetch(context.Background(), &FetchRequest{MaxBytes: 1, Partitions: []FetchPartition{
				{Partition: test.node.partition("t", 0), Offset: test.offset, MaxBytes: 1, LeaderEpoch: test.epoch},
			}})
			wantError(t, fmt.Sprintf("offset %d epoch %d", test.offset, test.epoch), result.Partitions[0].Err, test.want)
			result.Release()
		}
	})
}

// TestFetchWakesOnLeaderLoss: who waits at a leader hears at once that it is none any more.
func TestFetchWakesOnLeaderLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		answered := make(chan *FetchResult, 1)
		go func() {
			answered <- n.Fetch(context.Background(), &FetchRequest{MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1 << 20, Partitions: one(p, 0)})
		}()
		synctest.Wait()
		c.depose(n)
		start := time.Now()
		result := <-answered
		defer result.Release()
		wantError(t, "fetch at the old leader", result.Partitions[0].Err, ErrNotLeader)
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("woken after %v", waited)
		}
	})
}

func TestThousandPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		const count = 1000
		c.create("t", count)
		n := c.leader("t", 0)
		var outcomes []<-chan ProduceResult
		for i := range int32(count) {
			outcomes = append(outcomes, n.send(n.partition("t", i), testBatch{values: []string{fmt.Sprint(i)}}))
		}
		for i, outcome := range outcomes {
			if r := <-outcome; r.Err != nil || r.BaseOffset != 0 {
				t.Fatalf("partition %d: offset %d, %v", i, r.BaseOffset, r.Err)
			}
		}
		request := FetchRequest{MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1 << 20}
		for i := range int32(count) {
			p := n.partition("t", i)
			if got, want := n.read(p, 0), []string{fmt.Sprintf("0=%d", i)}; !slices.Equal(got, want) {
				t.Fatalf("partition %d: %v, want %v", i, got, want)
			}
			request.Partitions = append(request.Partitions, FetchPartition{Partition: p, Offset: 1, MaxBytes: 1 << 20, LeaderEpoch: -1})
		}
		answered := make(chan *FetchResult, 1)
		go func() { answered <- n.Fetch(context.Background(), &request) }()
		synctest.Wait()
		n.mustProduce(n.partition("t", 777), testBatch{values: []string{"x"}})
		result := <-answered
		defer result.Release()
		for i := range result.Partitions {
			if got := &result.Partitions[i]; got.Err != nil || (got.Bytes() > 0) != (i == 777) {
				t.Errorf("partition %d: %d bytes, %v", i, got.Bytes(), got.Err)
			}
		}
	})
}

// TestFetchFromDisk reads what has left the memory.
func TestFetchFromDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, func(c *testConfig) { c.tail = 64 << 10 })
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		value := strings.Repeat("v", 4000)
		var want []string
		for i := range 200 {
			n.mustProduce(p, testBatch{values: []string{value}})
			want = append(want, fmt.Sprintf("%d=%s", i, value))
		}
		if got := n.read(p, 0); !slices.Equal(got, want) {
			t.Errorf("%d records, want %d", len(got), len(want))
		}
		if stats := n.log.Stats(); stats.Extents.Hits == 0 || stats.DiskReads != 0 {
			t.Errorf("%d reads of single entries, and %+v", stats.DiskReads, stats.Extents)
		}
	})
}

// TestFetchSpan: a fetch of several partitions does not go through the whole log for the first of them, but one of a single
// partition does, and so does one that finds next to nothing.
func TestFetchSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 4)
		n := c.leader("t", 0)
		large, small, other, beside := n.partition("t", 0), n.partition("t", 1), n.partition("t", 2), n.partition("t", 3)
		for range 2 {
			n.mustProduce(large, testBatch{values: []string{strings.Repeat("v", fetchLeast)}})
			n.mustProduce(small, testBatch{values: []string{"v"}})
			n.fill(other, fetchSpan)
		}
		for _, test := range []struct {
			partitions []*Partition
			batches    []int
		}{
			{[]*Partition{large}, []int{2}},
			{[]*Partition{large, small, beside}, []int{1, 2, 0}},
			{[]*Partition{small, large}, []int{2, 1}},
		} {
			request := &FetchRequest{MaxWait: time.Hour, MinBytes: 10 * fetchLeast, MaxBytes: 1 << 20}
			if len(test.partitions) == 1 {
				request.MaxWait = 0
			}
			for _, p := range test.partitions {
				request.Partitions = append(request.Partitions, FetchPartition{Partition: p, MaxBytes: 1 << 20, LeaderEpoch: -1})
			}
			began := time.Now()
			result := n.Fetch(context.Background(), request)
			for i, want := range test.batches {
				if got := len(result.Partitions[i].Batches); got != want || result.Partitions[i].Err != nil {
					t.Errorf("partition %d of %d: %d batches, wanted %d, %v", i, len(test.batches), got, want, result.Partitions[i].Err)
				}
			}
			result.Release()
			if waited := time.Since(began); waited != 0 {
				t.Errorf("it waited %s for what is there", waited)
			}
		}
	})
}

func TestListOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		base := time.Now().UnixMilli()
		list := func(timestamp int64) ListedOffset {
			t.Helper()
			got, err := n.ListOffsets(context.Background(), p, timestamp)
			if err != nil {
				t.Fatalf("list %d: %v", timestamp, err)
			}
			return got
		}
		_, epoch := n.Leader(p.ID())
		for _, timestamp := range []int64{TimestampMax, base} {
			if got := list(timestamp); got.Offset != -1 {
				t.Errorf("empty partition, %d: %+v", timestamp, got)
			}
		}
		n.mustProduce(p, testBatch{values: []string{"a", "b", "c"}, time: base + 1000})
		n.mustProduce(p, testBatch{values: []string{"d", "e"}, time: base + 500, codec: record.CodecZstd})
		n.mustProduce(p, testBatch{values: []string{"f", "g"}, time: base + 2000, codec: record.CodecLZ4})
		for _, test := range []struct {
			timestamp int64
			want      ListedOffset
		}{
			{TimestampLatest, ListedOffset{7, -1, epoch}},
			{TimestampEarliest, ListedOffset{0, -1, epoch}},
			{TimestampMax, ListedOffset{6, base + 2001, epoch}},
			{0, ListedOffset{0, base + 1000, epoch}},
			{base + 1001, ListedOffset{1, base + 1001, epoch}},
			{base + 1003, ListedOffset{5, base + 2000, epoch}},
			{base + 2001, ListedOffset{6, base + 2001, epoch}},
			{base + 2002, ListedOffset{-1, -1, -1}},
		} {
			if got := list(test.timestamp); got != test.want {
				t.Errorf("list %d: %+v, want %+v", test.timestamp, got, test.want)
			}
		}
		if _, err := n.DeleteRecords(context.Background(), p, 2); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			timestamp int64
			want      ListedOffset
		}{{TimestampEarliest, ListedOffset{2, -1, epoch}}, {0, ListedOffset{2, base + 1002, epoch}}} {
			if got := list(test.timestamp); got != test.want {
				t.Errorf("after deletion, list %d: %+v, want %+v", test.timestamp, got, test.want)
			}
		}
		if _, err := n.DeleteRecords(context.Background(), p, 7); err != nil {
			t.Fatal(err)
		}
		if got := list(TimestampMax); got.Offset != -1 {
			t.Errorf("emptied partition: %+v", got)
		}
	})
}

func TestLogAppendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1, "message.timestamp.type", "LogAppendTime")
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		now := time.Now().UnixMilli()
		r := n.produce(p, testBatch{values: []string{"a", "b"}, time: 12345})
		if r.Err != nil || r.LogAppendTime != now {
			t.Errorf("append time %d, %v; want %d", r.LogAppendTime, r.Err, now)
		}
		if got := n.read(p, 0); len(got) != 2 { // checks the checksum too
			t.Errorf("read %v", got)
		}
		if got, err := n.ListOffsets(context.Background(), p, now); err != nil || got.Offset != 0 || got.Timestamp != now {
			t.Errorf("list: %+v, %v", got, err)
		}
	})
}

func TestLeaderEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		type begin struct {
			epoch int32
			at    record.Offset
		}
		var begins []begin
		next := record.Offset(0)
		for range 3 {
			n := c.leader("t", 0)
			p := n.partition("t", 0)
			_, epoch := n.Leader(p.ID())
			begins = append(begins, begin{epoch, next})
			for range 4 {
				n.mustProduce(p, testBatch{values: []string{"x"}})
				next++
			}
			c.depose(n)
		}
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		_, last := n.Leader(p.ID())
		want := func(epoch int32, want EpochEnd) {
			t.Helper()
			if got, err := n.OffsetForLeaderEpoch(p, -1, epoch); err != nil || got != want {
				t.Errorf("epoch %d: %+v, %v; want %+v", epoch, got, err, want)
			}
		}
		for i, b := range begins {
			end := next
			if i+1 < len(begins) {
				end = begins[i+1].at
			}
			want(b.epoch, EpochEnd{b.epoch, end})
		}
		want(last, EpochEnd{last, next})
		want(last+1, EpochEnd{-1, -1})
		want(begins[0].epoch-1, EpochEnd{begins[0].epoch - 1, 0})
		_, err := n.OffsetForLeaderEpoch(p, last-1, last)
		wantError(t, "old current epoch", err, ErrFencedLeaderEpoch)
	})
}
