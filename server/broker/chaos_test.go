package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
)

// An ackedEvent is what an appender was told.
type ackedEvent struct {
	key     string
	version int64
	offset  record.Offset
	id      string
}

// TestAppendsUnderFaults lets clients append at expected versions through any node while leaders are deposed, cut off and
// killed. In the end every acknowledged event is at its version and offset, once, and all nodes tell the same history.
func TestAppendsUnderFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(config *testConfig) {
			small(config)
			config.shards = 2
		})
		c.create("es", 6, "eventstore.enable", "true")
		const clients, keys = 6, 5
		nodes := make(chan struct{}, clients) // full: a node is being restarted. A mutex would stop virtual time
		deadline := time.Now().Add(5 * time.Second)
		acked := make(chan ackedEvent, 100_000)
		conflicts, unknown := 0, 0
		var counts sync.Mutex
		var running sync.WaitGroup
		for client := range clients {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			running.Go(func() {
				for i := 0; time.Now().Before(deadline); i++ {
					key := fmt.Sprint("key-", random.IntN(keys))
					id := fmt.Sprintf("%d-%d", client, i)
					nodes <- struct{}{}
					err := appendOne(c, random, key, id, acked)
					<-nodes
					counts.Lock()
					switch {
					case errors.Is(err, ErrVersionConflict):
						conflicts++
					case err != nil:
						unknown++
					}
					counts.Unlock()
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
				}
			})
		}
		c.disturb(rand.New(rand.NewPCG(seed, 99)), deadline, nodes)
		running.Wait()
		c.pipes.Heal()
		c.ready()
		close(acked)
		c.checkStreams(acked, keys, conflicts, unknown)
	})
}

// appendOne reads a stream's version and appends one event there, until that succeeds or is in vain.
func appendOne(c *testCluster, random *rand.Rand, key, id string, acked chan<- ackedEvent) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	n := c.nodes[int32(1+random.IntN(3))]
	if n.Broker == nil {
		return ErrShuttingDown
	}
	slice, err := n.ReadStream(ctx, &ReadStreamRequest{Topic: "es", Key: []byte(key), From: -1, Limit: 1, Backward: true, MinVersion: -1})
	if err != nil {
		return err
	}
	request := AppendRequest{Topic: "es", Key: []byte(key), Expected: Expected(slice.Head), Events: []Event{{ID: id, Value: []byte(id)}}}
	for range 3 {
		var result AppendResult
		if result, err = n.AppendStream(ctx, &request); err == nil {
			acked <- ackedEvent{key, result.FirstVersion, result.FirstOffset, id}
			return nil
		}
		if errors.Is(err, ErrVersionConflict) {
			return err
		}
		if n = c.nodes[int32(1+random.IntN(3))]; n.Broker == nil { // the same event again, elsewhere
			return err
		}
	}
	return err
}

// disturb deposes, cuts off and kills nodes until the deadline.
func (c *testCluster) disturb(random *rand.Rand, deadline time.Time, nodes chan struct{}) {
	for time.Now().Before(deadline) {
		time.Sleep(time.Duration(200+random.IntN(1500)) * time.Millisecond)
		n := c.nodes[int32(1+random.IntN(3))]
		switch random.IntN(3) {
		case 0:
			group := n.replication.Group(record.Shard(1 + random.IntN(2)))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if err := group.Transfer(ctx); err != nil {
				c.t.Logf("transfer: %v", err)
			}
			cancel()
		case 1:
			host := fmt.Sprint("n", n.id)
			for id := range c.nodes {
				if other := fmt.Sprint("n", id); other != host {
					c.pipes.Block(host, other)
					if random.IntN(2) == 0 {
						c.pipes.Block(other, host)
					}
				}
			}
			time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
			c.pipes.Heal()
		case 2:
			c.pipes.Crash(fmt.Sprint("n", n.id))
			for range cap(nodes) {
				nodes <- struct{}{}
			}
			n.stop()
			n.start()
			for range cap(nodes) {
				<-nodes
			}
		}
	}
}

// checkStreams compares what was acknowledged with what all nodes tell.
func (c *testCluster) checkStreams(acked <-chan ackedEvent, keys, conflicts, unknown int) {
	t := c.t
	histories, total := map[string][]string{}, 0
	for k := range keys {
		key := fmt.Sprint("key-", k)
		for id := range c.nodes {
			history := c.nodes[id].history(key)
			if known, ok := histories[key]; ok && !slices.Equal(known, history) {
				t.Errorf("stream %s differs through node %d", key, id)
			}
			histories[key] = history
		}
		seen := map[string]int{}
		for version, id := range histories[key] {
			if first, twice := seen[id]; twice {
				t.Errorf("event %s of %s is at versions %d and %d", id, key, first, version)
			}
			seen[id] = version
		}
		total += len(histories[key])
	}
	count := 0
	for e := range acked {
		count++
		if h := histories[e.key]; e.version >= int64(len(h)) || h[e.version] != e.id {
			t.Errorf("acknowledged event %+v is not there", e)
		}
	}
	t.Logf("%d appends acknowledged, %d events, %d conflicts, %d failed", count, total, conflicts, unknown)
	if count < 100 {
		t.Errorf("only %d appends succeeded", count)
	}
}
