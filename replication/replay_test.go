package replication

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stela-db/stela/log/record"
)

// TestSnapshotWhileReplaying starts a node whose machine has more than raft has replayed so far, and asks for snapshots
// all the while: one that was taken then would say that it ends before entries that are in it.
func TestSnapshotWhileReplaying(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var replay bool
		c := newCluster(t, 1, func(config *Config) {
			if replay {
				config.SnapshotEntries, config.TrailingEntries = 50, 2
			}
		})
		c.startAll()
		want := c.fill(1, "text", 20*maxAppendEntries, nil)
		n := c.nodes[1]
		n.stop()
		replay = true
		machine := n.disk.machine(1)
		machine.delay(20 * time.Millisecond)
		n.start()
		g := n.node.Group(1)
		refused := 0
		eventually(t, "everything is replayed", time.Minute, func() error {
			err := g.Snapshot()
			if err != nil && strings.Contains(err.Error(), errReplaying.Error()) { // raft does not wrap it
				refused++
			}
			if meta := g.snapshots.newest(); meta != nil && meta.Applied > meta.Index {
				t.Fatalf("the snapshot at %d has state up to %d", meta.Index, meta.Applied)
			}
			if has := record.Index(g.current().fsm.handed.Load()); has < machine.Applied() {
				return fmt.Errorf("%d of %d", has, machine.Applied())
			}
			return nil
		})
		if refused == 0 {
			t.Error("no snapshot was asked for too early")
		}
		machine.delay(0)
		c.agree(1, want)
		eventually(t, "a snapshot", time.Minute, func() error {
			if g.snapshots.newest() == nil {
				return errors.New("there is none")
			}
			return nil
		})
		want = c.fill(1, "after", 10, want)
		n.crash(rand.New(rand.NewPCG(1, 1)), 0) // which the machine's state does not survive
		n.start()
		c.agree(1, want)
	})
}
