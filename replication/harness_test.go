package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/directdisk"
	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

const noteText = 7 // the kind of note that these tests propose

// listMachine is a StateMachine that keeps a list of texts. Like a real one it keeps
// it durably: in the disk of its node, which loses it when the disk is wiped.
type listMachine struct {
	mu       sync.Mutex // guards all below
	texts    []string
	applied  record.Index
	led      record.Term
	leads    int
	restores int
	visited  int          // entries that the last Restore was shown
	broken   error        // what Restore returns, late
	slow     atomic.Int64 // how long Applied takes, in ns
	ledger   *ledger
	few      bool // retention removed some entries: what Restore finds may be less than the state says
}

// ledger is what any node has ever applied, in any of its lives. Nil keeps nothing.
type ledger struct {
	mu       sync.Mutex // guards all below
	applied  map[record.Index]Committed
	disputed error // the first entry of which two are told
}

func (l *ledger) note(e Committed) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Tail = slices.Clone(e.Tail)
	before, ok := l.applied[e.Index]
	if !ok {
		l.applied[e.Index] = e
		return
	}
	if l.disputed == nil && (before.Term != e.Term || !slices.Equal(before.Tail, e.Tail)) {
		l.disputed = fmt.Errorf("entry %d was applied as one of term %d and as one of term %d", e.Index, before.Term, e.Term)
	}
}

func (l *ledger) dispute() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.disputed
}

func (m *listMachine) Apply(entries []Committed) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	errs := make([]error, len(entries))
	for i, e := range entries {
		if e.Index <= m.applied {
			panic(fmt.Sprintf("BUG: entry %d applied again after %d", e.Index, m.applied))
		}
		m.applied = e.Index
		m.ledger.note(e)
		if e.Tail == nil {
			continue
		}
		texts, err := textsOf(e)
		if err != nil {
			errs[i] = err
			continue
		}
		m.texts = append(m.texts, texts...)
	}
	return errs
}

var errRefused = errors.New("refused by the machine")

func textsOf(e Committed) ([]string, error) {
	tail, err := record.ParseTail(e.Tail)
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err))
	}
	if tail.Term != e.Term {
		return nil, ErrSkipped
	}
	var texts []string
	for note := range tail.Notes() {
		if string(note.Body) == "refuse" {
			return nil, errRefused
		}
		texts = append(texts, string(note.Body))
	}
	return texts, nil
}

// delay has Applied take so long.
func (m *listMachine) delay(d time.Duration) { m.slow.Store(int64(d)) }

func (m *listMachine) Applied() record.Index {
	pass(time.Duration(m.slow.Load()))
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

func (m *listMachine) Snapshot() (func(io.Writer) error, func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := binary.LittleEndian.AppendUint64(nil, uint64(len(m.texts)))
	write := func(w io.Writer) error {
		_, err := w.Write(state)
		return err
	}
	return write, func() {}, nil
}

// Restore remakes the list from the entries, as a real machine remakes its index, and
// compares its length with the state's.
func (m *listMachine) Restore(state io.Reader, at record.Index, entries func(func(Committed) error) error) error {
	b, err := io.ReadAll(state)
	if err != nil {
		return err
	}
	var texts []string
	visited := 0
	var seen []record.Index
	next := record.Index(0)
	err = entries(func(e Committed) error {
		visited++
		seen = append(seen, e.Index)
		if e.Index < next || e.Index > at {
			return fmt.Errorf("entry %d after %d, at most %d", e.Index, next, at)
		}
		next = e.Index + 1
		if e.Tail == nil {
			return nil
		}
		more, err := textsOf(e)
		if err == nil {
			texts = append(texts, more...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if want := binary.LittleEndian.Uint64(b); want != uint64(len(texts)) && !m.keepsFew() {
		return fmt.Errorf("restored %d texts from %d entries up to %d, the snapshot had %d; entries %v", len(texts), visited, at, want, seen)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	m.texts, m.applied, m.visited = texts, at, visited
	m.restores++
	return nil
}

// keepFew tells that retention has removed entries.
func (m *listMachine) keepFew() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.few = true
}

func (m *listMachine) keepsFew() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.few
}

// damage has Restore return err.
func (m *listMachine) damage(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

func (m *listMachine) Lead(term record.Term) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.led != 0 {
		panic("BUG: Lead after Lead")
	}
	m.led = term
	m.leads++
}

func (m *listMachine) Follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.led == 0 {
		panic("BUG: Follow without Lead")
	}
	m.led = 0
}

func (m *listMachine) list() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.texts)
}

func (m *listMachine) leading() record.Term {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.led
}

// machineDisk keeps what a real machine would have on disk: it survives a restart.
type machineDisk struct {
	mu       sync.Mutex // guards machines
	machines map[record.Shard]*listMachine
	ledger   *ledger
}

func (d *machineDisk) machine(shard record.Shard) *listMachine {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[shard]
	if m == nil {
		m = &listMachine{}
		if shard == 1 {
			m.ledger = d.ledger
		}
		d.machines[shard] = m
	}
	return m
}

// flushed returns the machines as they are now, as a disk would have them.
func (d *machineDisk) flushed() map[record.Shard]*listMachine {
	d.mu.Lock()
	defer d.mu.Unlock()
	machines := map[record.Shard]*listMachine{}
	for shard, m := range d.machines {
		m.mu.Lock()
		machines[shard] = &listMachine{texts: slices.Clone(m.texts), applied: m.applied, ledger: m.ledger}
		m.mu.Unlock()
	}
	return machines
}

// replace makes the machines those that were flushed, none for a node that had flushed nothing.
func (d *machineDisk) replace(machines map[record.Shard]*listMachine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.machines = machines
}

// forget makes the machines begin anew, as if their state had never been flushed.
func (d *machineDisk) forget() { d.replace(map[record.Shard]*listMachine{}) }

// testNode is one node: its disk, and its present life.
type testNode struct {
	t       *testing.T
	cluster *testCluster
	number  int32
	mem     *vfs.MemFS
	disk    machineDisk
	pool    *frame.Pool
	log     *log.Log
	node    *Node
	up      bool
	cut     *atomic.Bool // the present life has no network any more

	mu    sync.Mutex // guards all below
	fatal error
	lives int
}

type testCluster struct {
	t            *testing.T
	pipes        *network.Pipes
	tcp          bool
	peers        map[int32]string
	nodes        map[int32]*testNode
	adjust       func(*Config)
	wrap         func(int32, vfs.FS) vfs.FS
	segmentBytes int64
	direct       bool // logs are written past the page cache of strict disks
	// prepare is told of each new life of a node before it starts; nil: nobody.
	prepare func(*testNode)
}

func newCluster(t *testing.T, size int, adjust func(*Config)) *testCluster {
	c := &testCluster{t: t, pipes: network.NewPipes(), peers: map[int32]string{}, nodes: map[int32]*testNode{}, adjust: adjust, segmentBytes: 1 << 20}
	for i := range int32(size) {
		c.peers[i+1] = fmt.Sprintf("node%d:1", i+1)
	}
	for i := range int32(size) {
		c.nodes[i+1] = &testNode{
			t: t, cluster: c, number: i + 1, mem: vfs.NewCrashableMem(),
			disk: machineDisk{machines: map[record.Shard]*listMachine{}},
		}
	}
	t.Cleanup(c.stopAll)
	return c
}

func (c *testCluster) network(node int32) network.Network {
	if c.tcp {
		return network.TCP()
	}
	return c.pipes.Host(fmt.Sprintf("node%d", node))
}

func (c *testCluster) startAll() {
	for i := range int32(len(c.nodes)) {
		c.nodes[i+1].start()
	}
}

func (c *testCluster) stopAll() {
	for _, n := range c.nodes {
		n.stop()
	}
}

func testLogger(node int32) *slog.Logger {
	if os.Getenv("STELA_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	level := slog.LevelInfo
	if os.Getenv("STELA_TEST_LOG") == "debug" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("on", node)
}

func (n *testNode) start() {
	n.t.Helper()
	if err := n.tryStart(); err != nil {
		n.t.Fatalf("start node %d: %v", n.number, err)
	}
}

func (n *testNode) tryStart() error {
	var fs vfs.FS = n.mem
	if n.cluster.wrap != nil {
		fs = n.cluster.wrap(n.number, fs)
	}
	if n.cluster.direct {
		fs = &directdisk.Disk{FS: fs}
	}
	logger := testLogger(n.number)
	identity, err := OpenIdentity(fs, "data", n.number)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.fatal = nil
	n.lives++
	life := n.lives
	n.mu.Unlock()
	fatal := func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.fatal == nil && n.lives == life {
			n.fatal = err
		}
	}
	n.pool = frame.NewPool(0)
	n.log, err = log.Open(log.Config{
		FS: fs, Dir: "data/log", Incarnation: identity.Incarnation, SegmentBytes: n.cluster.segmentBytes, TailBytes: 1 << 20,
		Pool: n.pool, Logger: logger, Fatal: fatal, Direct: n.cluster.direct,
	})
	if err != nil {
		return err
	}
	host := n.cluster.network(n.number)
	cut := new(atomic.Bool)
	n.cut = cut
	dial := host.Dial
	host.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		if cut.Load() {
			return nil, syscall.ENETDOWN
		}
		return dial(ctx, address)
	}
	config := Config{
		Identity: *identity, Peers: n.cluster.peers, Network: host,
		FS: fs, Dir: "data", Log: n.log, Pool: n.pool, Logger: logger, Fatal: fatal,
	}
	if n.cluster.adjust != nil {
		n.cluster.adjust(&config)
	}
	n.node, err = New(config)
	if err == nil {
		if n.cluster.prepare != nil {
			n.cluster.prepare(n)
		}
		n.node.Handle(1, func(_ context.Context, from int32, request []byte) ([]byte, error) {
			if len(request) == 0 {
				return nil, errRefused
			}
			return append(request, fmt.Sprint(" from ", from)...), nil
		})
		err = n.node.Start(func(shard record.Shard) StateMachine { return n.disk.machine(shard) })
	}
	n.up = true
	if err != nil {
		n.stop()
	}
	return err
}

func (n *testNode) fatalError() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fatal
}

// stop closes the node in order.
func (n *testNode) stop() {
	if !n.up {
		return
	}
	n.up = false
	if n.node != nil {
		if err := n.node.Close(); err != nil && n.fatalError() == nil {
			n.t.Errorf("close node %d: %v", n.number, err)
		}
		n.node = nil
	}
	if err := n.log.Close(); err != nil && n.fatalError() == nil {
		n.t.Errorf("close the log of node %d: %v", n.number, err)
	}
}

// crash cuts the power: what was not synced is lost, at the random's choice.
func (n *testNode) crash(random *rand.Rand, percent int) {
	n.cut.Store(true) // what this life says from here on does not count
	clone := n.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
	n.cluster.pipes.Crash(fmt.Sprintf("node%d", n.number))
	n.stop() // the old life ends on the old disk, without a network
	n.mem = clone
	n.disk.forget() // nothing of it was flushed but by snapshots
}

// wipe replaces the disk of a stopped node.
func (n *testNode) wipe() {
	n.mem = vfs.NewCrashableMem()
	n.disk.forget()
}

// pass lets time pass, virtual time in all tests but those that use the operating system's network.
func pass(d time.Duration) { time.Sleep(d) }

// eventually waits in virtual time until check returns nil.
func eventually(t *testing.T, what string, atMost time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(atMost)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, atMost, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// leader waits for a leader of the shard that is up and has told its machine so.
func (c *testCluster) leader(shard record.Shard) *testNode {
	c.t.Helper()
	var found *testNode
	eventually(c.t, fmt.Sprintf("a leader of shard %d", shard), 30*time.Second, func() error {
		for _, n := range c.nodes {
			if n.up && n.node.Group(shard).Leader().Local && n.disk.machine(shard).leading() != 0 {
				found = n
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return found
}

// entry makes an entry of one note.
func entry(pool *frame.Pool, text string, term record.Term) *frame.Frame {
	notes := record.AppendNote(nil, noteText, []byte(text))
	b := record.AppendTail(nil, nil, notes, term)
	f := pool.Get(len(b))
	copy(f.Bytes(), b)
	return f
}

// propose proposes a text on a node that leads and waits for the outcome.
func (n *testNode) propose(shard record.Shard, text string) error {
	g := n.node.Group(shard)
	term := g.Leader().Term
	p, err := g.Propose(entry(n.pool, text, term), term)
	if err != nil {
		return err
	}
	_, err = p.Wait()
	return err
}

// must proposes a text wherever the leader is, until it is applied.
func (c *testCluster) must(shard record.Shard, text string) {
	c.t.Helper()
	for range 100 {
		err := c.leader(shard).propose(shard, text)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrNotLeader) {
			c.t.Fatalf("propose %q: %v", text, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("%q was not taken", text)
}

// agree waits until all nodes that are up have exactly the wanted texts.
func (c *testCluster) agree(shard record.Shard, want []string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("agreement on %d texts", len(want)), time.Minute, func() error {
		for _, n := range c.nodes {
			if !n.up {
				continue
			}
			if err := n.fatalError(); err != nil {
				c.t.Fatalf("node %d: %v", n.number, err)
			}
			if got := n.disk.machine(shard).list(); !slices.Equal(got, want) {
				return fmt.Errorf("node %d has %d texts %s, wanted %d", n.number, len(got), short(got), len(want))
			}
		}
		return nil
	})
}

func short(texts []string) string {
	if len(texts) > 6 {
		return strings.Join(texts[:3], " ") + " ... " + strings.Join(texts[len(texts)-3:], " ")
	}
	return strings.Join(texts, " ")
}

// inBubble runs f in virtual time, and fails if anything is left running.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
