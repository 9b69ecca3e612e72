package replication

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

var everyCut = flag.Bool("cuts", false, "TestPowerCut: every step with every share of unsynced data and every set of nodes, not one of them")

var errPowerless = errors.New("this machine has no power")

// powerWork is how long the workload runs whose every step meets a loss of power.
const powerWork = 40 * time.Millisecond

// grid is what the machines' power comes from: it counts the steps of all disks, and takes
// the power from the victims before one of them. Syncs take a while, not always as long.
type grid struct {
	machines func(node int32) *machineDisk
	pipes    func(node int32)
	gone     chan struct{} // closed when the power went

	mu      sync.Mutex // guards all below; nothing waits under it
	random  *rand.Rand
	armed   bool
	fast    int32 // the node whose syncs take less time than those of the others; 0: they vary
	steps   int   // since it was armed
	at      int   // before which step, 0 for none
	victims []int32
	percent int
	disks   map[int32]*supply
	holds   map[int32]bool // whose log is not synced meanwhile
	images  map[int32]image
}

// supply is one life of one machine.
type supply struct {
	mem *vfs.MemFS
	off atomic.Bool
}

// image is what a machine finds when the power is back.
type image struct {
	mem     *vfs.MemFS
	machine *machineDisk // nil: nothing of it was flushed
}

func newGrid(c *testCluster, random *rand.Rand) *grid {
	g := &grid{
		gone: make(chan struct{}), random: random, disks: map[int32]*supply{}, holds: map[int32]bool{}, images: map[int32]image{},
		machines: func(node int32) *machineDisk { return &c.nodes[node].disk },
		pipes:    func(node int32) { c.pipes.Crash(fmt.Sprintf("node%d", node)) },
	}
	c.wrap = g.wrap
	return g
}

func (g *grid) wrap(node int32, fs vfs.FS) vfs.FS {
	s := &supply{mem: fs.(*vfs.MemFS)}
	g.mu.Lock()
	g.disks[node] = s
	g.mu.Unlock()
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return s.check()
		}
		sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		pass(g.step(node, sync))
		for sync && strings.HasSuffix(op.Path, ".segment") && g.isHeld(node) && !s.off.Load() {
			pass(time.Millisecond)
		}
		return s.check()
	}))
}

func (s *supply) check() error {
	if s.off.Load() {
		return errPowerless
	}
	return nil
}

// step counts a step, and returns how long it takes.
func (g *grid) step(node int32, sync bool) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed {
		return 0
	}
	if g.steps++; g.steps == g.at {
		g.cut()
	}
	switch {
	case !sync:
		return 0
	case g.fast == node:
		return 100 * time.Microsecond
	case g.fast != 0:
		return 6 * time.Millisecond
	}
	return []time.Duration{0, 100 * time.Microsecond, time.Millisecond, 6 * time.Millisecond}[g.random.IntN(4)]
}

// cut takes the power from the victims. What was acknowledged before is synced before. g.mu is held.
func (g *grid) cut() {
	for _, node := range g.victims {
		g.disks[node].off.Store(true)
		g.pipes(node)
	}
	for _, node := range g.victims {
		var i image
		if g.random.IntN(2) == 0 {
			i.machine = &machineDisk{machines: g.machines(node).flushed()}
		}
		i.mem = g.disks[node].mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: g.percent, RNG: g.random})
		g.images[node] = i
	}
	close(g.gone)
}

// arm begins to count steps. at is the step before which the power goes, 0 for none.
func (g *grid) arm(at int, victims []int32, percent int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.at, g.victims, g.percent = true, at, victims, percent
}

// disarm makes steps take no time and be counted no more, and returns how many there were.
func (g *grid) disarm() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	return g.steps
}

// hold keeps the syncs of a node's log from happening, or lets them.
func (g *grid) hold(node int32, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds[node] = held
}

func (g *grid) isHeld(node int32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.holds[node]
}

func (g *grid) life(node int32) *supply {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disks[node]
}

// bury ends the life of a machine without power, and gives it what it finds afterwards.
func (g *grid) bury(n *testNode) {
	n.mu.Lock()
	n.fatal = errPowerless
	n.mu.Unlock()
	n.cut.Store(true)
	n.stop()
	g.mu.Lock()
	i := g.images[n.number]
	g.mu.Unlock()
	n.mem = i.mem
	if i.machine == nil {
		n.disk.forget()
	} else {
		n.disk.replace(i.machine.machines)
	}
}

// formed returns the disks of a cluster that has been formed and has a little in its log.
func formed(t *testing.T) map[int32]*vfs.MemFS {
	disks := map[int32]*vfs.MemFS{}
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.startAll()
		c.agree(1, c.fill(1, "before", 3, nil))
		c.stopAll()
		for number, n := range c.nodes {
			disks[number] = n.mem
		}
	})
	return disks
}

// trial is one loss of power and what comes of it.
type trial struct {
	disks   map[int32]*vfs.MemFS
	seed    uint64
	step    int // 0: the power stays
	victims []int32
	percent int
	fast    int32 // the node with a fast disk, who is away afterwards; 0: that is left to the seed
	prepare func(*testNode)
}

func (r *trial) String() string {
	return fmt.Sprintf("seed %d, power of %v gone before step %d, %d %% of unsynced data left", r.seed, r.victims, r.step, r.percent)
}

// powered is a cluster that a trial is made with.
type powered struct {
	*testCluster
	grid      *grid
	random    *rand.Rand
	ledger    *ledger
	lock      chanLock // guards the nodes' lives against the proposers
	proposers []*proposer
	running   sync.WaitGroup
	cancel    context.CancelFunc
}

// begin starts a cluster on disks that were formed.
func (r *trial) begin(t *testing.T) (*powered, error) {
	random := rand.New(rand.NewPCG(r.seed, 5))
	entries, trailing := uint64(1000), uint64(1000)
	if random.IntN(3) == 0 { // with snapshots, and installed ones
		entries, trailing = uint64(4+random.IntN(30)), uint64(1+random.IntN(20))
	}
	c := newCluster(t, 3, func(config *Config) {
		config.SnapshotEntries, config.TrailingEntries = entries, trailing
		config.CommitTimeout = 100 * time.Millisecond // so that much is told of what is not durable when a gate is open
	})
	p := &powered{testCluster: c, grid: newGrid(c, rand.New(rand.NewPCG(r.seed, 6))), random: random, lock: make(chanLock, 1), ledger: &ledger{applied: map[record.Index]Committed{}}}
	p.grid.fast = r.fast
	c.direct = r.seed%2 == 1
	c.prepare, c.segmentBytes = r.prepare, 64<<10
	for number, n := range c.nodes {
		n.mem = r.disks[number].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: random})
		n.disk.ledger = p.ledger
	}
	c.startAll()
	c.pipes.SetLatency(time.Duration(random.IntN(400)) * time.Microsecond)
	return p, within("a leader", 20*time.Second, func() error {
		if p.leading() == nil {
			return errors.New("nobody leads")
		}
		return nil
	})
}

// leading returns a node that leads, or nil. The lock is held, or no life changes.
func (p *powered) leading() *testNode {
	for _, n := range p.nodes {
		if n.up && !p.grid.life(n.number).off.Load() && n.node.Group(1).Leader().Local {
			return n
		}
	}
	return nil
}

// work proposes from several sides until it is cancelled.
func (p *powered) work(t *testing.T, seed uint64) {
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	for i := range 3 {
		w := &proposer{name: fmt.Sprint("p", i), unknown: map[string]bool{}}
		p.proposers = append(p.proposers, w)
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		p.running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				w.try(p, fmt.Sprintf("%s:%06d", w.name, i), random)
			}
		})
	}
}

// try proposes one text, where it can. What a machine without power says does not count.
func (p *proposer) try(c *powered, text string, random *rand.Rand) {
	if random.IntN(6) == 0 {
		text += strings.Repeat("x", random.IntN(20_000))
	}
	c.lock.Lock()
	at := c.leading()
	if at == nil {
		c.lock.Unlock()
		pass(10 * time.Millisecond)
		return
	}
	g, pool, life := at.node.Group(1), at.pool, c.grid.life(at.number)
	c.lock.Unlock()
	term := g.Leader().Term
	proposal, err := g.Propose(entry(pool, text, term), term)
	if err == nil {
		_, err = proposal.Wait()
	}
	switch {
	case err == nil && !life.off.Load():
		p.acked = append(p.acked, text)
	case errors.Is(err, ErrNotLeader):
	default:
		p.unknown[text] = true
	}
	select {
	case <-c.grid.gone:
		pass(time.Duration(20+random.IntN(60)) * time.Millisecond) // what comes now needs not be much
	default:
		pass(time.Duration(random.IntN(2000)) * time.Microsecond)
	}
}

// within waits in virtual time until check returns nil.
func within(what string, atMost time.Duration, check func() error) error {
	deadline := time.Now().Add(atMost)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, atMost, err)
		}
		pass(5 * time.Millisecond)
	}
}

// run makes the trial and returns how many steps the workload took, and what was found to be wrong.
func (r *trial) run(t *testing.T) (int, error) {
	p, err := r.begin(t)
	if err != nil {
		return 0, err
	}
	p.grid.arm(r.step, r.victims, r.percent)
	p.work(t, r.seed)
	timer := time.NewTimer(powerWork)
	if r.step > 0 {
		timer.Reset(10 * powerWork)
	}
	select {
	case <-p.grid.gone:
		pass(time.Duration(p.random.IntN(10)) * time.Millisecond) // the others go on
	case <-timer.C:
	}
	steps := p.grid.disarm()
	err = p.comeBack(r.victims, r.fast)
	p.cancel()
	p.running.Wait()
	if err == nil {
		err = p.finish()
	}
	return steps, err
}

// comeBack gives the victims their power back, but keeps the late node, 0 for any, away for
// as long as the other two need to agree without it.
func (p *powered) comeBack(victims []int32, late int32) error {
	select {
	case <-p.grid.gone:
	default:
		return nil // the workload took fewer steps
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	if late == 0 {
		late = int32(1 + p.random.IntN(3))
	}
	if !slices.Contains(victims, late) {
		p.isolate(late, true)
	}
	for _, number := range victims {
		p.grid.bury(p.nodes[number])
	}
	order := slices.Clone(victims)
	p.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, number := range order {
		if number == late {
			continue
		}
		if err := p.nodes[number].tryStart(); err != nil {
			return fmt.Errorf("start node %d: %w", number, err)
		}
		pass(time.Duration(p.random.IntN(200)) * time.Millisecond)
	}
	p.lock.Unlock()
	pass(2 * time.Second)
	p.lock.Lock()
	p.pipes.Heal()
	if n := p.nodes[late]; !n.up {
		if err := n.tryStart(); err != nil {
			return fmt.Errorf("start node %d late: %w", late, err)
		}
	}
	return nil
}

// finish waits until all nodes agree, and checks what they agree on.
func (p *powered) finish() error {
	const end = "the end"
	err := within("the last proposal", 30*time.Second, func() error {
		n := p.leading()
		if n == nil {
			return errors.New("nobody leads")
		}
		return n.propose(1, end)
	})
	if err != nil {
		return errors.Join(err, p.ledger.dispute())
	}
	lists := map[int32][]string{}
	err = within("all nodes at the end", 30*time.Second, func() error {
		for number, n := range p.nodes {
			if err := n.fatalError(); err != nil {
				return fmt.Errorf("node %d: %w", number, err)
			}
			list := n.disk.machine(1).list()
			if len(list) == 0 || list[len(list)-1] != end {
				return fmt.Errorf("node %d has %d texts: %s", number, len(list), short(list))
			}
			lists[number] = list
		}
		return nil
	})
	if err == nil {
		err = p.compare(lists)
	}
	return errors.Join(err, p.ledger.dispute())
}

// compare checks that all lists are the same and hold everything that was acknowledged, in order.
func (p *powered) compare(lists map[int32][]string) error {
	for number := range maps.Keys(lists) {
		if !slices.Equal(lists[number], lists[1]) {
			return fmt.Errorf("node %d and node 1 differ: %d and %d texts", number, len(lists[number]), len(lists[1]))
		}
	}
	have := map[string]int{}
	for i, text := range lists[1] {
		if at, twice := have[text]; twice {
			return fmt.Errorf("%.20s is there at %d and %d", text, at, i)
		}
		have[text] = i
	}
	for _, w := range p.proposers {
		last := -1
		for _, text := range w.acked {
			at, ok := have[text]
			if !ok {
				return fmt.Errorf("acknowledged %.20s is lost", text)
			}
			if at < last {
				return fmt.Errorf("%.20s is out of order", text)
			}
			last = at
		}
	}
	return nil
}

// TestPowerCut takes the power before each step that the disks of three nodes take under a
// short workload: from one node, two or all, with none, half or all of what was not synced left.
func TestPowerCut(t *testing.T) {
	disks := formed(t)
	steps := 0
	for seed := range uint64(3) { // the length varies
		inBubble(t, func(t *testing.T) {
			r := trial{disks: disks, seed: seed}
			n, err := r.run(t)
			if err != nil {
				t.Fatalf("without a loss of power: %v", err)
			}
			steps = max(steps, n)
		})
	}
	if steps < 60 {
		t.Fatalf("the workload takes %d steps only", steps)
	}
	sets := victimSets()
	percents := []int{0, 50, 100}
	trials := 0
	for step := 1; step <= steps; step++ {
		for i := range len(sets) * len(percents) {
			if *everyCut || i == step%(len(sets)*len(percents)) {
				r := trial{disks: disks, seed: uint64(step), step: step, victims: sets[i%len(sets)], percent: percents[i%len(percents)], fast: int32(step % 4)}
				r.check(t)
				trials++
			}
		}
	}
	t.Logf("%d losses of power in %d steps", trials, steps)
}

func victimSets() [][]int32 { return [][]int32{{1, 2, 3}, {1}, {1, 2}, {2}, {1, 3}, {3}, {2, 3}} }

// check makes a trial that must end well.
func (r *trial) check(t *testing.T) {
	t.Helper()
	inBubble(t, func(t *testing.T) {
		if _, err := r.run(t); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	})
}
