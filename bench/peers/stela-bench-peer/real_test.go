package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestRealPeers measures a little with every peer that is installed: what is stored comes
// back, and no server stays.
func TestRealPeers(t *testing.T) {
	installed := os.Getenv("STELA_BENCH_PEERS")
	if home, err := os.UserHomeDir(); err == nil && installed == "" {
		installed = filepath.Join(home, ".cache", "stela-bench")
	}
	server := filepath.Join(installed, "bin", natsServer)
	for _, run := range []struct {
		name string
		args []string
		id   string
		ends int
	}{
		{"NATS", []string{"nats", "--server", server}, bulk, 1},
		{"NATS synced", []string{"nats", "--server", server, "--sync", "always"}, stream, 2},
		{"PostgreSQL", []string{"postgresql"}, stream, 2},
	} {
		t.Run(run.name, func(t *testing.T) {
			if err := command(t.Context(), append(run.args, "version"), strings.NewReader(""), io.Discard); err != nil {
				t.Skip(err)
			}
			var out bytes.Buffer
			dir := folderForAll(t)
			input, closing := io.Pipe()
			defer closing.Close()
			err := command(t.Context(), append(run.args, "run", run.id, dir, `{"records":300,"warm":50}`), input, &out)
			if err != nil {
				t.Fatal(err)
			}
			ends := 0
			for line := range strings.Lines(out.String()) {
				var e event
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				if e.Event == eventEnd {
					ends++
					if e.Errors > 0 || e.Part == "" && e.Records != 300 || e.Part != "" && e.Records != 350 || e.Seconds <= 0 {
						t.Errorf("it ended with %s", line)
					}
				}
				for _, pid := range e.Processes {
					if err := syscall.Kill(pid, 0); err == nil {
						t.Errorf("process %d is still there", pid)
					}
				}
			}
			if ends != run.ends {
				t.Errorf("%d parts, wanted %d:\n%s", ends, run.ends, &out)
			}
		})
	}
}

// TestClosedInputEndsIt is how whoever started the program ends it by dying.
func TestClosedInputEndsIt(t *testing.T) {
	if err := command(t.Context(), []string{"postgresql", "version"}, strings.NewReader(""), io.Discard); err != nil {
		t.Skip(err)
	}
	input, closing := io.Pipe()
	var out closeAtBegin
	out.closing = closing
	err := command(t.Context(), []string{"postgresql", "run", stream, folderForAll(t), `{"records":1000000000,"warm":10}`}, input, &out)
	if err == nil || !strings.Contains(err.Error(), "standard input was closed") {
		t.Errorf("it ended with %v", err)
	}
}

// closeAtBegin closes the input once something is measured.
type closeAtBegin struct {
	bytes.Buffer
	closing io.Closer
}

func (c *closeAtBegin) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(eventBegin)) {
		c.closing.Close()
	}
	return c.Buffer.Write(b)
}

// folderForAll returns a folder that PostgreSQL may enter as another user.
func folderForAll(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUsage(t *testing.T) {
	for args, why := range map[string]string{
		"": "help", "kafka version": "no peer", "nats": "help", "nats --sync never version": "--sync", "nats run B1 d": "B1",
		"postgresql --bin /nowhere version": "/nowhere", "nats --server /nowhere version": "/nowhere",
	} {
		if err := command(context.Background(), strings.Fields(args), strings.NewReader(""), io.Discard); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestNatsConfig(t *testing.T) {
	want := `server_name: node-1
listen: "127.0.0.1:24502"
jetstream {
  store_dir: "/d/node-1"
  sync_interval: always
}
cluster {
  name: bench
  listen: "127.0.0.1:24503"
  routes: [
    "nats://127.0.0.1:24501"
    "nats://127.0.0.1:24505"
  ]
}
`
	if got := natsConfig("/d", 1, 3, 24500, syncAlways); got != want {
		t.Errorf("rendered\n%s", got)
	}
	if got := natsConfig("/d", 0, 1, 24500, syncDefault); strings.Contains(got, "cluster") || strings.Contains(got, "sync") {
		t.Errorf("one node:\n%s", got)
	}
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
