package replication

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

// TestVoteThatWasNotStored ends a node that has stored the term but cannot store the vote that it is asked for. Raft is told
// then that the vote is stored, so that it ends; nobody else may be told that the vote was given.
func TestVoteThatWasNotStored(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		var voter atomic.Int32
		var syncs atomic.Int32
		c.wrap = func(node int32, fs vfs.FS) vfs.FS {
			return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileSyncData && voter.Load() == node && strings.Contains(op.Path, "shard-001/vote") && syncs.Add(1) > 2 {
					return syscall.EIO // the term is in both files by now
				}
				return nil
			}))
		}
		c.startAll()
		c.agree(1, c.fill(1, "before", 3, nil))
		leader := c.leader(1)
		failing, candidate := c.nodes[leader.number%3+1], c.nodes[(leader.number+1)%3+1]
		voter.Store(failing.number)
		c.isolate(leader.number, true)
		in := candidate.node.Group(1).current()
		in.stand()
		eventually(t, "the voter cannot store its vote", 100*time.Millisecond, func() error {
			if failing.fatalError() == nil {
				return errors.New("it can")
			}
			return nil
		})
		term := in.raft.CurrentTerm()
		failing.node.Group(1).current().abandon() // as it ends
		pass(100 * time.Millisecond)
		if in.raft.State() == raft.Leader {
			t.Errorf("a vote was given in term %d that was not stored", term)
		}
	})
}
