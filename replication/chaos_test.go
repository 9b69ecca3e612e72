package replication

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	chaosSeeds = flag.Int("seeds", 3, "how many chaos runs")
	chaosFirst = flag.Uint64("seed", 1, "the first chaos run's seed")
)

// TestChaos runs clusters under random faults and checks that everything that was
// acknowledged is there, once, in each proposer's order, and the same on all nodes.
func TestChaos(t *testing.T) {
	for i := range *chaosSeeds {
		seed := *chaosFirst + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { inBubble(t, func(t *testing.T) { chaos(t, seed) }) })
	}
}

// proposer proposes numbered texts and remembers what was acknowledged, or may be there.
type proposer struct {
	name    string
	acked   []string
	unknown map[string]bool
}

func (p *proposer) run(ctx context.Context, c *testCluster, lock chanLock, random *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprintf("%s:%06d", p.name, i)
		if random.IntN(10) == 0 {
			text += strings.Repeat("x", random.IntN(30_000))
		}
		lock.Lock()
		var at *testNode
		for _, n := range c.nodes {
			if n.up && n.node.Group(1).Leader().Local {
				at = n
			}
		}
		if at == nil {
			lock.Unlock()
			pass(20 * time.Millisecond)
			continue
		}
		g, pool, cut := at.node.Group(1), at.pool, at.cut
		lock.Unlock()
		term := g.Leader().Term
		proposal, err := g.Propose(entry(pool, text, term), term)
		if err == nil {
			_, err = proposal.Wait()
		}
		switch {
		case err == nil && !cut.Load():
			p.acked = append(p.acked, text)
		case errors.Is(err, ErrNotLeader):
		default:
			p.unknown[text] = true
		}
		pass(time.Duration(random.IntN(20)) * time.Millisecond)
	}
}

// chanLock is a lock that time can pass under.
type chanLock chan struct{}

func (l chanLock) Lock()   { l <- struct{}{} }
func (l chanLock) Unlock() { <-l }

func chaos(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 17))
	c := newCluster(t, 3, func(config *Config) {
		config.SnapshotEntries = uint64(5 + random.IntN(100))
		config.TrailingEntries = uint64(1 + random.IntN(40))
	})
	disks := &faults{}
	c.wrap = disks.wrap
	t.Cleanup(disks.clear)
	c.startAll()
	c.leader(1)
	lock := make(chanLock, 1) // guards the nodes' lives against the proposers
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var proposers []*proposer
	for i := range 3 {
		p := &proposer{name: fmt.Sprint("p", i), unknown: map[string]bool{}}
		proposers = append(proposers, p)
		own := rand.New(rand.NewPCG(seed, uint64(i)))
		running.Go(func() { p.run(ctx, c, lock, own) })
	}
	for range 40 {
		pass(time.Duration(random.IntN(1500)) * time.Millisecond)
		c.fault(random, lock, disks)
	}
	c.pipes.Heal()
	pass(3 * time.Second) // for the watchdogs of disks that hang
	c.bury(random, lock, disks)
	disks.clear()
	lock.Lock()
	for _, n := range c.nodes {
		if !n.up {
			n.start()
		}
	}
	lock.Unlock()
	pass(5 * time.Second)
	cancel()
	running.Wait()
	c.must(1, "the end")
	var lists [3][]string
	eventually(t, "all nodes at the end", time.Minute, func() error {
		for i := range lists {
			lists[i] = c.nodes[int32(i+1)].disk.machine(1).list()
			if n := len(lists[i]); n == 0 || lists[i][n-1] != "the end" {
				return fmt.Errorf("node %d has %d texts", i+1, n)
			}
		}
		return nil
	})
	check(t, lists, proposers)
}

// fault does one random thing to the cluster.
func (c *testCluster) fault(random *rand.Rand, lock chanLock, disks *faults) {
	c.bury(random, lock, disks)
	n := c.nodes[int32(random.IntN(3)+1)]
	up := 0
	for _, other := range c.nodes {
		if other.up {
			up++
		}
	}
	kind := random.IntN(15)
	if kind < 5 && n.up { // a machine that is started again has a disk again
		disks.hang[n.number].Store(false)
		disks.fail[n.number].Store(false)
	}
	switch {
	case !n.up:
		lock.Lock()
		n.start()
		lock.Unlock()
	case kind < 3:
		lock.Lock()
		n.crash(random, random.IntN(101))
		lock.Unlock()
	case kind == 3 && up == 3 && c.settled():
		lock.Lock()
		n.crash(random, 0)
		n.wipe()
		lock.Unlock()
	case kind == 4:
		lock.Lock()
		n.stop() // in order
		n.disk.forget()
		lock.Unlock()
	case kind < 7:
		c.isolate(n.number, true)
	case kind < 10:
		c.pipes.Heal()
	case kind == 12:
		disks.hang[n.number].Store(true)
	case kind == 13:
		disks.fail[n.number].Store(true)
	case kind == 14:
		disks.slow[n.number].Store(int64(random.IntN(60)) * int64(time.Millisecond))
	case kind == 10:
		c.pipes.SetLatency(time.Duration(random.IntN(30)) * time.Millisecond)
	default:
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		_ = n.node.Group(1).Transfer(ctx) // whatever comes of it
	}
}

// bury ends the nodes that were told to end, as their processes would have.
func (c *testCluster) bury(random *rand.Rand, lock chanLock, disks *faults) {
	for i := range int32(3) {
		n := c.nodes[i+1]
		if n.up && n.fatalError() != nil {
			lock.Lock()
			disks.hang[n.number].Store(false)
			disks.fail[n.number].Store(false)
			n.crash(random, random.IntN(101))
			lock.Unlock()
		}
	}
}

// settled tells whether every node is a voter and has everything, so that one disk may be lost.
func (c *testCluster) settled() bool {
	for _, n := range c.nodes {
		if !n.up {
			return false
		}
		s := n.node.Group(1).Status()
		if s.Role != RoleLeader || len(s.Followers) != 2 {
			continue
		}
		return s.Followers[0].Voter && s.Followers[1].Voter && s.Followers[0].Lag+s.Followers[1].Lag == 0
	}
	return false
}

func check(t *testing.T, lists [3][]string, proposers []*proposer) {
	for i := range lists {
		if !slices.Equal(lists[i], lists[0]) {
			t.Errorf("node %d and node 1 differ: %d and %d texts", i+1, len(lists[i]), len(lists[0]))
		}
	}
	have := map[string]int{}
	for i, text := range lists[0] {
		if at, twice := have[text]; twice {
			t.Errorf("%.20s is there at %d and %d", text, at, i)
		}
		have[text] = i
	}
	acked := 0
	for _, p := range proposers {
		last := -1
		for _, text := range p.acked {
			at, ok := have[text]
			if !ok {
				t.Fatalf("acknowledged %.20s is lost", text)
			}
			if at < last {
				t.Errorf("%.20s is out of order", text)
			}
			last = at
		}
		for text := range have {
			if strings.HasPrefix(text, p.name) && !slices.Contains(p.acked, text) && !p.unknown[text] {
				t.Errorf("%.20s was refused and is there", text)
			}
		}
		acked += len(p.acked)
	}
	t.Logf("%d acknowledged, %d in all", acked, len(lists[0]))
}
