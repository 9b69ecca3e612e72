package replication

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

// gateCase holds an entry in a gate, by the disk that it waits for, and changes the leader
// meanwhile. Nodes are named by what they are at the beginning: the leader, a follower
// and the other one.
type gateCase struct {
	name    string
	held    gateRole   // whose log is not synced
	away    gateRole   // who does not get the entry
	victims []gateRole // who then loses what was not synced
	then    gateRole   // who is away while the next leader is elected
	stand   gateRole   // who stands at once
}

const (
	nobody gateRole = iota
	leader
	follower
	other
)

// gateRole is a part in a gateCase.
type gateRole int

func gateCases() []gateCase {
	return []gateCase{
		{"the follower leads with it", follower, other, nil, leader, follower},
		{"the follower loses it", follower, other, []gateRole{follower}, leader, nobody},
		{"leader and follower lose power", follower, other, []gateRole{leader, follower}, leader, nobody},
		{"all lose power, the follower held", follower, other, []gateRole{leader, follower, other}, leader, nobody},
		{"a follower leads with what the leader has not synced", leader, nobody, nil, nobody, follower},
		{"the leader is away", leader, nobody, nil, leader, follower},
		{"the leader loses it, the follower is away", leader, other, []gateRole{leader}, follower, nobody},
		{"the leader loses it", leader, other, []gateRole{leader}, nobody, nobody},
		{"all lose power, the leader held", leader, other, []gateRole{leader, follower, other}, follower, nobody},
	}
}

// run makes one case and returns what was found to be wrong.
func (gc *gateCase) run(t *testing.T, disks map[int32]*vfs.MemFS, prepare func(*testNode)) error {
	r := trial{disks: disks, seed: 1, prepare: prepare} // without snapshots
	p, err := r.begin(t)
	if err != nil {
		return err
	}
	first := p.leading()
	nodes := map[gateRole]*testNode{leader: first, follower: p.nodes[first.number%3+1], other: p.nodes[(first.number+1)%3+1]}
	if gc.away != nobody {
		p.isolate(nodes[gc.away].number, true)
	}
	p.grid.hold(nodes[gc.held].number, true)
	const text = "in the gate"
	w := &proposer{name: "gate", unknown: map[string]bool{}}
	p.proposers = append(p.proposers, w)
	g := first.node.Group(1)
	term := g.Leader().Term
	proposal, err := g.Propose(entry(first.pool, text, term), term)
	if err != nil {
		return err
	}
	pass(150 * time.Millisecond)
	var early error
	select {
	case <-proposal.done:
		if proposal.err == nil {
			w.acked = append(w.acked, text)
			early = errors.New("it was acknowledged before a majority and the leader had it")
		}
	default:
	}
	for number, n := range p.nodes {
		if slices.Contains(n.disk.machine(1).list(), text) {
			early = errors.Join(early, fmt.Errorf("node %d has applied what is not durable on its leader and a majority", number))
		}
	}
	if early != nil {
		p.grid.hold(nodes[gc.held].number, false)
		pass(100 * time.Millisecond)
		return early // what a cluster does then is anybody's guess: raft may turn in circles
	}
	return errors.Join(gc.change(p, nodes), p.finish())
}

// change takes the power from the victims and has another node lead.
func (gc *gateCase) change(p *powered, nodes map[gateRole]*testNode) error {
	var victims []int32
	for _, v := range gc.victims {
		victims = append(victims, nodes[v].number)
	}
	if len(victims) > 0 {
		p.grid.arm(1, victims, 0)
		p.grid.step(0, false)
		p.grid.disarm()
		for _, number := range victims {
			p.grid.bury(p.nodes[number])
		}
	}
	p.pipes.Heal()
	if gc.then != nobody {
		p.isolate(nodes[gc.then].number, true)
	}
	if gc.stand != nobody {
		pass(20 * time.Millisecond) // until the node is connected
		nodes[gc.stand].node.Group(1).current().stand()
		pass(50 * time.Millisecond)
	}
	p.grid.hold(nodes[gc.held].number, false)
	for _, number := range victims {
		if gc.then != nobody && number == nodes[gc.then].number {
			continue
		}
		if err := p.nodes[number].tryStart(); err != nil {
			return fmt.Errorf("start node %d: %w", number, err)
		}
	}
	pass(2 * time.Second)
	p.pipes.Heal()
	if gc.then != nobody && slices.Contains(gc.victims, gc.then) {
		if err := nodes[gc.then].tryStart(); err != nil {
			return fmt.Errorf("start node %d late: %w", nodes[gc.then].number, err)
		}
	}
	return nil
}

// TestLeaderChangeInGate changes the leader while an entry waits for the disk of one node.
func TestLeaderChangeInGate(t *testing.T) {
	disks := formed(t)
	for _, gc := range gateCases() {
		inBubble(t, func(t *testing.T) {
			if err := gc.run(t, disks, nil); err != nil {
				t.Errorf("%s: %v", gc.name, err)
			}
		})
	}
}

// TestOnlyCommandsPassEarly has a node become the leader whose log is not synced: it must not count itself, so its term's
// first entry is not committed; and the other way, it is when raft's own entries pass as commands do.
func TestOnlyCommandsPassEarly(t *testing.T) {
	disks := formed(t)
	for _, own := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			r := trial{disks: disks, seed: 1, prepare: func(n *testNode) { n.node.open = gates{own: own} }}
			p, err := r.begin(t)
			if err != nil {
				t.Fatal(err)
			}
			first := p.leading()
			next := p.nodes[first.number%3+1]
			if err := within("a quiet log", time.Second, func() error {
				if s := next.node.Group(1).Status(); s.Commit != s.Last || s.Commit != first.node.Group(1).Status().Last {
					return fmt.Errorf("%+v", s)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			p.grid.hold(next.number, true)
			p.isolate(first.number, true)
			in := next.node.Group(1).current()
			before := record.Index(in.raft.CommitIndex())
			in.stand()
			pass(300 * time.Millisecond)
			if in.raft.State() != raft.Leader {
				t.Fatal("the node does not lead")
			}
			early := record.Index(in.raft.CommitIndex()) > before
			if early != own {
				t.Errorf("own entries pass early: %v; entry %d of %d is committed, %d is durable", own, in.raft.CommitIndex(), in.raft.LastIndex(), next.log.Shard(1).Durable())
			}
			p.grid.hold(next.number, false)
			p.pipes.Heal()
			if err := p.finish(); err != nil && !own {
				t.Error(err)
			}
		})
	}
}

// enoughSeeds is within how many losses of power at random an open gate must be noticed.
const enoughSeeds = 300

// TestOpenGateIsNoticed opens each gate in turn: the tests above must not pass then.
func TestOpenGateIsNoticed(t *testing.T) {
	disks := formed(t)
	for name, open := range map[string]gates{"success": {success: true}, "applied": {applied: true}, "commit": {commit: true}} {
		t.Run(name, func(t *testing.T) {
			prepare := func(n *testNode) { n.node.open = open }
			noticed := 0
			for _, gc := range gateCases() {
				inBubble(t, func(t *testing.T) {
					if err := gc.run(t, disks, prepare); err != nil {
						t.Logf("%s: %v", gc.name, err)
						noticed++
					}
				})
			}
			if noticed == 0 {
				t.Error("no change of the leader noticed it")
			}
			var err error
			seed := uint64(0)
			for ; seed < enoughSeeds && err == nil; seed++ {
				inBubble(t, func(t *testing.T) { err = atRandom(disks, seed, prepare).runOnly(t) })
			}
			if err == nil {
				t.Errorf("%d losses of power did not notice it", enoughSeeds)
			}
			t.Logf("noticed by seed %d: %v", seed, err)
		})
	}
}

// atRandom is a loss of power at a step that the seed chooses, of all that is not synced. One node's
// disk is faster than the others, so that it often has what they have not.
func atRandom(disks map[int32]*vfs.MemFS, seed uint64, prepare func(*testNode)) *trial {
	random := rand.New(rand.NewPCG(seed, 7))
	fast := int32(1 + random.IntN(3))
	victims := []int32{1, 2, 3}
	if random.IntN(2) == 0 {
		victims = slices.DeleteFunc(victims, func(node int32) bool { return node == fast })
	}
	return &trial{disks: disks, seed: seed, step: 1 + random.IntN(60), victims: victims, fast: fast, prepare: prepare}
}

func (r *trial) runOnly(t *testing.T) error {
	_, err := r.run(t)
	return err
}
