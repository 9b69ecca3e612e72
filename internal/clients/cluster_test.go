package clients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyTimeout bounds the time from the start of three processes until all are ready.
	readyTimeout = 60 * time.Second
	// smokeTimeout bounds one client's test.
	smokeTimeout = 3 * time.Minute
	nodes        = 3
)

// brokers are the Kafka addresses of the cluster under test, comma separated; set by TestMain.
var brokers string

// binary is the stela that was built, or empty with STELA_BROKERS; set by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if brokers = os.Getenv("STELA_BROKERS"); brokers != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "stela-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "stela")
	began := time.Now()
	build := exec.Command("go", "build", "-o", binary, "./cmd/stela")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build stela: %v\n%s", err, out)
		return 1
	}
	built := time.Now()
	stop, err := startCluster(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("stela built in %.1f s, three nodes ready in %.1f s\n", built.Sub(began).Seconds(), time.Since(built).Seconds())
	defer stop()
	return m.Run()
}

// startCluster runs `stela cluster up` and returns when all nodes are ready.
func startCluster(dir string) (stop func(), err error) {
	ports, err := freePorts(3 * nodes)
	if err != nil {
		return nil, err
	}
	port := func(i int) string { return strconv.Itoa(ports + i*nodes) }
	cmd := exec.Command(binary, "cluster", "up", "--nodes", strconv.Itoa(nodes), "--data", filepath.Join(dir, "data"),
		"--kafka-port", port(0), "--http-port", port(1), "--raft-port", port(2))
	said := &transcript{}
	read, write := io.Pipe()
	cmd.Stderr = io.MultiWriter(said, write)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); write.Close() }()
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			fmt.Fprintln(os.Stderr, "the cluster did not end within 30 s of SIGTERM")
		}
		if testing.Verbose() || os.Getenv("STELA_LOGS") != "" {
			fmt.Fprintf(os.Stderr, "the cluster's last words:\n%s", said.tail())
		}
	}
	ready := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "cluster is ready") {
				close(ready)
				break
			}
		}
		_, _ = io.Copy(io.Discard, read)
	}()
	select {
	case <-ready:
	case err := <-ended:
		return nil, fmt.Errorf("the cluster ended: %w\n%s", err, said.tail())
	case <-time.After(readyTimeout):
		stop()
		return nil, errors.New("the cluster was not ready in " + readyTimeout.String() + "\n" + said.tail())
	}
	var addresses []string
	for i := range nodes {
		addresses = append(addresses, net.JoinHostPort("127.0.0.1", strconv.Itoa(ports+i)))
	}
	brokers = strings.Join(addresses, ",")
	return stop, nil
}

// freePorts returns the first of count ports in a row that nobody listens on.
func freePorts(count int) (int, error) {
	for first := 21092; first < 60000; first += count {
		free := true
		for port := first; free && port < first+count; port++ {
			listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if free = err == nil; free {
				listener.Close()
			}
		}
		if free {
			return first, nil
		}
	}
	return 0, errors.New("no free ports")
}

// A transcript keeps the last of what was written to it.
type transcript struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if most := 64 << 10; len(t.text) > most {
		t.text = append([]byte{}, t.text[len(t.text)-most/2:]...)
	}
	return len(b), nil
}

func (t *transcript) tail() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(t.text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-60):], []byte("\n")))
}

// missing skips the test of a client that cannot be had, or fails it in CI.
func missing(t *testing.T, client string, why error) {
	t.Helper()
	text := fmt.Sprintf("\n*** %s IS MISSING, its smoke test did not run: %v ***\n", strings.ToUpper(client), why)
	if os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	fmt.Fprint(os.Stderr, text)
	t.Skip(text)
}

// command runs a program and returns what it printed; a failure ends the test.
func command(t *testing.T, env []string, stdin, name string, args ...string) string {
	t.Helper()
	out, err := try(t, env, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}

func try(t *testing.T, env []string, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if err != nil {
		return out.String() + problems.String(), err
	}
	return out.String(), nil
}

// unique returns a topic name that no earlier run used.
func unique(prefix string) string {
	return prefix + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}
