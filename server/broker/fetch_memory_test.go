package broker

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/internal/frame"
)

// A testMemory is a FetchMemory of so many bytes.
type testMemory struct {
	total, held, returned int
}

func (m *testMemory) Take(bytes int) bool {
	if m.held+bytes > m.total {
		return false
	}
	m.held += bytes
	return true
}

func (m *testMemory) GiveBack() { m.held, m.returned = 0, m.returned+1 }

// TestFetchTakesMemoryFirst: nothing is read that there is no memory for, and a fetch that waits holds nothing.
func TestFetchTakesMemoryFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, func(c *testConfig) { c.tail = 4 << 10 })
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		for range 20 {
			n.mustProduce(p, testBatch{values: []string{strings.Repeat("x", 1000)}})
		}
		request := FetchRequest{MaxWait: time.Hour, MinBytes: 1 << 20, MaxBytes: 1 << 20, Partitions: one(p, 0)}
		for runs := range 4 {
			memory := &testMemory{total: runs * frame.MinMemory}
			request.Memory = memory
			began := time.Now()
			result := n.Fetch(context.Background(), &request)
			if got := &result.Partitions[0]; got.Err != nil || len(got.Batches) != runs || got.HighWatermark != 20 || time.Since(began) > time.Minute {
				t.Errorf("memory for %d runs: %d, %v, after %s", runs, len(got.Batches), got.Err, time.Since(began))
			}
			result.Release()
		}
		memory := &testMemory{total: 1 << 20}
		request.Memory = memory
		answered := make(chan *FetchResult, 1)
		go func() { answered <- n.Fetch(context.Background(), &request) }()
		synctest.Wait()
		if memory.held != 0 || memory.returned == 0 {
			t.Errorf("a fetch that waits holds %d bytes of the budget", memory.held)
		}
		before := n.pool.Bytes()
		for range 10 { // what the fetch has read and given back
			defer n.pool.Get(1000).Release()
		}
		if got := n.pool.Bytes(); got != before {
			t.Errorf("a fetch that waits holds frames: the pool has %d bytes more", got-before)
		}
		time.Sleep(time.Hour)
		result := <-answered
		if got := &result.Partitions[0]; got.Err != nil || len(got.Batches) != 20 || memory.held != 20*frame.MinMemory {
			t.Errorf("after the wait: %d runs, %v, %d bytes", len(got.Batches), got.Err, memory.held)
		}
		result.Release()
	})
}
