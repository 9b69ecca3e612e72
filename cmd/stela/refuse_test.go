package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// refused runs a command line that must fail with status 1 and one line that has all of the wanted texts.
func refused(t *testing.T, args []string, wanted ...string) {
	t.Helper()
	out, problems, status := stela(t, "", args...)
	last := lastLine(problems)
	if status != 1 || !strings.HasPrefix(last, "stela: ") || out != "" {
		t.Errorf("stela %s: status %d, printed %q and %q", strings.Join(args, " "), status, out, problems)
	}
	for _, want := range wanted {
		if !strings.Contains(last, want) {
			t.Errorf("%q does not say %q", last, want)
		}
	}
	if strings.Contains(problems, "goroutine ") || strings.Contains(problems, "panic") {
		t.Errorf("a stack trace: %s", problems)
	}
	t.Log(last)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	free := []string{"--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error"}
	for name, args := range map[string][]string{
		"kafka": append([]string{"serve", "--data", t.TempDir()}, append(free, "--kafka", address)...),
		"http":  append([]string{"serve", "--data", t.TempDir()}, append(free, "--http", address)...),
		"raft":  append([]string{"serve", "--data", t.TempDir(), "--peers", "1=" + address + ",2=127.0.0.1:1,3=127.0.0.1:2"}, free...),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, args, address, "address already in use", "stop what listens there or choose another address")
		})
	}
}

func TestBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, fmt.Sprintf("%x.yaml", sha256.Sum256([]byte(text)))[:16]+".yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	data := t.TempDir()
	for _, test := range []struct {
		name   string
		args   []string
		wanted []string
	}{
		{"missing file", []string{"--config", "/no/such.yaml"}, []string{"/no/such.yaml", "no such file", "--config"}},
		{"a folder", []string{"--config", dir}, []string{dir}},
		{"unknown key", []string{"--config", file("data: x\nkafak: y\n")}, []string{"line 2", `unknown key "kafak"`, `did you mean "kafka"?`}},
		{"not yaml", []string{"--config", file("data: [")}, []string{"config file"}},
		{"bad value", []string{"--config", file("node: many\n")}, []string{"line 1", "node", "many"}},
		{"bad listener", []string{"--kafka", "nonsense"}, []string{"nonsense", "host:port"}},
		{"bad peers", []string{"--peers", "1=a"}, []string{"1=a", "host:port"}},
		{"not a peer", []string{"--node", "4", "--peers", "1=127.0.0.1:1,2=127.0.0.1:2"}, []string{"node 4"}},
		{"bad broker config", []string{"-c", "num.partitons=3"}, []string{"num.partitons", "num.partitions"}},
		{"bad broker value", []string{"-c", "num.partitions=many"}, []string{"num.partitions", "many"}},
		{
			"nowhere",
			[]string{"--peers", "1=127.0.0.1:1,2=127.0.0.1:2", "--kafka", "0.0.0.0:9092"},
			[]string{"0.0.0.0:9092", "advertise an address"},
		},
		{"too small", []string{"--segment-bytes", "1"}, []string{"segment"}},
		{"a small read cache", []string{"--read-cache-bytes", "10kB"}, []string{"read cache bytes 10000", "-1"}},
		{"no folder", []string{"--data", "/proc/stela"}, []string{"/proc/stela"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"serve", "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"}
			refused(t, append(args, test.args...), test.wanted...)
		})
	}
}

// TestFolderInUse starts a second process on a running node's folder.
func TestFolderInUse(t *testing.T) {
	c := newTestCluster(t, 1)
	c.startAll()
	refused(t, []string{"serve", "--data", c.folder(1), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"}, c.folder(1), "in use by another process")
	refused(t, []string{"dump", "index", c.folder(1)}, "stop the node first")
}

// TestForeignFolder starts nodes on folders that are not theirs.
func TestForeignFolder(t *testing.T) {
	c := newTestCluster(t, 3)
	c.startAll()
	other := newTestCluster(t, 3)
	other.startAll()
	for node := 1; node <= 3; node++ {
		other.stop(node)
	}
	c.stop(3)
	before := hashFolder(t, other.folder(3))
	t.Run("another node's", func(t *testing.T) {
		args := c.arguments(3)
		args[4] = other.folder(2)
		refused(t, args, "node 2", other.folder(2))
	})
	t.Run("another cluster's", func(t *testing.T) {
		args := c.arguments(3)
		args[4] = other.folder(3)
		refused(t, args, "cluster", other.folder(3))
	})
	if hashFolder(t, other.folder(3)) != before {
		t.Error("the other cluster's segments were changed")
	}
}

// hashFolder hashes the names, sizes and bytes of all segments below dir.
func hashFolder(t *testing.T, dir string) string {
	t.Helper()
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".segment" {
			return err
		}
		fmt.Fprintln(hash, path, hashFile(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// written returns a file without the zeros at its end: a node goes on behind what is there.
func written(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(text, "\x00")
}

func hashFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %x", len(text), sha256.Sum256(text))
}

// TestCorruptSegment changes one byte of an acknowledged record of a stopped node:
// of its header, which the start sees, and of its payload, which a reader sees at the latest.
func TestCorruptSegment(t *testing.T) {
	for name, place := range map[string]func(at int64) int64{
		"header":  func(at int64) int64 { return at/512*512 + 17 },
		"payload": func(at int64) int64 { return at },
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, 1)
			path, at := fillFragile(t, c)
			flip(t, path, place(at))
			before := written(t, path)
			_, problems, status := stela(t, "", "dump", "segment", path)
			if status != 1 || !strings.Contains(problems, path) {
				t.Errorf("dump segment: status %d, %q", status, problems)
			}
			if name == "header" {
				refused(t, c.arguments(1), path, "nothing was changed or deleted")
			} else {
				c.start(1)
				readFragile(t, c)
				c.kill(1)
			}
			if !bytes.HasPrefix(written(t, path), before) {
				t.Error("what was written before was changed")
			}
		})
	}
}

const fragileMarker = "the record that will rot"

// fillFragile writes records, kills the node and returns where the marked one lies.
func fillFragile(t *testing.T, c *testCluster) (path string, at int64) {
	t.Helper()
	c.startAll()
	cl := c.client(kgo.DefaultProduceTopic("fragile"), kgo.AllowAutoTopicCreation())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 50 {
		value := fmt.Sprintf("record %d", i)
		if i == 20 {
			value = fragileMarker
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.kill(1) // not stopped in order: what is found at the start must not depend on that
	path, at = findInSegments(t, c.folder(1), fragileMarker)
	mustStela(t, "", "dump", "segment", path)
	return path, at
}

// readFragile reads until it meets the changed byte, which must be an error or the end
// of the node, and never a record.
func readFragile(t *testing.T, c *testCluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cl := c.client(kgo.ConsumeTopics("fragile"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepRetryableFetchErrors())
	read := 0
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d records read, then neither an error nor the end of the node", read)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) != fmt.Sprintf("record %d", r.Offset) {
				t.Fatalf("offset %d is %q", r.Offset, r.Value)
			}
			read++
		}
		if read > 20 {
			t.Fatalf("%d records read", read)
		}
		for _, failed := range fetches.Errors() {
			var broker *kerr.Error
			if errors.As(failed.Err, &broker) && !errors.Is(failed.Err, kerr.UnknownTopicOrPartition) && !errors.Is(failed.Err, kerr.LeaderNotAvailable) && !errors.Is(failed.Err, kerr.NotLeaderForPartition) {
				t.Logf("after %d records: %v", read, failed.Err)
				return
			}
		}
		if p := c.nodes[0]; !p.Running() {
			t.Logf("after %d records the node ended: %s", read, c.said[0].tail(2))
			return
		}
	}
}

func findInSegments(t *testing.T, dir, text string) (path string, at int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(p) != ".segment" {
			return err
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if i := strings.Index(string(content), text); i >= 0 {
			path, at = p, int64(i)
		}
		return nil
	})
	if err == nil && path == "" {
		err = errors.New("no segment holds it")
	}
	if err != nil {
		t.Fatalf("find %q: %v", text, err)
	}
	return path, at
}

// flip inverts one byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
