package simtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server"
)

const (
	dataFolder   = "data"
	clientHost   = "client"
	kafkaPort    = 9092
	httpPort     = 9644
	clusterPort  = 33145
	simSegment   = 16 << 20
	simTail      = 2 << 20
	settleWithin = 2 * time.Minute
)

// Cluster is a few simulated machines, each with a disk and, while it is on, a node.
type Cluster struct {
	Pipes    *network.Pipes
	machines []*machine
	shards   int
	tight    bool
	logger   *slog.Logger
}

const (
	// What a tight cluster has.
	tightSnapshot  = 50
	tightTrailing  = 10
	tightRetention = 5 * time.Second
)

// Tight makes snapshots so frequent and what Raft keeps at hand so little that, within minutes, nodes go over to snapshots and
// fetch what lies before. Before the first Boot. (Segments are as small as a server lets them be in any case.)
func (c *Cluster) Tight() { c.tight = true }

// Direct has the nodes write past the page cache of disks that accept only what is aligned. Before the first Boot.
func (c *Cluster) Direct() {
	for _, m := range c.machines {
		m.disk.direct = true
	}
}

type machine struct {
	id     int32
	disk   *Disk
	server *server.Server // nil while off
	done   chan error     // what Run returned
	stop   context.CancelFunc
	died   chan error // the node's own end, by Fatal
}

func hostOf(id int32) string { return fmt.Sprint("n", id) }

// NewCluster returns machines 1 to nodes, all off, with empty disks.
func NewCluster(nodes, dataShards int, logger *slog.Logger) *Cluster {
	c := &Cluster{Pipes: network.NewPipes(), shards: dataShards, logger: logger}
	c.Pipes.SetLatency(200 * time.Microsecond)
	for id := range int32(nodes) {
		c.machines = append(c.machines, &machine{id: id + 1, disk: NewDisk()})
	}
	return c
}

// Boot turns a machine on. An error means that the node refused its disk.
func (c *Cluster) Boot(id int32) error {
	m := c.machines[id-1]
	if m.server != nil {
		return nil
	}
	peers := map[int32]string{}
	for _, other := range c.machines {
		peers[other.id] = fmt.Sprintf("%s:%d", hostOf(other.id), clusterPort)
	}
	if len(c.machines) == 1 {
		peers = nil
	}
	host := hostOf(id)
	m.died = make(chan error, 1)
	died := m.died
	config := server.Config{
		Node: id, Data: dataFolder, Peers: peers, DataShards: c.shards,
		Kafka:   []server.Listener{{Bind: fmt.Sprintf("%s:%d", host, kafkaPort)}},
		HTTP:    fmt.Sprintf("%s:%d", host, httpPort),
		Storage: m.disk.Boot(), Network: c.Pipes.Host(host), Logger: c.logger.With("node", id),
		SegmentBytes: simSegment, TailBytes: simTail, DirectIO: m.disk.direct,
		Fatal: func(err error) { died <- err },
	}
	if c.tight {
		config.Timing.Raft = server.Raft{SnapshotEntries: tightSnapshot, TrailingEntries: tightTrailing}
		config.Timing.Retention = tightRetention
	}
	node, err := server.New(config)
	if err != nil {
		return fmt.Errorf("boot node %d: %w", id, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.server, m.stop, m.done = node, stop, make(chan error, 1)
	done := m.done
	go func() { done <- node.Run(ctx) }() // ends after stop, or with the node's own end
	return nil
}

// On reports whether a machine runs.
func (c *Cluster) On(id int32) bool { return c.machines[id-1].server != nil }

// Crash cuts a machine's power: of what was not synced about percent is kept.
func (c *Cluster) Crash(id int32, random *rand.Rand, percent int) {
	m := c.machines[id-1]
	if m.server == nil {
		return
	}
	c.Pipes.Crash(hostOf(id)) // first: what is synced from here on is lost, and must not be acknowledged
	m.disk.Crash(random, percent)
	c.bury(m)
}

// Kill ends a machine's process as kill -9 does: what it wrote stays, synced or not.
func (c *Cluster) Kill(id int32) {
	m := c.machines[id-1]
	if m.server == nil {
		return
	}
	m.disk.Detach()
	c.Pipes.Crash(hostOf(id))
	c.bury(m)
}

// Stop shuts a machine down in order.
func (c *Cluster) Stop(id int32) error {
	m := c.machines[id-1]
	if m.server == nil {
		return nil
	}
	m.stop()
	err := <-m.done
	m.disk.Detach()
	m.server = nil
	return err
}

// Wipe replaces a machine's disk by an empty one; the machine must be off.
func (c *Cluster) Wipe(id int32) { c.machines[id-1].disk.Wipe() }

// DropIndex deletes the index of a machine that is off.
func (c *Cluster) DropIndex(id int32) error { return c.machines[id-1].disk.RemoveFolders("index") }

// Disk returns a machine's disk.
func (c *Cluster) Disk(id int32) *Disk { return c.machines[id-1].disk }

// Died returns why a node ended itself, or nil.
func (c *Cluster) Died(id int32) error {
	m := c.machines[id-1]
	if m.server == nil {
		return nil
	}
	select {
	case err := <-m.died:
		m.died <- err
		return err
	default:
		return nil
	}
}

// bury lets the goroutines of a dead life end; their disk and network answer with errors.
func (c *Cluster) bury(m *machine) {
	m.stop()
	if err := <-m.done; err != nil {
		c.logger.Debug("a dead life ended", "node", m.id, "error", err)
	}
	m.server = nil
}

// Settle turns everything on, heals the network and waits until every node is ready.
func (c *Cluster) Settle() error {
	c.Pipes.Heal()
	for _, m := range c.machines {
		m.disk.Slow(0)
		if c.Died(m.id) != nil {
			c.Kill(m.id)
		}
		if err := c.Boot(m.id); err != nil {
			return err
		}
	}
	return c.AwaitReady(settleWithin)
}

// AwaitReady waits until every machine that is on is ready.
func (c *Cluster) AwaitReady(within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		var reasons []error
		for _, m := range c.machines {
			if m.server == nil {
				continue
			}
			if err := m.server.Ready(); err != nil {
				reasons = append(reasons, fmt.Errorf("node %d: %w", m.id, err))
			}
		}
		if len(reasons) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready within %v: %w", within, errors.Join(reasons...))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// StopAll shuts all machines down in order.
func (c *Cluster) StopAll() error {
	var err error
	for _, m := range c.machines {
		err = errors.Join(err, c.Stop(m.id))
	}
	return err
}

// NewWorkload returns clients for this cluster.
func (c *Cluster) NewWorkload(history *History, seed uint64) *Workload {
	w := &Workload{history: history, network: c.Pipes.Host(clientHost)}
	for _, m := range c.machines {
		w.seeds = append(w.seeds, fmt.Sprintf("%s:%d", hostOf(m.id), kafkaPort))
		w.doors = append(w.doors, fmt.Sprintf("%s:%d", hostOf(m.id), httpPort))
	}
	source := rand.New(rand.NewPCG(seed, 2))
	w.random = func() *rand.Rand { return rand.New(rand.NewPCG(source.Uint64(), 3)) }
	return w
}

// replica is what one machine's log holds of one shard: a hash per entry.
type replica map[record.Index][sha256.Size]byte

// CompareReplicas reads the logs of the machines, all off, and returns where they differ up to the
// smallest of their last entries, in all that they retain. Entries that a machine does not keep are not compared.
func (c *Cluster) CompareReplicas() ([]string, error) {
	var differences []string
	for shard := range record.Shard(c.shards + 1) {
		var replicas []replica
		last := record.Index(0)
		for i, m := range c.machines {
			r, end, err := c.readReplica(m, shard)
			if err != nil {
				return nil, fmt.Errorf("read the log of node %d: %w", m.id, err)
			}
			replicas = append(replicas, r)
			if i == 0 || end < last {
				last = end
			}
		}
		compared := 0
		for index := record.Index(1); index <= last; index++ {
			first, ok := replicas[0][index]
			for i, r := range replicas[1:] {
				other, also := r[index]
				if !ok || !also {
					continue
				}
				compared++
				if !bytes.Equal(first[:], other[:]) && len(differences) < maxViolations {
					differences = append(differences, fmt.Sprintf("shard %d entry %d differs between node %d and node %d", shard, index, c.machines[0].id, c.machines[i+1].id))
				}
			}
		}
		if len(c.machines) > 1 && compared == 0 {
			return nil, fmt.Errorf("shard %d: no entry could be compared", shard)
		}
	}
	return differences, nil
}

// readReplica opens a log and hashes term, kind and payload of every entry that it retains and that is final.
// The last entries may not be committed; they are compared only where every node has them.
func (c *Cluster) readReplica(m *machine, shard record.Shard) (r replica, last record.Index, err error) {
	fs := m.disk.Boot()
	identity, err := replication.OpenIdentity(fs, dataFolder, m.id)
	if err != nil {
		return nil, 0, err
	}
	l, err := log.Open(log.Config{FS: fs, Dir: fs.PathJoin(dataFolder, "log"), Incarnation: identity.Incarnation, SegmentBytes: simSegment, TailBytes: simTail, Pool: frame.NewPool(1 << 20)})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s := l.Shard(shard)
	r = replica{}
	err = s.Scan(0, math.MaxInt64, func(info log.EntryInfo, _ []byte) error {
		payload, f, err := s.PinAt(info)
		if err != nil {
			return err
		}
		defer f.Release()
		hash := sha256.New()
		_, _ = fmt.Fprint(hash, info.Term, info.Kind)
		_, _ = hash.Write(payload)
		r[info.Index] = [sha256.Size]byte(hash.Sum(nil))
		last = info.Index
		return nil
	})
	return r, last, err
}
