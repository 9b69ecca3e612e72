package bench

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stela-db/stela/internal/process"
)

// systemStela is the name of our own system.
const systemStela = "stela"

// host is where all peers listen.
const host = "127.0.0.1"

// Stela is this product: processes of one binary with the settings that a user gets who gives none.
type Stela struct {
	Path  string   // the binary
	Build string   // its version, for the report
	Extra []string // further flags of serve
}

// Name implements System.
func (s *Stela) Name() string { return systemStela }

// Version implements System.
func (s *Stela) Version(context.Context) (string, error) { return s.Build, nil }

// Prepare implements System.
func (s *Stela) Prepare(_ context.Context, layout Layout) (*Cluster, error) {
	first, err := process.FreePorts(host, layout.Port, 3*layout.Nodes)
	if err != nil {
		return nil, err
	}
	address := func(kind, node int) string {
		return net.JoinHostPort(host, strconv.Itoa(first+kind*layout.Nodes+node-1))
	}
	var peers []string
	for node := 1; node <= layout.Nodes; node++ {
		peers = append(peers, fmt.Sprintf("%d=%s", node, address(2, node)))
	}
	cluster := &Cluster{}
	for node := 1; node <= layout.Nodes; node++ {
		kafka, http := address(0, node), address(1, node)
		data := filepath.Join(layout.Dir, "node-"+strconv.Itoa(node))
		args := []string{"serve", "--node", strconv.Itoa(node), "--data", data, "--kafka", kafka, "--http", http}
		if layout.Nodes > 1 {
			args = append(args, "--peers", strings.Join(peers, ","))
		}
		cluster.Nodes = append(cluster.Nodes, &Node{
			ID: int32(node), Data: data, Metrics: "http://" + http + "/metrics",
			Command: process.Config{Path: s.Path, Args: append(args, s.Extra...)},
		})
		cluster.Brokers = append(cluster.Brokers, kafka)
		cluster.HTTP = append(cluster.HTTP, http)
	}
	return cluster, nil
}
