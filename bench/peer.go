package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/stela-db/stela/internal/process"
)

// A Peer is one system in one configuration, under the name that --peers takes.
// Exactly one of System and Program is set.
type Peer struct {
	Name string

	// Durability says in a few words what an acknowledgement of this peer means, for
	// the report: "synced on a majority", "page cache of all replicas".
	Durability string

	// System is a cluster of processes that speak Kafka's protocol. Peers with a
	// System of the same name share its processes, so that a JVM is warmed once.
	System System

	// TopicConfigs are put on every topic that is made for this peer.
	TopicConfigs map[string]string

	// Program measures a peer that does not speak Kafka.
	Program *Program
}

// Version returns the version of what would be measured, or why it cannot be had:
// an error that names what is missing and the command that installs it.
func (p *Peer) Version(ctx context.Context) (string, error) {
	if p.System != nil {
		return p.System.Version(ctx)
	}
	return p.Program.Version(ctx)
}

// A System is something whose nodes are started as processes. It keeps no state of
// a cluster; that is the Cluster's.
type System interface {
	// Name is the same for all peers that may share processes.
	Name() string
	// Version is Peer.Version.
	Version(ctx context.Context) (string, error)
	// Prepare makes empty folders and whatever must be there before a start (formatted
	// storage, configuration files), picks free ports, and starts nothing.
	Prepare(ctx context.Context, layout Layout) (*Cluster, error)
}

// A Layout says where a cluster is to be.
type Layout struct {
	Dir   string // an empty folder for everything
	Nodes int    // 1 or 3
	Port  int    // free ports are looked for from here on
}

// A Cluster is the nodes of one system, running or not.
type Cluster struct {
	Nodes   []*Node
	Brokers []string // Kafka addresses to begin with, one for each node, in their order
	HTTP    []string // Stela only: HTTP addresses, one for each node, in their order
}

// A Node is one process that can be started, killed and started again over the same data.
type Node struct {
	ID      int32          // as the node calls itself in Kafka's metadata
	Data    string         // the folder of its data
	Command process.Config // how it is started; Output and Prefix are set by Start
	Metrics string         // URL of Prometheus text, "" for none

	process *process.Process
}

// Start starts the node over what its folder has. out takes what it prints.
func (n *Node) Start(out io.Writer) error {
	if n.Running() {
		return fmt.Errorf("start node %d: it runs already", n.ID)
	}
	command := n.Command
	command.Output, command.Prefix = out, fmt.Sprintf("node %d | ", n.ID)
	p, err := process.Start(command)
	if err != nil {
		return fmt.Errorf("start node %d: %w", n.ID, err)
	}
	n.process = p
	return nil
}

// Running reports whether the node's process is there; a stopped (paused) one is.
func (n *Node) Running() bool { return n.process != nil && n.process.Running() }

// PID returns the process id, 0 before the first start.
func (n *Node) PID() int {
	if n.process == nil {
		return 0
	}
	return n.process.ID()
}

// Kill ends the process as kill -9 does and waits for its end.
func (n *Node) Kill() {
	if n.process != nil {
		n.process.Kill()
	}
}

// Pause stops the process as SIGSTOP does; Resume lets it go on.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) {
	if n.process != nil {
		n.process.Signal(s)
	}
}

// Done is closed when the process has ended; nil before the first start.
func (n *Node) Done() <-chan struct{} {
	if n.process == nil {
		return nil
	}
	return n.process.Done()
}

// stopTimeout is how long a node may take to end in order.
const stopTimeout = 30 * time.Second

// Start starts all nodes.
func (c *Cluster) Start(out io.Writer) error {
	for _, n := range c.Nodes {
		if err := n.Start(out); err != nil {
			return err
		}
	}
	return nil
}

// Kill ends all nodes at once, as a power cut of the processes does.
func (c *Cluster) Kill() {
	for _, n := range c.Nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// Stop ends all nodes in order and kills those that do not end.
func (c *Cluster) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, n := range c.Nodes {
		n.Resume()
		n.signal(syscall.SIGTERM)
	}
	for _, n := range c.Nodes {
		if n.process != nil {
			_ = n.process.Stop(ctx) // How it ended is in its output.
		}
	}
}

// Check returns an error when a node that was started has ended.
func (c *Cluster) Check() error {
	var ended []error
	for _, n := range c.Nodes {
		if n.process != nil && !n.process.Running() {
			ended = append(ended, fmt.Errorf("node %d ended: %w", n.ID, n.process.Err()))
		}
	}
	return errors.Join(ended...)
}

// processes returns the ids of the nodes that run.
func (c *Cluster) processes() []int {
	var all []int
	for _, n := range c.Nodes {
		if n.Running() {
			all = append(all, n.PID())
		}
	}
	return all
}
