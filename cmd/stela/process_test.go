package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/internal/process"
)

const (
	// patience bounds everything that must happen in the end.
	patience = 60 * time.Second
	// defaultRounds is how often the crash tests crash; STELA_ROUNDS changes it.
	defaultRounds = 20
)

// binary returns the stela that TestMain built.
func binary() string { return os.Getenv("STELA_TEST_BINARY") }

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "stela-process-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "stela")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build stela: %v\n%s", err, out)
		return 1
	}
	os.Setenv("STELA_TEST_BINARY", path)
	return m.Run()
}

func rounds(t *testing.T) int {
	text, ok := os.LookupEnv("STELA_ROUNDS")
	if !ok {
		return defaultRounds
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("STELA_ROUNDS is %q", text)
	}
	return n
}

// A testCluster is real processes on ports of their own.
type testCluster struct {
	t *testing.T
	localCluster
	nodes []*process.Process // by node number less one; nil before the first start
	said  []*transcript
}

// newTestCluster picks ports and a folder; nothing runs yet.
func newTestCluster(t *testing.T, nodes int, extra ...string) *testCluster {
	t.Helper()
	// Tests of other packages look for ports elsewhere.
	first, err := process.FreePorts("127.0.0.1", 22000+os.Getpid()%10000, 3*nodes)
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{
		t: t,
		localCluster: localCluster{
			Nodes: nodes, Data: t.TempDir(), Host: "127.0.0.1",
			KafkaPort: first, HTTPPort: first + nodes, RaftPort: first + 2*nodes, Extra: extra,
		},
		nodes: make([]*process.Process, nodes),
		said:  make([]*transcript, nodes),
	}
	for i := range c.said {
		c.said[i] = &transcript{}
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.kill(i + 1)
		}
		if t.Failed() {
			for i, said := range c.said {
				t.Logf("node %d's last words:\n%s", i+1, said.tail(40))
			}
		}
	})
	return c
}

// start starts a node; it does not wait.
func (c *testCluster) start(node int) {
	c.t.Helper()
	p, err := process.Start(process.Config{Path: binary(), Args: c.arguments(node), Output: c.said[node-1]})
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[node-1] = p
}

// startAll starts all nodes and waits until they are ready.
func (c *testCluster) startAll() {
	c.t.Helper()
	for node := 1; node <= c.Nodes; node++ {
		c.start(node)
	}
	c.ready()
}

// ready waits until every running node is ready.
func (c *testCluster) ready() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for node := 1; node <= c.Nodes; node++ {
		p := c.nodes[node-1]
		if p == nil || !p.Running() {
			continue
		}
		waiting, done := context.WithCancelCause(ctx)
		go func() { // its end is the node's or the wait's
			select {
			case <-p.Done():
				done(fmt.Errorf("node %d ended", node))
			case <-waiting.Done():
			}
		}()
		err := waitReady(waiting, c.http(node))
		done(nil)
		if err != nil {
			c.t.Fatalf("node %d is not ready: %v", node, err)
		}
	}
}

func (c *testCluster) kill(node int) {
	if p := c.nodes[node-1]; p != nil {
		p.Kill()
	}
}

// stop ends a node as an operator does; it must end well.
func (c *testCluster) stop(node int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.nodes[node-1].Stop(ctx); err != nil {
		c.t.Fatalf("node %d did not stop well: %v", node, err)
	}
}

// client returns a Kafka client that is closed with the test.
func (c *testCluster) client(options ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.brokers()...), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.DialTimeout(time.Second), kgo.ProduceRequestTimeout(5 * time.Second), kgo.RequestTimeoutOverhead(2 * time.Second),
	}, options...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

func (c *testCluster) createTopic(name string, partitions int32, configs map[string]*string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if _, err := kadm.NewClient(c.client()).CreateTopic(ctx, partitions, -1, configs, name); err != nil {
		c.t.Fatalf("create topic %s: %v", name, err)
	}
}

// leader returns the node that leads a partition.
func (c *testCluster) leader(cl *kgo.Client, topic string, partition int32) int {
	c.t.Helper()
	leader := int32(-1)
	eventually(c.t, "a leader of "+topic, func(ctx context.Context) error {
		metadata, err := kadm.NewClient(cl).Metadata(ctx, topic)
		if err != nil {
			return err
		}
		detail, ok := metadata.Topics[topic].Partitions[partition]
		if !ok || detail.Err != nil || detail.Leader < 1 {
			return fmt.Errorf("partition %d: leader %d, %w", partition, detail.Leader, errors.Join(detail.Err, metadata.Topics[topic].Err))
		}
		leader = detail.Leader
		return nil
	})
	return int(leader)
}

// eventually repeats try until it succeeds.
func eventually(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		attempt, done := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		done()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// stela runs one command line of the binary and returns what it printed and its exit status.
func stela(t *testing.T, stdin string, args ...string) (out, problems string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(), args...)
	cmd.Env = process.Environment()
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("stela %s: %v", strings.Join(args, " "), err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// mustStela runs a command line that must succeed.
func mustStela(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, problems, status := stela(t, stdin, args...)
	if status != 0 {
		t.Fatalf("stela %s: status %d\n%s", strings.Join(args, " "), status, problems)
	}
	return out
}

// A transcript keeps what a process printed.
type transcript struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

var _ io.Writer = (*transcript)(nil)

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *transcript) tail(lines int) string {
	all := strings.Split(s.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
