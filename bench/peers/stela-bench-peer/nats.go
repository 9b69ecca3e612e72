package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stela-db/stela/internal/process"
)

const (
	syncDefault = "default" // as NATS comes: every two minutes
	syncAlways  = "always"  // before each acknowledgement

	natsServer = "nats-server"
	natsStream = "BENCH"

	// pullMessages is how many messages a replay asks for at once: the client's default
	// of 500 is slower, more is not faster.
	pullMessages = 5000
)

// A natsPeer is a JetStream cluster of one or three servers with one stream, which
// all of them store, and one connection, to the stream's leader: the short way.
type natsPeer struct {
	sync   string
	server string // the executable

	servers    servers
	workload   workload
	connection *nats.Conn
	jetstream  jetstream.JetStream
	last       []atomic.Uint64 // by event stream: the sequence of its last event
}

// version implements peer.
func (n *natsPeer) version(ctx context.Context) (string, error) {
	if n.sync != syncDefault && n.sync != syncAlways {
		return "", fmt.Errorf("--sync is %q: use %s or %s", n.sync, syncDefault, syncAlways)
	}
	if n.server == "" {
		found, err := findServer()
		if err != nil {
			return "", err
		}
		n.server = found
	}
	out, err := exec.CommandContext(ctx, n.server, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", n.server, err)
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), ": v")
	return version, nil
}

// findServer looks beside this program, where `make bench-peers` puts it.
func findServer() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), natsServer)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	found, err := exec.LookPath(natsServer)
	if err != nil {
		return "", fmt.Errorf("find %s, which make bench-peers builds: %w", natsServer, err)
	}
	return found, nil
}

// natsConfig returns the configuration of one server. Servers are numbered from 0; node i listens on
// port+2i for clients and on port+2i+1 for the others.
func natsConfig(dir string, node, nodes, port int, syncInterval string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: node-%d\nlisten: \"%s:%d\"\n", node, host, port+2*node)
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %s\n", strconv.Quote(filepath.Join(dir, "node-"+strconv.Itoa(node))))
	if syncInterval == syncAlways {
		b.WriteString("  sync_interval: always\n")
	}
	b.WriteString("}\n")
	if nodes > 1 {
		fmt.Fprintf(&b, "cluster {\n  name: bench\n  listen: \"%s:%d\"\n  routes: [\n", host, port+2*node+1)
		for other := range nodes {
			if other != node {
				fmt.Fprintf(&b, "    \"nats://%s:%d\"\n", host, port+2*other+1)
			}
		}
		b.WriteString("  ]\n}\n")
	}
	return b.String()
}

// start implements peer.
func (n *natsPeer) start(ctx context.Context, dir string, w workload) error {
	n.workload = w
	if err := n.servers.open(dir); err != nil {
		return err
	}
	port, err := process.FreePorts(host, firstPort, 2*w.Nodes)
	if err != nil {
		return err
	}
	for node := range w.Nodes {
		file := filepath.Join(dir, fmt.Sprintf("node-%d.conf", node))
		if err := os.WriteFile(file, []byte(natsConfig(dir, node, w.Nodes, port, n.sync)), 0o600); err != nil {
			return fmt.Errorf("write a server's configuration: %w", err)
		}
		if err := n.servers.start(process.Config{Path: n.server, Args: []string{"--config", file}, Prefix: fmt.Sprintf("node %d | ", node)}); err != nil {
			return err
		}
	}
	if w.ID == stream {
		n.last = make([]atomic.Uint64, w.Keys)
	}
	leader := 0
	err = n.servers.await(ctx, "create a stream of NATS", func(ctx context.Context) error {
		leader, err = n.create(ctx, port)
		return err
	})
	if err != nil {
		return err
	}
	return n.connect(port + 2*leader)
}

// connect replaces the connection.
func (n *natsPeer) connect(port int) error {
	if n.connection != nil {
		n.connection.Close()
	}
	connection, err := nats.Connect(fmt.Sprintf("nats://%s:%d", host, port))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	n.connection = connection
	n.jetstream, err = jetstream.New(connection)
	if err != nil {
		return fmt.Errorf("begin with JetStream: %w", err)
	}
	return nil
}

// create makes the stream and returns which server leads it. It may be repeated.
func (n *natsPeer) create(ctx context.Context, port int) (leader int, err error) {
	if err := n.connect(port); err != nil {
		return 0, err
	}
	made, err := n.jetstream.CreateStream(ctx, jetstream.StreamConfig{
		Name: natsStream, Subjects: []string{"bench", "stream.*"},
		Storage: jetstream.FileStorage, Replicas: n.workload.Nodes,
	})
	if err != nil {
		return 0, fmt.Errorf("create the stream: %w", err)
	}
	if n.workload.Nodes == 1 {
		return 0, nil
	}
	info, err := made.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the stream's leader: %w", err)
	}
	if info.Cluster == nil || info.Cluster.Leader == "" {
		return 0, errors.New("the stream has no leader yet")
	}
	leader, err = strconv.Atoi(strings.TrimPrefix(info.Cluster.Leader, "node-"))
	if err != nil {
		return 0, fmt.Errorf("read the leader's name: %w", err)
	}
	return leader, nil
}

// processes implements peer.
func (n *natsPeer) processes() []int { return n.servers.processes() }

// stop implements peer.
func (n *natsPeer) stop() {
	if n.connection != nil {
		n.connection.Close()
	}
	n.servers.stop(syscall.SIGTERM)
}

// store implements peer.
func (n *natsPeer) store(ctx context.Context, to int, value []byte) (conflict bool, err error) {
	if n.workload.ID != stream {
		if _, err := n.jetstream.PublishMsg(ctx, &nats.Msg{Subject: "bench", Data: value}); err != nil {
			return false, fmt.Errorf("publish: %w", err)
		}
		return false, nil
	}
	known := n.last[to].Load()
	message := &nats.Msg{Subject: "stream." + strconv.Itoa(to), Data: value}
	ack, err := n.jetstream.PublishMsg(ctx, message, jetstream.WithExpectLastSequencePerSubject(known))
	if isConflict(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("append to stream %d after sequence %d: %w", to, known, err)
	}
	for known < ack.Sequence && !n.last[to].CompareAndSwap(known, ack.Sequence) {
		known = n.last[to].Load()
	}
	return false, nil
}

// wrongLastSequence are the codes of JetStream's answer to a wrong expectation, and to
// one that cannot be checked while another append to the same subject is on its way.
var wrongLastSequence = []jetstream.ErrorCode{jetstream.JSErrCodeStreamWrongLastSequence, 10164}

func isConflict(err error) bool {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && slices.Contains(wrongLastSequence, refused.ErrorCode)
}

// replay implements peer. An ordered consumer is the way that the client library has for it.
func (n *natsPeer) replay(ctx context.Context) (events, bytes int64, err error) {
	stored, err := n.jetstream.Stream(ctx, natsStream)
	if err != nil {
		return 0, 0, fmt.Errorf("look the stream up: %w", err)
	}
	until := int64(stored.CachedInfo().State.Msgs)
	consumer, err := stored.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, 0, fmt.Errorf("make an ordered consumer: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(pullMessages))
	if err != nil {
		return 0, 0, fmt.Errorf("begin to read: %w", err)
	}
	defer messages.Stop()
	for events < until {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return events, bytes, fmt.Errorf("read after %d events: %w", events, err)
		}
		events++
		bytes += int64(len(message.Data()))
	}
	return events, bytes, nil
}
