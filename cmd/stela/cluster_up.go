package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/internal/process"
	"github.com/stela-db/stela/server"
)

const (
	defaultKafkaPort = 9092
	defaultHTTPPort  = 9644
	defaultRaftPort  = 33145

	// stopTimeout is how long a node may take to end before it is killed.
	stopTimeout = 20 * time.Second
)

// A localCluster is where the nodes of a cluster on this machine listen and write.
type localCluster struct {
	Nodes     int
	Data      string
	Host      string
	KafkaPort int // of node 1; the others follow
	HTTPPort  int
	RaftPort  int
	Extra     []string // further flags of serve
}

func (l localCluster) address(port, node int) string {
	return net.JoinHostPort(l.Host, strconv.Itoa(port+node-1))
}

func (l localCluster) kafka(node int) string { return l.address(l.KafkaPort, node) }
func (l localCluster) http(node int) string  { return l.address(l.HTTPPort, node) }

// brokers returns all Kafka addresses.
func (l localCluster) brokers() []string {
	var all []string
	for node := 1; node <= l.Nodes; node++ {
		all = append(all, l.kafka(node))
	}
	return all
}

// folder returns a node's data folder.
func (l localCluster) folder(node int) string {
	return filepath.Join(l.Data, "node-"+strconv.Itoa(node))
}

// arguments returns the command line of one node.
func (l localCluster) arguments(node int) []string {
	args := []string{
		"serve", "--node", strconv.Itoa(node), "--data", l.folder(node),
		"--kafka", l.kafka(node), "--http", l.http(node),
	}
	if l.Nodes > 1 {
		peers := map[int32]string{}
		for peer := 1; peer <= l.Nodes; peer++ {
			peers[int32(peer)] = l.address(l.RaftPort, peer)
		}
		args = append(args, "--raft", l.address(l.RaftPort, node), "--peers", formatPeers(peers))
	}
	return append(args, l.Extra...)
}

func (l localCluster) start(node int, out io.Writer, prefix string) (*process.Process, error) {
	return process.Start(process.Config{Args: l.arguments(node), Output: out, Prefix: prefix})
}

func (l *localCluster) validate() error {
	if l.Nodes < 1 || l.Nodes > server.MaxNodes {
		return command.Usagef("--nodes is %d; use 1 to %d", l.Nodes, server.MaxNodes)
	}
	for flag, port := range map[string]int{"kafka-port": l.KafkaPort, "http-port": l.HTTPPort, "raft-port": l.RaftPort} {
		if port < 1 || port+l.Nodes-1 > 65535 {
			return command.Usagef("--%s is %d; %d ports from there on must lie between 1 and 65535", flag, port, l.Nodes)
		}
	}
	return nil
}

func newClusterUp(g *general) *cobra.Command {
	l := &localCluster{}
	cmd := &cobra.Command{
		Use:   "up [flags] [-- FLAGS OF SERVE]",
		Short: "Run a cluster of processes on this machine until Ctrl-C",
		Long: `Run a cluster of processes on this machine, in the foreground, each with a
folder of its own below --data and ports that follow each other. Ctrl-C stops
them all. A node that ends is not started again; the others go on.`,
		Example: `  stela cluster up --nodes 3 --data /tmp/stela
  stela cluster up --kafka-port 19092 --http-port 19644 --raft-port 13145
  stela cluster up -- --log-level debug -c num.partitions=6`,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.Extra = args
			if err := l.validate(); err != nil {
				return err
			}
			return l.up(cmd.Context(), g)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&l.Nodes, "nodes", 3, fmt.Sprintf("how many nodes, 1 to %d", server.MaxNodes))
	flags.StringVar(&l.Data, "data", "stela-data", "the `folder` for all nodes' data")
	flags.StringVar(&l.Host, "host", "127.0.0.1", "the address to listen on")
	flags.IntVar(&l.KafkaPort, "kafka-port", defaultKafkaPort, "Kafka port of the first node")
	flags.IntVar(&l.HTTPPort, "http-port", defaultHTTPPort, "HTTP port of the first node")
	flags.IntVar(&l.RaftPort, "raft-port", defaultRaftPort, "port between nodes of the first node")
	return cmd
}

// up runs the cluster until ctx ends or every node has ended.
func (l *localCluster) up(ctx context.Context, g *general) error {
	out := &sharedWriter{w: g.Err}
	nodes := make([]*process.Process, 0, l.Nodes)
	ended := make(chan int, l.Nodes)
	defer func() { stopAll(nodes) }()
	for node := 1; node <= l.Nodes; node++ {
		p, err := l.start(node, out, fmt.Sprintf("node %d | ", node))
		if err != nil {
			return err
		}
		nodes = append(nodes, p)
		// stopAll ends it at the latest.
		go func() {
			<-p.Done()
			ended <- node
		}()
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{})
	go func() { // cancel ends it
		defer close(ready)
		if l.waitReady(watching) == nil {
			fmt.Fprintf(out, "cluster is ready: kafka %s, http %s\n", joinAddresses(l.brokers()), l.http(1))
		}
	}()
	defer func() { cancel(); <-ready }()
	for running := l.Nodes; running > 0; running-- {
		select {
		case <-ctx.Done():
			return nil
		case node := <-ended:
			fmt.Fprintf(out, "node %d ended: %v; it is not started again\n", node, describeEnd(nodes[node-1].Err()))
		}
	}
	return command.Advise(errors.New("all nodes have ended"), "see above why")
}

func describeEnd(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// stopAll asks all to end at once and waits for them.
func stopAll(nodes []*process.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, node := range nodes {
		all.Go(func() { _ = node.Stop(ctx) }) // How it ended no longer matters.
	}
	all.Wait()
}

// sharedWriter serializes whole writes.
type sharedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
