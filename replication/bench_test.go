package replication

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

// BenchmarkPropose proposes to three nodes over TCP on the operating system's disk.
func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{200, 16 << 10, 256 << 10} {
		for _, inFlight := range []int{1, 16} {
			b.Run(fmt.Sprintf("bytes=%d/inflight=%d", size, inFlight), func(b *testing.B) { benchmarkPropose(b, size, inFlight) })
		}
	}
}

func benchmarkPropose(b *testing.B, size, inFlight int) {
	nodes := benchCluster(b)
	var leader *benchNode
	for leader == nil {
		for i := range nodes {
			if nodes[i].node.Group(1).Leader().Local {
				leader = nodes[i]
			}
		}
		pass(time.Millisecond)
	}
	g := leader.node.Group(1)
	term := g.Leader().Term
	text := strings.Repeat("x", size)
	var took []time.Duration
	type flight struct {
		p     *Proposal
		began time.Time
	}
	flights := make(chan flight, inFlight-1)
	done := make(chan struct{})
	go func() { // ends with flights
		defer close(done)
		for f := range flights {
			if _, err := f.p.Wait(); err != nil {
				b.Error(err)
			}
			took = append(took, time.Since(f.began))
		}
	}()
	b.SetBytes(int64(size))
	b.ResetTimer()
	for range b.N {
		f := entry(leader.pool, text, term)
		began := time.Now()
		p, err := g.Propose(f, term)
		if err != nil {
			b.Fatal(err)
		}
		if inFlight == 1 {
			if _, err := p.Wait(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
			continue
		}
		flights <- flight{p, began}
	}
	close(flights)
	<-done
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
	for _, n := range nodes {
		if err := n.node.Close(); err != nil {
			b.Error(err)
		}
		if err := n.log.Close(); err != nil {
			b.Error(err)
		}
	}
}

type benchNode struct {
	node *Node
	log  *log.Log
	pool *frame.Pool
}

func benchCluster(b *testing.B) []*benchNode {
	peers := map[int32]string{}
	for i := range int32(3) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		peers[i+1] = l.Addr().String()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	fatal := func(err error) { b.Error(err) }
	var nodes []*benchNode
	for i := range int32(3) {
		dir := b.TempDir()
		identity, err := OpenIdentity(log.OSFS(), dir, i+1)
		if err != nil {
			b.Fatal(err)
		}
		n := &benchNode{pool: frame.NewPool(256 << 20)}
		n.log, err = log.Open(log.Config{FS: log.OSFS(), Dir: dir + "/log", Incarnation: identity.Incarnation, Pool: n.pool, Fatal: fatal})
		if err != nil {
			b.Fatal(err)
		}
		n.node, err = New(Config{
			Identity: *identity, Peers: peers, Network: (&testCluster{tcp: true}).network(i), FS: log.OSFS(), Dir: dir,
			Log: n.log, Pool: n.pool, Fatal: fatal,
		})
		if err != nil {
			b.Fatal(err)
		}
		disk := &machineDisk{machines: map[record.Shard]*listMachine{}}
		if err := n.node.Start(func(s record.Shard) StateMachine { return disk.machine(s) }); err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}
