package replication

import (
	"math/rand/v2"
	"testing"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// rot flips a bit of an entry in a node's log, in the middle of its payload.
func (n *testNode) rot(at record.Position, bytes uint32) {
	n.t.Helper()
	number, offset := segment.Split(at)
	f, err := n.mem.OpenReadWrite("data/log/"+segment.Name(number), "test")
	if err != nil {
		n.t.Fatal(err)
	}
	b := make([]byte, 1)
	offset += segment.HeaderBytes + int64(bytes)/2
	if _, err := f.ReadAt(b, offset); err != nil {
		n.t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, offset); err != nil {
		n.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		n.t.Fatal(err)
	}
}

// TestCorruptEntryOnLeader lets an entry that a follower lacks rot on the leader: another node must bring it to the follower.
func TestCorruptEntryOnLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		want := c.fill(1, "before", 3, nil)
		c.agree(1, want)
		behind := c.nodes[c.leader(1).number%3+1]
		behind.stop()
		want = c.large(1, "text", 30, want) // 3 MB, of which the newest 1 MB is in memory
		c.agree(1, want)
		leader := c.leader(1) // whichever of the two it is by now: both have what the third lacks
		info, err := leader.log.Shard(1).Info(10)
		if err != nil {
			t.Fatal(err)
		}
		leader.rot(info.Position, info.Bytes)
		behind.start()
		c.agree(1, want)
		c.agree(1, c.fill(1, "after", 3, want))
		if c.leader(1) == leader {
			t.Error("a node leads that cannot bring others what they lack")
		}
	})
}

// TestCorruptRetainedEntry lets an entry rot on the leader that only a wiped node lacks: it fetches it from another.
func TestCorruptRetainedEntry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.large(1, "text", 40, nil)
		c.agree(1, want)
		leader := c.leader(1)
		wiped := c.nodes[leader.number%3+1]
		wiped.crash(rand.New(rand.NewPCG(1, 1)), 0)
		wiped.wipe()
		err := leader.log.Shard(1).Scan(8, 8, func(info log.EntryInfo, _ []byte) error {
			leader.rot(info.Position, info.Bytes)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wiped.start()
		c.agree(1, want)
		c.onlyVoters(1)
	})
}

// TestCorruptSnapshotOnLeader lets the newest snapshot rot that a wiped node is to be brought to.
func TestCorruptSnapshotOnLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		c.startAll()
		want := c.fill(1, "text", 40, nil)
		c.agree(1, want)
		leader := c.leader(1)
		wiped := c.nodes[leader.number%3+1]
		wiped.crash(rand.New(rand.NewPCG(1, 1)), 0)
		wiped.wipe()
		g := leader.node.Group(1)
		meta := g.snapshots.newest()
		name := g.snapshots.path(meta.id())
		b, err := readFile(leader.mem, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-12] ^= 1 // of the state
		if err := writeFile(leader.mem, name, b); err != nil {
			t.Fatal(err)
		}
		wiped.start()
		c.agree(1, want)
		c.onlyVoters(1)
		c.agree(1, c.fill(1, "after", 3, want))
		if err := g.snapshots.verify(g.snapshots.path(g.snapshots.newest().id())); err != nil {
			t.Errorf("the leader's newest snapshot: %v", err)
		}
	})
}
