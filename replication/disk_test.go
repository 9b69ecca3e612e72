package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

// faults are what the disks of a cluster do, by node.
type faults struct {
	hang, fail [4]atomic.Bool
	slow       [4]atomic.Int64 // nanoseconds a sync
}

func (f *faults) wrap(node int32, fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		default:
			return nil
		}
		for f.hang[node].Load() {
			pass(100 * time.Millisecond)
		}
		pass(time.Duration(f.slow[node].Load()))
		if f.fail[node].Load() {
			return syscall.EIO
		}
		return nil
	}))
}

func (f *faults) clear() {
	for i := range f.hang {
		f.hang[i].Store(false)
		f.fail[i].Store(false)
		f.slow[i].Store(0)
	}
}

func TestHungDiskOfLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		f := &faults{}
		c.wrap = f.wrap
		t.Cleanup(f.clear)
		c.startAll()
		want := c.fill(1, "before", 10, nil)
		old := c.leader(1)
		f.hang[old.number].Store(true)
		g := old.node.Group(1)
		term := g.Leader().Term
		p, err := g.Propose(entry(old.pool, "hangs", term), term)
		if err != nil {
			t.Fatalf("propose: %v", err)
		}
		began := time.Now()
		eventually(t, "another leader", 3*time.Second, func() error {
			for _, n := range c.nodes {
				if n != old && n.node.Group(1).Leader().Local {
					return nil
				}
			}
			return errors.New("none")
		})
		t.Logf("another leader after %v", time.Since(began))
		eventually(t, "the node is told to end", 3*time.Second, func() error {
			if old.fatalError() == nil {
				return errors.New("it is not")
			}
			return nil
		})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("told to end after %v", took)
		}
		f.hang[old.number].Store(false) // so that the simulated process can be ended
		pass(time.Second)               // until its call to the disk returns
		old.crash(rand.New(rand.NewPCG(1, 1)), 0)
		if _, err := p.Wait(); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("outcome on a hung disk: %v", err)
		}
		want = c.fill(1, "meanwhile", 10, want)
		old.start()
		eventually(t, "the node is back", 10*time.Second, func() error {
			if n := len(old.disk.machine(1).list()); n < len(want) {
				return fmt.Errorf("%d texts", n)
			}
			return nil
		})
	})
}

func TestFailingDisk(t *testing.T) {
	for _, role := range []string{"leader", "follower"} {
		t.Run(role, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				f := &faults{}
				c.wrap = f.wrap
				c.startAll()
				want := c.fill(1, "before", 10, nil)
				c.agree(1, want)
				leader := c.leader(1)
				bad := leader
				if role == "follower" {
					bad = c.nodes[leader.number%3+1]
				}
				f.fail[bad.number].Store(true)
				g := leader.node.Group(1)
				term := g.Leader().Term
				p, err := g.Propose(entry(leader.pool, "maybe", term), term)
				if err != nil {
					t.Fatalf("propose: %v", err)
				}
				eventually(t, "the node is told to end", 3*time.Second, func() error {
					if bad.fatalError() == nil {
						return errors.New("it is not")
					}
					return nil
				})
				f.fail[bad.number].Store(false)
				bad.crash(rand.New(rand.NewPCG(1, 1)), 0)
				if _, err := p.Wait(); err != nil && !errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("outcome: %v", err)
				}
				c.must(1, "meanwhile")
				bad.start()
				c.must(1, "after")
				eventually(t, "all agree", 10*time.Second, func() error {
					list := bad.disk.machine(1).list()
					if len(list) == 0 || list[len(list)-1] != "after" {
						return errors.New(short(list))
					}
					return nil
				})
			})
		})
	}
}

// TestFailingStable breaks the disk when only term and vote are to be stored.
func TestFailingStable(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		f := &faults{}
		c.wrap = f.wrap
		c.startAll()
		want := c.fill(1, "before", 10, nil)
		c.agree(1, want)
		leader := c.leader(1)
		voter := c.nodes[leader.number%3+1]
		f.fail[voter.number].Store(true)
		leader.crash(rand.New(rand.NewPCG(1, 1)), 0)
		eventually(t, "the voter is told to end", 3*time.Second, func() error {
			if voter.fatalError() == nil {
				return errors.New("it is not")
			}
			return nil
		})
		f.fail[voter.number].Store(false)
		voter.crash(rand.New(rand.NewPCG(1, 1)), 0)
		voter.start()
		leader.start()
		c.agree(1, c.fill(1, "after", 3, want))
	})
}

// TestCloseDuringFailedCatchUp ends a node whose catch-up waits for the vote's file while a write to that has failed
// (TestChaos, seeds 300-359, in which the node never ended).
func TestCloseDuringFailedCatchUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		f := &faults{}
		c.wrap = f.wrap
		t.Cleanup(f.clear)
		c.startAll()
		n := c.leader(1)
		g := n.node.Group(1)
		stable := g.current().store.stable
		f.fail[n.number].Store(true)
		var running sync.WaitGroup
		running.Go(func() { _ = stable.SetUint64([]byte("Test"), 1) })
		eventually(t, "the failed write", time.Minute, func() error {
			if n.fatalError() == nil {
				return errors.New("the node goes on")
			}
			return nil
		})
		j := &job{group: g, done: make(chan struct{}), cancel: func() {}}
		running.Go(func() {
			defer close(j.done)
			_, j.err = stable.Get([]byte("Test"))
		})
		g.catchup.job = j
		n.stop()
		running.Wait()
	})
}

func TestSlowDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallWindow)
		f := &faults{}
		c.wrap = f.wrap
		c.startAll()
		want := c.fill(1, "before", 10, nil)
		follower := c.nodes[c.leader(1).number%3+1]
		f.slow[follower.number].Store(int64(200 * time.Millisecond))
		want = c.fill(1, "slow", 100, want)
		c.agree(1, want)
		if err := follower.fatalError(); err != nil {
			t.Errorf("a slow disk is not a broken one: %v", err)
		}
		f.slow[follower.number].Store(0)
		c.agree(1, c.fill(1, "after", 10, want))
	})
}

func TestVoteIsOneValue(t *testing.T) {
	mem := vfs.NewCrashableMem()
	open := func(fs vfs.FS) *stableStore {
		stable, err := log.OpenStable(fs, "vote")
		if err != nil {
			t.Fatal(err)
		}
		return newStableStore(stable, newFailure(func(err error) { t.Fatal(err) }))
	}
	s := open(mem)
	vote := func(term uint64, candidate string) {
		if err := errors.Join(s.SetUint64([]byte(keyVoteTerm), term), s.Set([]byte(keyVoteFor), []byte(candidate))); err != nil {
			t.Fatal(err)
		}
	}
	vote(4, "a")
	if err := s.SetUint64([]byte(keyVoteTerm), 5); err != nil { // and the power fails before the candidate
		t.Fatal(err)
	}
	s = open(mem.CrashClone(vfs.CrashCloneCfg{}))
	term, err := s.GetUint64([]byte(keyVoteTerm))
	candidate, err2 := s.Get([]byte(keyVoteFor))
	if err != nil || err2 != nil || term != 4 || string(candidate) != "a" {
		t.Errorf("vote for %q in term %d (%v, %v), wanted a in 4", candidate, term, err, err2)
	}
	if !s.hasVoted(4) || s.hasVoted(5) {
		t.Error("hasVoted")
	}
}

func testSnapshot(t *testing.T, s *snapshots, index uint64, state []byte) {
	t.Helper()
	configuration := raft.Configuration{Servers: []raft.Server{{ID: "1-00", Address: "1-00"}}}
	to, err := s.Create(1, index, 3, configuration, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Write(state); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotFiles(t *testing.T) {
	mem := vfs.NewMem()
	s, err := openSnapshots(mem, "dir", testLogger(1), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	state := bytes.Repeat([]byte("state of something "), 50_000)
	for i := range uint64(4) {
		testSnapshot(t, s, 10+i, state[:len(state)-int(i)])
	}
	testSnapshot(t, s, 20, nil)
	s, err = openSnapshots(mem, "dir", testLogger(1), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Index != 20 || list[1].Index != 13 || list[1].Configuration.Servers[0].ID != "1-00" {
		t.Fatalf("list %+v, %v", list, err)
	}
	_, source, err := s.Open(list[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(source)
	if err != nil || !bytes.Equal(got, state[:len(state)-3]) {
		t.Errorf("%d bytes of state, %v", len(got), err)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

// TestSnapshotCorruption flips every byte of a file, and cuts it everywhere.
func TestSnapshotCorruption(t *testing.T) {
	mem := vfs.NewMem()
	s, err := openSnapshots(mem, "dir", testLogger(1), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	testSnapshot(t, s, 10, []byte("a small state"))
	name := path.Join("dir", s.newest().id()+snapshotSuffix)
	whole, err := readFile(mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		if err := writeFile(mem, name, b); err != nil {
			t.Fatal(err)
		}
		_, state, err := s.openState(name)
		if err == nil {
			_, err = io.ReadAll(state)
			err = errors.Join(err, state.Close())
		}
		if !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		check(fmt.Sprint("flip at ", i), b)
		check(fmt.Sprint("cut at ", i), whole[:i])
	}
}

func TestIdentity(t *testing.T) {
	mem := vfs.NewMem()
	first, err := OpenIdentity(mem, "a/b/data", 7)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenIdentity(mem, "a/b/data", 7)
	if err != nil || *again != *first || first.Incarnation == [16]byte{} {
		t.Errorf("%+v and %+v, %v", first, again, err)
	}
	if _, err := OpenIdentity(mem, "a/b/data", 8); err == nil || !strings.Contains(err.Error(), "belongs to node 7") {
		t.Errorf("folder of another node: %v", err)
	}
	b, err := readFile(mem, "a/b/data/identity", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		broken := bytes.Clone(b)
		broken[i] ^= 1
		if _, err := parseIdentity(broken); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("flip at %d: %v", i, err)
		}
		if _, err := parseIdentity(b[:i]); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	huge := bytes.Clone(b[:len(b)-4])
	binary.LittleEndian.PutUint32(huge[52:], 1<<31)
	if _, err := parseIdentity(binary.LittleEndian.AppendUint32(huge, record.Castagnoli(0, huge))); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("many members: %v", err)
	}
	if err := mem.MkdirAll("other/raft", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenIdentity(mem, "other", 7); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("raft state without an identity: %v", err)
	}
}

// TestLostState starts nodes of which a part of the folder is gone.
func TestLostState(t *testing.T) {
	for _, lost := range []string{"data/log", "data/raft"} {
		t.Run(path.Base(lost), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				c.startAll()
				c.agree(1, c.fill(1, "text", 5, nil))
				n := c.nodes[2]
				n.stop()
				if err := n.mem.RemoveAll(lost); err != nil {
					t.Fatal(err)
				}
				if err := n.tryStart(); err == nil || !strings.Contains(err.Error(), "empty the data folder") {
					t.Errorf("start without %s: %v", lost, err)
				}
			})
		})
	}
}

// FuzzCalls feeds bytes to the decoders of what other nodes say and of what the folder holds.
func FuzzCalls(f *testing.F) {
	member := transport.Peer{Node: 1, Incarnation: [16]byte{1}}
	f.Add((&formation{cluster: [16]byte{2}, dataShards: 3, members: []transport.Peer{member}, peers: []int32{1, 2}}).bytes())
	f.Add((&installRequest{shard: 1, term: 2, index: 3}).bytes())
	f.Add((&identityFile{Identity: Identity{Node: 1}, members: []transport.Peer{member}}).bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseFormation(b); err == nil && !bytes.Equal(g.bytes(), b) {
			t.Error("a formation is written otherwise than it was read")
		}
		if r, err := parseInstallRequest(b); err == nil && !bytes.Equal(r.bytes(), b) {
			t.Error("a request to install is written otherwise than it was read")
		}
		if len(b) > 4 { // with a right sum
			b = binary.LittleEndian.AppendUint32(b[:len(b)-4:len(b)-4], record.Castagnoli(0, b[:len(b)-4]))
		}
		_, _ = parseIdentity(b)
	})
}
