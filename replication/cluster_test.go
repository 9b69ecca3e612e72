package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

// fill proposes texts named name and returns want with them.
func (c *testCluster) fill(shard record.Shard, name string, count int, want []string) []string {
	c.t.Helper()
	for i := range count {
		text := fmt.Sprintf("%s-%d", name, i)
		c.must(shard, text)
		want = append(want, text)
	}
	return want
}

func TestElectProposeApply(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		began := time.Now()
		c.startAll()
		c.leader(1)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("first leader after %v", took)
		}
		want := c.fill(1, "text", 100, nil)
		c.agree(1, want)
		if err := c.leader(1).propose(1, "refuse"); !errors.Is(err, errRefused) {
			t.Errorf("the machine's answer: %v", err)
		}
		id, formed := c.nodes[2].node.Cluster()
		if other, _ := c.nodes[3].node.Cluster(); !formed || id != other {
			t.Errorf("clusters %s and %s", id, other)
		}
		leader := c.leader(1).node.Group(1)
		if err := leader.Barrier(t.Context()); err != nil {
			t.Errorf("barrier: %v", err)
		}
		if err := leader.VerifyLeader(t.Context()); err != nil {
			t.Errorf("verify leader: %v", err)
		}
		eventually(t, "followers without lag", 5*time.Second, func() error {
			s := leader.Status()
			if len(s.Followers) != 2 || s.Followers[0].Lag+s.Followers[1].Lag != 0 || s.Role != RoleLeader {
				return fmt.Errorf("status %+v", s)
			}
			return nil
		})
	})
}

// TestLargestEntry: what does not fit into a segment is refused before raft takes it, and the node goes on.
func TestLargestEntry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.startAll()
		n := c.leader(1)
		largest := n.log.LargestEntry()
		fits := largest - len(entry(n.pool, "", 1).Bytes())
		for _, test := range []struct {
			bytes int
			want  error
		}{{fits + 1, record.ErrTooLarge}, {int(c.segmentBytes), record.ErrTooLarge}, {fits, nil}, {1, nil}} {
			if err := n.propose(1, strings.Repeat("x", test.bytes)); !errors.Is(err, test.want) {
				t.Errorf("a text of %d bytes, largest entry %d: %v", test.bytes, largest, err)
			}
		}
	})
}

func TestSingleNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.peers = nil
		n := c.nodes[1]
		began := time.Now()
		n.start()
		c.leader(1)
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("first leader after %v", took)
		}
		want := c.fill(1, "first", 20, nil)
		for i := range 5 {
			n.crash(rand.New(rand.NewPCG(1, uint64(i))), 50)
			n.start()
			began = time.Now()
			c.leader(1)
			if took := time.Since(began); took > 50*time.Millisecond {
				t.Errorf("leader %v after restart %d", took, i)
			}
			want = c.fill(1, fmt.Sprint("life-", i), 5, want)
			c.agree(1, want)
		}
	})
}

func TestIsolatedLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "before", 10, nil)
		old := c.leader(1)
		host := fmt.Sprintf("node%d", old.number)
		c.isolate(old.number, true)

		// A proposal of the isolated leader has no known outcome, and is not committed.
		g := old.node.Group(1)
		term := g.Leader().Term
		p, err := g.Propose(entry(old.pool, "lost", term), term)
		if err != nil {
			t.Fatalf("propose on %s: %v", host, err)
		}
		if _, err := p.Wait(); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("proposal of an isolated leader: %v", err)
		}
		eventually(t, "the isolated leader steps down", 2*time.Second, func() error {
			if l := g.Leader(); l.Local || l.Node == old.number {
				return fmt.Errorf("%+v", l)
			}
			return nil
		})
		if _, err := g.Propose(entry(old.pool, "refused", term), term); !errors.Is(err, ErrNotLeader) {
			t.Errorf("proposal after that: %v", err)
		}
		began := time.Now()
		want = c.fill(1, "meanwhile", 10, want)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("ten proposals took %v", took)
		}
		c.isolate(old.number, false)
		want = c.fill(1, "after", 10, want)
		c.agree(1, want)
	})
}

// isolate cuts a node off from all others, both ways, or undoes that.
func (c *testCluster) isolate(node int32, cut bool) {
	for other := range c.nodes {
		if other == node {
			continue
		}
		a, b := fmt.Sprintf("node%d", node), fmt.Sprintf("node%d", other)
		if cut {
			c.pipes.Block(a, b)
			c.pipes.Block(b, a)
		} else {
			c.pipes.Unblock(a, b)
			c.pipes.Unblock(b, a)
		}
	}
}

func TestLeaderCrashIsQuick(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "before", 10, nil)
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 6 {
			old := c.leader(1)
			old.crash(random, 50)
			began := time.Now()
			want = c.fill(1, fmt.Sprint("life-", i), 5, want)
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("gap of %v after the crash of node %d", took, old.number)
			}
			old.start()
			c.agree(1, want)
		}
	})
}

func TestCrashOfEachAndAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(config *Config) { config.SnapshotEntries, config.TrailingEntries = 20, 5 })
		c.startAll()
		random := rand.New(rand.NewPCG(3, 4))
		want := c.fill(1, "before", 10, nil)
		for round := range 4 {
			for number := range int32(3) {
				n := c.nodes[number+1]
				n.crash(random, 50)
				want = c.fill(1, fmt.Sprintf("round-%d-%d", round, number), 7, want)
				n.start()
				c.agree(1, want)
			}
			for _, n := range c.nodes { // all at once
				n.crash(random, 30)
			}
			c.startAll()
			want = c.fill(1, fmt.Sprintf("round-%d-all", round), 5, want)
			c.agree(1, want)
		}
	})
}

func TestWipedNodeRejoins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "before", 50, nil)
		c.agree(1, want)
		for _, number := range []int32{3, 1, 2} {
			n := c.nodes[number]
			n.crash(rand.New(rand.NewPCG(1, 1)), 0)
			n.wipe()
			want = c.fill(1, fmt.Sprint("without-", number), 5, want)
			n.start()
			c.agree(1, want)
			c.onlyVoters(1)
		}
		want = c.fill(1, "after", 5, want)
		c.agree(1, want)
	})
}

// onlyVoters waits until the leader's configuration is the nodes' present lives, all with a vote.
func (c *testCluster) onlyVoters(shard record.Shard) {
	c.t.Helper()
	eventually(c.t, "every node votes", 30*time.Second, func() error {
		in := c.leader(shard).node.Group(shard).current()
		var have, want []string
		for _, s := range in.raft.GetConfiguration().Configuration().Servers {
			have = append(have, fmt.Sprint(s.ID, s.Suffrage))
		}
		for _, n := range c.nodes {
			want = append(want, fmt.Sprint(n.node.self().ServerID(), "Voter"))
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			return fmt.Errorf("have %v, wanted %v", have, want)
		}
		return nil
	})
}

func TestFormationAtDifferentTimes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(config *Config) { config.DataShards = 2 })
		c.nodes[2].start()
		pass(7 * time.Second)
		c.nodes[1].start()
		pass(5 * time.Second)
		if _, formed := c.nodes[1].node.Cluster(); formed {
			t.Error("two of three nodes formed a cluster")
		}
		if err := c.nodes[1].node.Group(1).Ready(); !errors.Is(err, ErrNotReady) {
			t.Errorf("ready before there is a cluster: %v", err)
		}
		c.nodes[3].start()
		began := time.Now()
		for shard := range record.Shard(3) {
			c.leader(shard)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("leaders after %v", took)
		}
		if n := c.nodes[3].node.Shards(); n != 2 {
			t.Errorf("%d data shards", n)
		}
		leaders := map[int32]bool{c.leader(1).number: true, c.leader(2).number: true}
		if len(leaders) != 2 {
			t.Errorf("one node leads both data shards")
		}
		c.agree(2, c.fill(2, "text", 10, nil))
	})
}

func TestCrashWhileForming(t *testing.T) {
	for seed := range uint64(8) {
		inBubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(5, seed))
			c := newCluster(t, 3, nil)
			c.startAll()
			for range 4 {
				pass(time.Duration(random.IntN(30)) * time.Millisecond)
				n := c.nodes[int32(random.IntN(3))+1]
				n.crash(random, random.IntN(101))
				n.start()
			}
			c.agree(1, c.fill(1, "text", 3, nil))
		})
	}
}

func TestOtherClusterIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "ours", 5, nil)
		c.nodes[3].stop()

		// A node that formed a cluster of its own comes in node 3's place.
		other := newCluster(t, 3, nil)
		other.startAll()
		other.fill(1, "theirs", 5, nil)
		for _, n := range other.nodes {
			n.stop()
		}
		stranger := c.nodes[3]
		mem := stranger.mem
		stranger.mem = other.nodes[3].mem
		stranger.disk.forget()
		stranger.start()
		want = c.fill(1, "more", 20, want)
		pass(10 * time.Second)
		for _, p := range c.nodes[1].node.Peers() {
			if p.Node == 3 && (p.Connected || !strings.Contains(p.Err, "cluster")) {
				t.Errorf("the stranger is %+v", p)
			}
		}
		if got := stranger.disk.machine(1).list(); slices.Contains(got, "ours-0") {
			t.Errorf("the stranger has %s", short(got))
		}
		stranger.stop()
		stranger.mem = mem
		stranger.disk.forget()
		stranger.start()
		c.agree(1, want)
	})
}

func TestCalls(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		c.leader(0)
		for _, to := range []int32{1, 2} {
			if answer, err := c.nodes[1].node.Call(t.Context(), to, 1, []byte("hello")); err != nil || string(answer) != "hello from 1" {
				t.Errorf("call of node %d: %q, %v", to, answer, err)
			}
			if _, err := c.nodes[1].node.Call(t.Context(), to, 1, nil); err == nil || !strings.Contains(err.Error(), errRefused.Error()) {
				t.Errorf("error of node %d: %v", to, err)
			}
		}
		if _, err := c.nodes[1].node.Call(t.Context(), 2, 17, nil); err == nil || !strings.Contains(err.Error(), "nobody answers") {
			t.Errorf("call of an unknown kind: %v", err)
		}
		c.nodes[2].stop()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := c.nodes[1].node.Call(ctx, 2, 17, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("call of a node that is down: %v", err)
		}
	})
}

func TestGracefulStopIsQuick(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "before", 10, nil)
		for i := range 4 {
			old := c.leader(1)
			began := time.Now()
			old.stop()
			want = c.fill(1, fmt.Sprint("without-", i), 2, want)
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Errorf("gap of %v after node %d was stopped in order", took, old.number)
			}
			old.start()
			c.agree(1, want)
		}
	})
}

// TestEndlessTransfer is R8: a leader that refuses everything because of a transfer
// that is never over gets another raft.
func TestEndlessTransfer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "before", 5, nil)
		g := c.leader(1).node.Group(1)
		in := g.current()
		in.watchTransfer(raft.ErrLeadershipTransferInProgress)
		in.watchTransfer(nil) // it was over
		pass(2 * time.Second)
		in.watchTransfer(raft.ErrLeadershipTransferInProgress)
		pass(time.Second)
		in.watchTransfer(raft.ErrLeadershipTransferInProgress)
		if g.current() != in {
			t.Fatal("raft was replaced too early")
		}
		pass(2 * time.Second)
		in.watchTransfer(raft.ErrLeadershipTransferInProgress)
		eventually(t, "another raft", 5*time.Second, func() error {
			if now := g.current(); now == nil || now == in {
				return errors.New("still the same")
			}
			return nil
		})
		c.agree(1, c.fill(1, "after", 5, want))
	})
}

// TestUnfitProposals checks what Propose refuses by itself.
func TestUnfitProposals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.peers = nil
		c.startAll()
		n := c.leader(1)
		g := n.node.Group(1)
		term := g.Leader().Term
		f := n.pool.Get(100)
		clear(f.Bytes())
		if _, err := g.Propose(f, term); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("no entry: %v", err)
		}
		if _, err := g.Propose(entry(n.pool, "x", term+1), term+1); !errors.Is(err, ErrNotLeader) {
			t.Errorf("another term: %v", err)
		}
		p, err := g.Propose(entry(n.pool, "x", term-1), term)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); !errors.Is(err, ErrNotLeader) || !errors.Is(err, ErrSkipped) {
			t.Errorf("stamped in another term: %v", err)
		}
		if _, err := n.node.Group(9).Propose(entry(n.pool, "x", 1), 1); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a shard that is not there: %v", err)
		}
	})
}
