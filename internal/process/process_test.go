package process

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(t *testing.T, script string, out *bytes.Buffer) *Process {
	t.Helper()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	p, err := Start(Config{Path: path, Args: []string{"-c", script}, Output: out, Prefix: "a | "})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestOutputIsPassedByLine(t *testing.T) {
	var out bytes.Buffer
	p := shell(t, `printf 'one\ntw'; printf 'o\n' >&1; printf last`, &out)
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	if want := "a | one\na | two\na | last\n"; out.String() != want {
		t.Errorf("passed %q, wanted %q", out.String(), want)
	}
}

func TestLongLineIsCut(t *testing.T) {
	var out bytes.Buffer
	w := &lineWriter{out: &out}
	if _, err := w.Write([]byte(strings.Repeat("x", 3*maxLineBytes/2))); err != nil {
		t.Fatal(err)
	}
	w.flush()
	if lines := strings.Count(out.String(), "\n"); lines != 2 {
		t.Errorf("%d lines, wanted 2", lines)
	}
}

func TestStopAsksFirst(t *testing.T) {
	var out bytes.Buffer
	p := shell(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do read x < /dev/null; done`, &out)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err != nil && p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("stop: %v", err) // A signal before the trap is set ends it too.
	}
	if p.Running() {
		t.Error("runs after Stop")
	}
}

func TestStopKillsInTheEnd(t *testing.T) {
	var out bytes.Buffer
	p := shell(t, `trap '' TERM; while :; do read x < /dev/null; done`, &out)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = p.Stop(ctx) // The trap may not be set yet; either way it must end.
	if p.Running() {
		t.Error("runs after Stop")
	}
	p.Signal(syscall.SIGTERM)
}

func TestStartOfNothing(t *testing.T) {
	if _, err := Start(Config{Path: "/no/such/program"}); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("start: %v", err)
	}
}

func TestEnvironmentLeavesFlagsOut(t *testing.T) {
	t.Setenv("STELA_DATA", "/x")
	for _, variable := range Environment() {
		if strings.HasPrefix(variable, "STELA_") {
			t.Errorf("kept %s", variable)
		}
	}
}

func TestFreePortsSkipsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().(*net.TCPAddr).Port
	first, err := FreePorts("127.0.0.1", taken-1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if first <= taken {
		t.Errorf("ports from %d include %d, which is taken", first, taken)
	}
	if _, err := FreePorts("127.0.0.1", maxPort, 2); err == nil {
		t.Error("found two ports from the last one on")
	}
}
