package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stela-db/stela/internal/process"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/gateway"
)

// patience bounds everything that must happen in the end.
const patience = 45 * time.Second

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// buildAndRun builds both binaries once for all tests.
func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shop-process-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for name, path := range map[string]string{"stela": "../stela", "shop": "."} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), path).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
			return 1
		}
	}
	os.Setenv("SHOP_TEST_BINARIES", dir)
	return m.Run()
}

func binary(name string) string { return filepath.Join(os.Getenv("SHOP_TEST_BINARIES"), name) }

// said keeps what a process wrote.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) tail(lines int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Split(s.text.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// A shop is real processes: nodes of the log, and services.
type shop struct {
	t       *testing.T
	dir     string
	ports   int // kafka of each node, http of each node, raft of each node, then the services
	count   int // of nodes
	nodes   []*process.Process
	roles   map[string]*process.Process // by the roles that the process has, comma separated
	gateway *gateway.Client
}

func newShop(t *testing.T, nodes int) *shop {
	t.Helper()
	ports, err := process.FreePorts("127.0.0.1", 32000+os.Getpid()%8000, 3*nodes+len(services.Roles()))
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, dir: t.TempDir(), ports: ports, count: nodes, nodes: make([]*process.Process, nodes), roles: map[string]*process.Process{}}
	s.gateway = gateway.NewClient(s.address(""), nil)
	t.Cleanup(func() {
		s.gateway.Close()
		for _, p := range s.roles {
			p.Kill()
		}
		for _, p := range s.nodes {
			if p != nil {
				p.Kill()
			}
		}
	})
	return s
}

func host(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (s *shop) kafka(node int) string { return host(s.ports + node) }
func (s *shop) http(node int) string  { return host(s.ports + s.count + node) }
func (s *shop) raft(node int) string  { return host(s.ports + 2*s.count + node) }

// address returns a role's address; "" is the gateway's.
func (s *shop) address(role string) string {
	base := host(s.ports + 3*s.count)
	if role == "" {
		return base
	}
	address, err := services.AddressOf(base, role)
	s.check(err)
	return address
}

func (s *shop) list(address func(int) string) string {
	var all []string
	for node := range s.count {
		all = append(all, address(node))
	}
	return strings.Join(all, ",")
}

func (s *shop) nodeData(node int) string { return filepath.Join(s.dir, fmt.Sprintf("node%d", node+1)) }
func (s *shop) data() string             { return filepath.Join(s.dir, "shop") }

func (s *shop) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) start(name string, args ...string) *process.Process {
	s.t.Helper()
	words := &said{}
	p, err := process.Start(process.Config{Path: binary(name), Args: args, Output: words, Dir: s.dir})
	s.check(err)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("last words of %s %s:\n%s", name, strings.Join(args[:min(3, len(args))], " "), words.tail(15))
		}
	})
	return p
}

// startNode starts a node of the log; it does not wait.
func (s *shop) startNode(node int) {
	s.t.Helper()
	args := []string{"serve", "--node", strconv.Itoa(node + 1), "--data", s.nodeData(node), "--kafka", s.kafka(node), "--http", s.http(node)}
	if s.count > 1 {
		var peers []string
		for other := range s.count {
			peers = append(peers, fmt.Sprintf("%d=%s", other+1, s.raft(other)))
		}
		args = append(args, "--raft", s.raft(node), "--peers", strings.Join(peers, ","))
	}
	s.nodes[node] = s.start("stela", args...)
}

func (s *shop) startNodes() {
	s.t.Helper()
	for node := range s.count {
		s.startNode(node)
	}
	for node := range s.count {
		s.ready(s.nodes[node], "http://"+s.http(node)+"/health/ready")
	}
}

// common are the flags that every shop command gets.
func (s *shop) common() []string {
	return []string{"--brokers", s.list(s.kafka), "--http", s.list(s.http), "--gateway", s.address(""), "--data", s.data()}
}

// up starts roles in one process and waits until they are ready.
func (s *shop) up(roles ...string) {
	s.t.Helper()
	name := strings.Join(roles, ",")
	p := s.start("shop", append([]string{"up", "--role", name, "--stock", "SCARCE=3,A=100000,B=100000", "--price", "SCARCE=5.00,A=10.00,B=25.50"}, s.common()...)...)
	s.roles[name] = p
	for _, role := range roles {
		s.ready(p, "http://"+s.address(role)+"/readyz")
	}
}

// ready waits until a URL answers 200, or its process ends.
func (s *shop) ready(p *process.Process, url string) {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := http.Get(url) //nolint:gosec // it is our own
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
		select {
		case <-p.Done():
			s.t.Fatalf("%s: the process ended: %v", url, p.Err())
		case <-deadline.C:
			s.t.Fatalf("%s: %v", url, err)
		case <-ticker.C:
		}
	}
}

func (s *shop) stop(p *process.Process) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		s.t.Fatalf("stop: %v", err)
	}
}

// stopAll stops services and nodes in order.
func (s *shop) stopAll() {
	s.t.Helper()
	for name, p := range s.roles {
		s.stop(p)
		delete(s.roles, name)
	}
	for node, p := range s.nodes {
		s.stop(p)
		s.nodes[node] = nil
	}
}

// run runs a shop command to its end and returns what it printed.
func (s *shop) run(args ...string) (out, problem string, status int) {
	s.t.Helper()
	cmd := exec.Command(binary("shop"), append(args, s.common()...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, s.dir
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// ask runs a shop command that must succeed and reads its JSON.
func (s *shop) ask(into any, args ...string) {
	s.t.Helper()
	out, problem, status := s.run(append(args, "-o", "json")...)
	if status != 0 || problem != "" {
		s.t.Fatalf("shop %s: status %d: %s", strings.Join(args, " "), status, problem)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.t.Fatalf("shop %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// digests returns the digest of every service.
func (s *shop) digests() map[string]string {
	s.t.Helper()
	var list []struct{ Service, Digest, Cut string }
	s.ask(&list, "digest")
	all := map[string]string{}
	for _, d := range list {
		all[d.Service] = d.Digest + " at " + d.Cut
	}
	return all
}

// rebuild rebuilds all services and wants every one of them equal to the live one.
func (s *shop) rebuild(args ...string) {
	s.t.Helper()
	var results []rebuildResult
	s.ask(&results, append([]string{"rebuild", "--all", "--verify"}, args...)...)
	if len(results) != len(services.Stateful()) {
		s.t.Errorf("%d services were rebuilt", len(results))
	}
	for _, r := range results {
		if r.State != "verified" || r.DigestLive != r.DigestRebuilt || r.DigestLive == "" || r.Events == 0 || r.Keys == 0 {
			s.t.Errorf("rebuild %v: %+v", args, r)
		}
	}
}
