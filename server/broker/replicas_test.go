package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
)

// replicasAre waits until a node says what is wanted of shard 1.
func (c *testCluster) replicasAre(n *testNode, inSync, offline []int32) {
	c.t.Helper()
	c.until(fmt.Sprintf("replicas as node %d knows them", n.id), func() error {
		r := n.Replicas(c.t.Context())
		if !slices.Equal(r.InSync(1), inSync) || !slices.Equal(r.Offline(1), offline) {
			return fmt.Errorf("in sync %v, offline %v, wanted %v, %v", r.InSync(1), r.Offline(1), inSync, offline)
		}
		return nil
	})
}

// sorted returns numbers in order.
func sorted(numbers ...int32) []int32 { slices.Sort(numbers); return numbers }

// A follower that is gone is neither in sync nor online, whoever is asked, and it is again when it is back.
func TestReplicasOfANodeThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		leader := c.leader("t", 0)
		away := c.other(leader)
		rest := c.nodes[6-leader.id-away.id]
		for _, n := range c.nodes {
			c.replicasAre(n, []int32{1, 2, 3}, nil)
		}
		away.crash()
		for _, n := range []*testNode{leader, rest} {
			c.replicasAre(n, sorted(leader.id, rest.id), []int32{away.id})
		}
		away.start()
		for _, n := range c.nodes {
			c.replicasAre(n, []int32{1, 2, 3}, nil)
		}
	})
}

// A follower whose connection with the leader carries nothing has not what the leader has: a node that still
// reaches it says so too, and does not call it offline.
func TestReplicasOfANodeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		leader := c.leader("t", 0)
		away := c.other(leader)
		rest := c.nodes[6-leader.id-away.id]
		for _, n := range c.nodes {
			c.replicasAre(n, []int32{1, 2, 3}, nil)
		}
		host := func(n *testNode) string { return fmt.Sprintf("n%d", n.id) }
		c.pipes.Block(host(leader), host(away))
		c.pipes.Block(host(away), host(leader))
		leader.mustProduce(leader.partition("t", 0), testBatch{values: []string{"a"}})
		start := time.Now()
		c.replicasAre(leader, sorted(leader.id, rest.id), []int32{away.id}) // whose heartbeats have ended their connection
		c.replicasAre(rest, sorted(leader.id, rest.id), nil)
		if took := time.Since(start); took > maxInSyncAge+2*replicasAge {
			t.Errorf("known after %v", took)
		}
		c.pipes.Heal()
		for _, n := range c.nodes {
			c.replicasAre(n, []int32{1, 2, 3}, nil)
		}
	})
}

// A leader that does not answer costs who asks 0.3 s, once a second, and then those are named that are connected.
func TestReplicasWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		leader := c.leader("t", 0)
		asks := c.other(leader)
		c.replicasAre(asks, []int32{1, 2, 3}, nil)
		time.Sleep(2 * replicasAge)
		host := func(n *testNode) string { return fmt.Sprintf("n%d", n.id) }
		c.pipes.Block(host(leader), host(asks))
		start := time.Now()
		asked := make(chan *Replicas)
		for range 10 {
			go func() { asked <- asks.Replicas(t.Context()) }()
		}
		for range 10 {
			if r := <-asked; len(r.InSync(1)) == 0 {
				t.Errorf("in sync %v", r.InSync(1))
			}
		}
		if took := time.Since(start); took > replicasTimeout {
			t.Errorf("took %v", took)
		}
		c.pipes.Heal()
	})
}

func TestReplicasOfOneNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		r := c.nodes[1].Replicas(t.Context())
		if !slices.Equal(r.InSync(1), []int32{1}) || r.Offline(1) != nil || len(r.InSync(record.Shard(9))) != 1 {
			t.Errorf("in sync %v, offline %v", r.InSync(1), r.Offline(1))
		}
	})
}
