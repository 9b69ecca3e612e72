package replication

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

func smallWindow(config *Config) { config.SnapshotEntries, config.TrailingEntries = 10, 2 }

// large makes texts that need several pieces to be fetched.
func (c *testCluster) large(shard record.Shard, name string, count int, want []string) []string {
	c.t.Helper()
	for i := range count {
		text := fmt.Sprintf("%s-%d-%s", name, i, strings.Repeat("x", 100_000))
		c.must(shard, text)
		want = append(want, text)
	}
	return want
}

func TestFarBehindFollower(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.fill(1, "before", 25, nil)
		c.agree(1, want)
		n := c.nodes[2]
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		want = c.large(1, "meanwhile", 60, want)
		first := c.leader(1).node.Group(1).Status().First
		if first < 60 {
			t.Fatalf("the leader's window still begins at %d", first)
		}
		n.start()
		c.agree(1, want)
		if m := n.disk.machine(1); m.restores == 0 {
			t.Error("the follower did not install a snapshot")
		}
		want = c.fill(1, "after", 25, want)
		c.agree(1, want)

		// What it fetched is there after a crash, and all of it is there for others.
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		n.start()
		c.agree(1, want)
		c.sameLogs(1)
	})
}

// TestCorruptionWhileInstalling ends the node whose machine finds its data damaged when it goes over to a snapshot: raft must
// not begin at the snapshot over half a state.
func TestCorruptionWhileInstalling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.fill(1, "before", 25, nil)
		c.agree(1, want)
		n := c.nodes[2]
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		want = c.large(1, "meanwhile", 20, want)
		n.start()
		n.disk.machine(1).damage(fmt.Errorf("what is between is missing: %w", record.ErrCorrupt))
		eventually(t, "the node is told to end", time.Minute, func() error {
			if n.fatalError() == nil {
				return errors.New("it goes on")
			}
			return nil
		})
		if in := n.node.Group(1).current(); in != nil {
			t.Error("raft runs on a machine that was not restored")
		}
		n.disk.machine(1).damage(nil)
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		n.start()
		c.agree(1, want)
	})
}

// sameLogs compares what the nodes' logs retain, payload included.
func (c *testCluster) sameLogs(shard record.Shard) {
	c.t.Helper()
	retained := func(n *testNode) (list []string) {
		through := c.leader(shard).node.Group(shard).Status().Commit
		for from := record.Index(1); from <= through; {
			entries, err := n.node.Group(shard).fetch(c.t.Context(), n.node.self(), from, through, 1<<20)
			if errors.Is(err, ErrNotReady) { // it has not applied so much yet
				return nil
			}
			if err != nil {
				c.t.Fatalf("read the log of node %d at %d: %v", n.number, from, err)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				list = append(list, fmt.Sprintf("%d %d %v %08x", e.Index, e.Term, e.Kind, record.Castagnoli(0, e.Payload)))
				from = record.Index(e.Index) + 1
				if e.Frame != nil {
					e.Frame.Release()
				}
			}
		}
		return list
	}
	eventually(c.t, "equal logs", 10*time.Second, func() error {
		var first []string
		for i := range int32(len(c.nodes)) {
			list := retained(c.nodes[i+1])
			if i == 0 {
				first = list
			}
			if len(list) != len(first) {
				return fmt.Errorf("node %d retains %d entries, node 1 %d", i+1, len(list), len(first))
			}
			for j := range list {
				if list[j] != first[j] {
					return fmt.Errorf("entry %d: node %d has %s, node 1 %s", j, i+1, list[j], first[j])
				}
			}
		}
		return nil
	})
}

func TestWipedNodeFetchesLongLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.large(1, "text", 100, nil)
		c.agree(1, want)
		n := c.nodes[3]
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		n.wipe()
		n.start()
		c.agree(1, want)
		c.onlyVoters(1)
		c.sameLogs(1)
		if m := n.disk.machine(1); m.visited < 80 {
			t.Errorf("restored from %d entries", m.visited)
		}
	})
}

// What is known of a follower's next entries may have been removed by retention since: that is not the end of what there is.
func TestFetchGoesOnAfterRemovedEntries(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.startAll()
		c.agree(1, c.fill(1, "text", 5, nil))
		n := c.nodes[1]
		g := n.node.Group(1)
		through := g.Status().Commit
		removed := log.EntryInfo{Index: 2, Term: 1, Bytes: 10, Position: 99 << 30}
		g.serves[7] = &served{infos: []log.EntryInfo{removed}, through: through}
		entries, err := g.fetch(t.Context(), transport.Peer{Node: 7}, 2, through, 1<<20)
		if err != nil || len(entries) == 0 || entries[len(entries)-1].Index != uint64(through) {
			t.Errorf("%d entries up to %d, %v", len(entries), through, err)
		}
		transport.ReleaseAll(entries)
	})
}

func TestInterruptedTransferResumes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.large(1, "text", 120, nil) // 12 MB
		c.agree(1, want)
		n := c.nodes[c.leader(1).number%3+1] // a follower
		random := rand.New(rand.NewPCG(1, 1))
		n.crash(random, 0)
		n.wipe()
		c.pipes.SetLatency(60 * time.Millisecond) // so that the transfer takes some seconds
		written := int64(0)
		for life := range 8 {
			n.start()
			pass(time.Second)
			if len(n.disk.machine(1).list()) >= len(want) {
				t.Logf("complete in life %d", life)
				break
			}
			written += n.log.Stats().BytesWritten
			n.crash(random, 50)
		}
		if !n.up {
			n.start()
		}
		c.agree(1, want)
		c.onlyVoters(1)
		written += n.log.Stats().BytesWritten
		if written > 20<<20 {
			t.Errorf("%d bytes were written for 12 MB: the transfer began again and again", written)
		}
		if n.disk.machine(1).restores == 0 {
			t.Error("no snapshot was installed")
		}
		c.sameLogs(1)
	})
}

func TestLeaderCrashDuringTransfer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.large(1, "text", 100, nil)
		c.agree(1, want)
		follower := c.nodes[c.leader(1).number%3+1]
		random := rand.New(rand.NewPCG(1, 1))
		follower.crash(random, 0) // keeps its disk: it is a voter with an old log
		want = c.large(1, "more", 60, want)
		c.pipes.SetLatency(20 * time.Millisecond)
		follower.start()
		pass(400 * time.Millisecond)
		old := c.leader(1)
		old.crash(random, 0)
		pass(3 * time.Second)
		old.start()
		want = c.fill(1, "after", 5, want)
		c.agree(1, want)
		c.sameLogs(1)
	})
}

// TestDivergedSuffix is R6: a follower whose log reaches beyond the snapshot with
// entries of another history. Raft's own installation never ends there.
func TestDivergedSuffix(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.fill(1, "before", 5, nil)
		c.agree(1, want)
		old := c.leader(1)
		c.isolate(old.number, true)
		g := old.node.Group(1)
		term := g.Leader().Term
		var lost []*Proposal
		for i := range 100 {
			p, err := g.Propose(entry(old.pool, fmt.Sprint("lost-", i), term), term)
			if err != nil {
				t.Fatalf("propose: %v", err)
			}
			lost = append(lost, p)
		}
		for _, p := range lost {
			if _, err := p.Wait(); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("outcome of an isolated proposal: %v", err)
			}
		}
		last := old.node.Group(1).Status().Last
		want = c.fill(1, "meanwhile", 40, want) // with snapshots below the isolated node's last entry
		if err := c.leader(1).node.Group(1).Snapshot(); err != nil {
			t.Fatal(err)
		}
		if s := c.leader(1).node.Group(1).Status(); s.Snapshot >= last || s.First < 20 {
			t.Fatalf("snapshot at %d, window from %d, the isolated log ends at %d", s.Snapshot, s.First, last)
		}
		restores := old.disk.machine(1).restores
		c.isolate(old.number, false)
		c.agree(1, want)
		if got := old.disk.machine(1).restores - restores; got < 1 || got > 2 {
			t.Errorf("%d snapshots were installed", got)
		}
		want = c.fill(1, "after", 15, want)
		c.agree(1, want)
		old.crash(rand.New(rand.NewPCG(1, 1)), 0)
		old.start()
		c.agree(1, want)
		c.sameLogs(1)
	})
}

// TestCrashBetweenSnapshotAndWindow starts a node whose newest snapshot contradicts its
// window, as a crash in the middle of an installation leaves it.
func TestDivergedSuffixWithCrashes(t *testing.T) {
	for seed := range uint64(5) {
		inBubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(9, seed))
			c := newCluster(t, 3, smallWindow)
			c.startAll()
			want := c.fill(1, "before", 5, nil)
			old := c.leader(1)
			c.isolate(old.number, true)
			g := old.node.Group(1)
			term := g.Leader().Term
			var lost []*Proposal
			for i := range 30 + random.IntN(60) {
				p, err := g.Propose(entry(old.pool, fmt.Sprint("lost-", i), term), term)
				if err != nil {
					t.Fatalf("propose: %v", err)
				}
				lost = append(lost, p)
			}
			for _, p := range lost {
				_, _ = p.Wait() // unknown, as above
			}
			want = c.fill(1, "meanwhile", 40, want)
			c.pipes.SetLatency(5 * time.Millisecond)
			c.isolate(old.number, false)
			for range 3 {
				pass(time.Duration(random.IntN(120)) * time.Millisecond)
				old.crash(random, random.IntN(101))
				old.start()
			}
			c.agree(1, want)
			c.sameLogs(1)
		})
	}
}

// TestFramesComeBack checks that nobody keeps a frame when all is over.
func TestFramesComeBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.large(1, "text", 50, nil)
		n := c.nodes[c.leader(1).number%3+1]
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		n.wipe()
		n.start()
		c.agree(1, c.large(1, "more", 20, want))
		c.stopAll()
		for _, n := range c.nodes {
			if held := n.pool.Bytes(); held > 4<<20 {
				t.Errorf("node %d still holds %d bytes of frames", n.number, held)
			}
		}
	})
}

// TestCatchUpUnderLoad wipes a node of a cluster that never pauses, and whose snapshots
// are taken much faster than the node can be brought to one.
func TestCatchUpUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.large(1, "before", 60, nil)
		leader := c.leader(1)
		n := c.nodes[leader.number%3+1]
		n.crash(rand.New(rand.NewPCG(1, 1)), 0)
		n.wipe()
		c.pipes.SetLatency(20 * time.Millisecond)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // ends with stop
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprint("meanwhile-", i)
				if err := leader.propose(1, text); err != nil {
					t.Errorf("propose: %v", err)
					return
				}
				want = append(want, text)
			}
		}()
		began := time.Now()
		n.start()
		eventually(t, "the node has caught up", 30*time.Second, func() error {
			if lag := len(leader.disk.machine(1).list()) - len(n.disk.machine(1).list()); lag > 20 {
				return fmt.Errorf("%d texts behind", lag)
			}
			return nil
		})
		t.Logf("caught up after %v with %d restores", time.Since(began), n.disk.machine(1).restores)
		if n.disk.machine(1).restores > 2 {
			t.Errorf("%d restores", n.disk.machine(1).restores)
		}
		pass(time.Second)
		close(stop)
		<-stopped
		c.agree(1, want)
		c.onlyVoters(1)
		c.sameLogs(1)
		if s := leader.node.Group(1).Status(); uint64(s.Last-s.First) > 200 {
			t.Errorf("the leader still keeps %d entries at hand", s.Last-s.First)
		}
	})
}
