package replication

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// An installCrash keeps what the disk of a node would have after a loss of power between the two steps of an
// installation: the snapshot has its name, and the window is not what it says yet.
type installCrash struct {
	mu      sync.Mutex // guards all below
	node    int32
	adopted bool
	image   *vfs.MemFS
}

func (i *installCrash) wrap(node int32, fs vfs.FS) vfs.FS {
	mem := fs.(*vfs.MemFS)
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		i.mu.Lock()
		defer i.mu.Unlock()
		if node != i.node || i.image != nil {
			return nil
		}
		switch {
		case op.Kind == errorfs.OpRename && strings.Contains(op.Path, "shard-001") && strings.HasSuffix(op.Path, incomingSuffix):
			i.adopted = true
		case i.adopted && op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, ".segment"):
			i.image = mem.CrashClone(vfs.CrashCloneCfg{})
		}
		return nil
	}))
}

func (i *installCrash) watch(node int32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.node = node
}

func (i *installCrash) found() *vfs.MemFS {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.image
}

// TestCrashWhileInstalling takes the power from a node that was given a snapshot in place of entries that were never
// committed, and of which the leader retains none any more: its machine must not be shown them as final.
func TestCrashWhileInstalling(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			c := newCluster(t, 3, smallWindow)
			crash := &installCrash{}
			c.wrap = crash.wrap
			c.startAll()
			want := c.fill(1, "before", 5, nil)
			c.agree(1, want)
			old := c.leader(1)
			crash.watch(old.number)
			for _, n := range c.nodes {
				n.disk.machine(1).keepFew()
			}
			c.isolate(old.number, true)
			g := old.node.Group(1)
			term := g.Leader().Term
			var lost []*Proposal
			for i := range 20 {
				p, err := g.Propose(entry(old.pool, fmt.Sprint("lost-", i), term), term)
				if err != nil {
					t.Fatalf("propose: %v", err)
				}
				lost = append(lost, p)
			}
			for _, p := range lost {
				_, _ = p.Wait() // unknown
			}
			before := old.disk.flushed()
			old.crash(rand.New(rand.NewPCG(1, 1)), 100)
			old.disk.replace(before)
			before = old.disk.flushed()
			old.disk.machine(1).keepFew()
			c.large(1, "meanwhile", 60, want)
			c.fill(0, "meta", 30, nil) // its window must not lie in the segments that are removed
			leader := c.leader(1)
			eventually(t, "a leader that retains little", time.Minute, func() error {
				var last error
				for _, s := range leader.log.Segments() {
					if last = leader.log.Remove(s.Number); last != nil {
						break
					}
				}
				if first := leader.log.Shard(1).RetainedFirst(); first < 25 {
					return fmt.Errorf("entries from %d on: %w", first, last)
				}
				return nil
			})
			pass(40 * time.Second) // what waits for the link by then begins with the snapshot
			c.isolate(old.number, false)
			old.start()
			eventually(t, "a crash", time.Minute, func() error {
				if crash.found() == nil {
					return fmt.Errorf("there is none, applied %d", old.disk.machine(1).Applied())
				}
				return nil
			})
			old.stop()
			old.mem = crash.found()
			if old.disk.forget(); flushed {
				old.disk.replace(before)
			}
			old.disk.machine(1).keepFew()
			old.start()
			c.must(1, "after")
			eventually(t, "the node is back", time.Minute, func() error {
				texts := old.disk.machine(1).list()
				if n := len(texts); n == 0 || texts[n-1] != "after" {
					return fmt.Errorf("it has %s", short(texts))
				}
				return nil
			})
			texts := old.disk.machine(1).list()
			for i, text := range texts {
				if strings.HasPrefix(text, "lost") || i < 5 && text != want[i] {
					t.Fatalf("text %d of %d is %q, which was never committed there", i, len(texts), text)
				}
			}
		})
	}
}
