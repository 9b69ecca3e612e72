package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.yaml.in/yaml/v3"

	"github.com/stela-db/stela/internal/process"
)

// TestCommands runs the command line against a node, one command after the other.
func TestCommands(t *testing.T) {
	c := newTestCluster(t, 1)
	c.startAll()
	for _, step := range []struct {
		line  string // cut at spaces
		stdin string
		out   []string // what standard output has
		fails string   // what the one line on standard error has, when the command must fail
	}{
		{line: "topic create t -p 3 -c retention.ms=86400000", out: []string{"t      3           1"}},
		{line: "topic create t", fails: "stela topic describe"},
		{line: "topic create t --if-not-exists", out: []string{"was there already"}},
		{line: "topic create u --dry-run -o json", out: []string{`"topic": "u"`}},
		{line: "topic list -o json", out: []string{`"topic": "t"`, `"partitions": 3`}},
		{line: "produce t -k : -z lz4 -H source=test -v", stdin: "a:1\nb:2\nc:3\n", out: []string{"partition", "offset 0"}},
		{line: "produce out -v -o json", stdin: "a\n", out: []string{`{"topic":"out","partition":0,"offset":0}` + "\n"}},
		{line: "produce out -v -o yaml", stdin: "a\n", out: []string{"---\ntopic: out\npartition: 0\noffset: 1\n"}},
		{line: "topic delete out", out: []string{"deleted"}},
		{line: "produce t -k :", stdin: "no separator\n", fails: `line 1 has no key separator ":"`},
		{line: `consume t --from-beginning --exit -f %k=%v/%h\n`, out: []string{"a=1/source=test", "b=2/", "c=3/"}},
		{line: "consume t --tail 2 --exit -o json", out: []string{`"topic":"t"`}},
		{line: "consume t -p 7 --from-beginning --exit", fails: "has no partition 7"},
		{line: "consume t --offset 100", fails: "offset 100 is beyond the end of t partition 0"},
		{line: "consume t --offset 100 --exit -p 1", fails: "offset 100 is beyond the end of t partition 1"},
		{line: "consume t --offset 100 -g nobodys", fails: "offset 100 is beyond the end of t partition 0"},
		{line: "consume t -g readers -n 2", out: []string{"\n"}},
		{line: "consume t -g readers --exit", out: []string{"\n"}},
		{line: "group list", out: []string{"readers", "Empty"}},
		{line: "group describe readers -o yaml", out: []string{"totalLag: 0", "state: Empty"}},
		{line: "group seek readers --to start", out: []string{"AFTER"}},
		{line: "group describe readers -o yaml", out: []string{"totalLag: 3"}},
		{line: "group delete readers", out: []string{"deleted"}},
		{line: "group describe readers", fails: "stela group list"},
		{line: "topic alter t -p 4 -c retention.ms=1000000", out: []string{"changed"}},
		{line: "topic alter t --delete-config retention.ms", out: []string{"changed"}},
		{line: "topic alter t -c retention.ms=soon", fails: "soon"},
		{line: "topic describe t", out: []string{"PARTITION", "LEADER", "IN-SYNC", "OFFLINE", "3          1"}},
		{line: "replay t --count", out: []string{"3\n"}},
		{line: `replay t -q --key b -f %v\n`, out: []string{"2\n"}},
		{line: "replay t --to t:1,1", fails: "--to is beyond the end, which is t:"},
		{line: "replay t --to t:0,0,0 --count", out: []string{"0\n"}},
		{line: "replay t --to u:0", fails: "name these topics"},
		{line: "replay nothing --count", fails: "stela topic list"},
		{line: "topic create ledger -c eventstore.enable=true", out: []string{"ledger"}},
		{line: "stream append ledger s --expect none --type opened -d {}", out: []string{"0-0"}},
		{line: "stream append ledger s --expect none -d {}", fails: "--expect 0"},
		{line: "stream append ledger s --expect 0 --id e", stdin: "{\"n\":1}\n{\"n\":2}\n", out: []string{"1-2", "true"}},
		{line: "stream append ledger s --expect 0 --id e", stdin: "{\"n\":1}\n{\"n\":2}\n", out: []string{"1-2", "false"}},
		{line: "stream read ledger s", out: []string{"opened", `{"n":1}`, `{"n":2}`}},
		{line: "stream read ledger s --backward -n 1 -o json", out: []string{`"version": 2`}},
		{line: "stream read ledger nobody", fails: "stela stream append"},
		{line: "cluster status", out: []string{"healthy           true", "without leader    0"}},
		{line: "topic delete t ledger", out: []string{"deleted"}},
		{line: "topic describe t", fails: "stela topic list"},
		{line: "version", out: []string{"version", "commit", "go1."}},
		{line: "completion bash", out: []string{"__start_stela"}},
	} {
		args := append(strings.Fields(step.line), "-b", c.kafka(1), "--http", c.http(1))
		out, problems, status := stela(t, step.stdin, args...)
		if (status != 0) != (step.fails != "") || strings.Count(problems, "\n") > 1 {
			t.Fatalf("stela %s: status %d\n%s%s", step.line, status, out, problems)
		}
		if !strings.Contains(problems, step.fails) {
			t.Errorf("stela %s: %q does not say %q", step.line, problems, step.fails)
		}
		for _, want := range step.out {
			if !strings.Contains(out, want) {
				t.Errorf("stela %s: no %q in\n%s", step.line, want, out)
			}
		}
	}
}

// TestNobodyThere asks where no node is.
func TestNobodyThere(t *testing.T) {
	port, err := process.FreePorts("127.0.0.1", 41000, 1)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	refused(t, []string{"topic", "list", "-b", address}, address, "connection refused", "stela serve")
	refused(t, []string{"stream", "read", "t", "k", "--http", address, "--timeout", "1s"}, address, "connection refused", "stela serve")
}

// TestListeners gives a node two listeners and asks through each for its address.
func TestListeners(t *testing.T) {
	ports, err := process.FreePorts("127.0.0.1", 42000, 3)
	if err != nil {
		t.Fatal(err)
	}
	inside := fmt.Sprintf("127.0.0.1:%d", ports)
	outside := fmt.Sprintf("127.0.0.1:%d", ports+1)
	told := fmt.Sprintf("localhost:%d", ports+1)
	web := fmt.Sprintf("127.0.0.1:%d", ports+2)
	config := filepath.Join(t.TempDir(), "stela.yaml")
	text := fmt.Sprintf("data: %s\nhttp: %s\nkafka:\n  - inside://%s\n  - outside://%s,%s\nbroker-config:\n  num.partitions: 5\n",
		t.TempDir(), web, inside, outside, told)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Config{Path: binary(), Args: []string{"serve", "--config", config}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for bootstrap, want := range map[string]string{inside: inside, outside: told} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		var status clusterStatus
		eventually(t, "an answer of "+bootstrap, func(context.Context) error {
			out, problems, code := stela(t, "", "cluster", "status", "-b", bootstrap, "-o", "json")
			if code != 0 {
				return fmt.Errorf("status %d: %s", code, problems)
			}
			return json.Unmarshal([]byte(out), &status)
		})
		if len(status.Nodes) != 1 || status.Nodes[0].Kafka != want {
			t.Errorf("through %s the node is at %+v, wanted %s", bootstrap, status.Nodes, want)
		}
	}
	mustStela(t, "x\n", "produce", "made", "-b", inside)
	cl, err := kgo.NewClient(kgo.SeedBrokers(inside))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	details, err := kadm.NewClient(cl).ListTopics(t.Context(), "made")
	if n := len(details["made"].Partitions); err != nil || n != 5 {
		t.Errorf("a topic made by itself has %d partitions, wanted 5, %v", n, err)
	}
}

// TestClusterUp starts a cluster with one command, stops it, and kills it.
func TestClusterUp(t *testing.T) {
	ports, err := process.FreePorts("127.0.0.1", 43000, 9)
	if err != nil {
		t.Fatal(err)
	}
	said := &transcript{}
	up := func() *process.Process {
		p, err := process.Start(process.Config{Path: binary(), Output: said, Args: []string{
			"cluster", "up", "--data", filepath.Join(t.TempDir(), "data"), "--kafka-port", strconv.Itoa(ports),
			"--http-port", strconv.Itoa(ports + 3), "--raft-port", strconv.Itoa(ports + 6), "--", "--log-level", "info",
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		ready := strings.Count(said.String(), "cluster is ready")
		eventually(t, "a cluster that is ready", func(context.Context) error {
			if strings.Count(said.String(), "cluster is ready") == ready {
				return fmt.Errorf("it said %q", said.tail(5))
			}
			return nil
		})
		return p
	}
	p := up()
	if out := said.String(); !strings.Contains(out, "node 1 | ") || !strings.Contains(out, "node 3 | ") {
		t.Errorf("lines have no prefix: %s", out)
	}
	p.Signal(syscall.SIGTERM)
	if err := p.Err(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	p = up()
	p.Kill()
	eventually(t, "ports that are free: no child outlives its parent", func(context.Context) error {
		if first, err := process.FreePorts("127.0.0.1", ports, 9); err != nil || first != ports {
			return fmt.Errorf("a node still listens, %w", err)
		}
		return nil
	})
}

// TestDump looks into the files of a node that was stopped.
func TestDump(t *testing.T) {
	c := newTestCluster(t, 1)
	c.startAll()
	mustStela(t, strings.Repeat("line\n", 100), "produce", "t", "-b", c.kafka(1), "-z", "zstd")
	c.stop(1)
	segments, err := filepath.Glob(filepath.Join(c.folder(1), "log", "*.segment"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	before := hashFolder(t, c.folder(1))
	out := mustStela(t, "", append([]string{"dump", "segment", "--batches"}, segments...)...)
	for _, want := range []string{"offsets 0-", "zstd", "a clean end"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	for line := range strings.Lines(mustStela(t, "", "dump", "segment", segments[0], "-o", "json")) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	for _, args := range [][]string{{"dump", "segment", segments[0]}, {"dump", "index", c.folder(1)}} {
		out := mustStela(t, "", append(args, "-o", "yaml")...)
		for document := range strings.SplitSeq(strings.TrimPrefix(out, "---\n"), "---\n") {
			if fields := map[string]any{}; yaml.Unmarshal([]byte(document), &fields) != nil || len(fields) < 2 {
				t.Errorf("%s is not YAML: %s", args[1], document)
			}
		}
	}
	out = mustStela(t, "", "dump", "index", c.folder(1))
	for _, want := range []string{"applied  shard 0", "applied  shard 1", "run      partition"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if hashFolder(t, c.folder(1)) != before {
		t.Error("dump changed a segment")
	}
	refused(t, []string{"dump", "segment", "/etc/passwd"}, "/etc/passwd", "not the name of a segment")
	refused(t, []string{"dump", "index", t.TempDir()}, "no index")
}
