// Package process runs child processes: it starts them, passes their output on
// line by line under a name, asks them to stop, and kills them.
//
// It knows executables and signals; it does not know what a child does.
//
// No child outlives its parent on Linux, not even a parent that was killed: the
// kernel is asked to send SIGKILL then. A child has a process group of its own, so
// Ctrl-C in a terminal reaches the parent only, which decides what ends when.
//
// A Process may be used from any goroutine. The goroutine that Start begins ends
// with the child.
package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// maxLineBytes is how much of an unfinished line is held back.
const maxLineBytes = 16 << 10

// A Config says what to run.
type Config struct {
	Path string   // the executable; empty is the running one
	Args []string // without the executable's name
	Env  []string // all variables as "name=value"; nil is Environment()
	Dir  string   // working directory; empty is the parent's

	// Credential is whom the child runs as, which only root may choose; nil is the parent's.
	Credential *syscall.Credential

	// Output takes standard output and error, whole lines only, each behind
	// Prefix. Several children may share it: one line is one Write, and writes of
	// one child do not overlap. nil throws them away.
	Output io.Writer
	Prefix string
}

// A Process is one child.
type Process struct {
	cmd   *exec.Cmd
	lines *lineWriter
	done  chan struct{}
	err   error // how the child ended; written before done is closed
}

// Environment returns this process's variables without those that stand for a
// stela flag, which would otherwise reach every child.
func Environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "STELA_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Start starts a child and returns once it runs.
func Start(config Config) (*Process, error) {
	path := config.Path
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program's file: %w", err)
		}
		path = self
	}
	cmd := exec.Command(path, config.Args...)
	cmd.Dir = config.Dir
	cmd.Env = config.Env
	if cmd.Env == nil {
		cmd.Env = Environment()
	}
	cmd.SysProcAttr = attributes()
	cmd.SysProcAttr.Credential = config.Credential
	p := &Process{cmd: cmd, lines: &lineWriter{out: config.Output, prefix: config.Prefix}, done: make(chan struct{})}
	if config.Output != nil {
		cmd.Stdout, cmd.Stderr = p.lines, p.lines
	}
	started := make(chan error, 1)
	go p.live(started) // ends with the child
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// live starts the child and waits for its end on one thread: the kernel's
// parent-death signal is about the thread that forked, so it must stay.
func (p *Process) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	p.lines.flush()
	close(p.done)
}

// ID returns the process id.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and its output has been passed on.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the child ended, nil for status 0. It may be asked after Done.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Running reports whether the child has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal; to a child that has ended it does nothing.
func (p *Process) Signal(s syscall.Signal) {
	if p.Running() {
		_ = p.cmd.Process.Signal(s) // It may end at any time.
	}
}

// Kill ends the child as kill -9 does and waits for the end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the child to end, kills it when ctx ends first, and returns how it ended.
func (p *Process) Stop(ctx context.Context) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop process %d: killed after it did not end: %w", p.ID(), ctx.Err())
	}
}

// A lineWriter passes whole lines on.
type lineWriter struct {
	out    io.Writer
	prefix string

	mu      sync.Mutex // guards partial
	partial []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = append(w.partial, b...)
	for {
		end := bytes.IndexByte(w.partial, '\n')
		if end < 0 && len(w.partial) >= maxLineBytes {
			end = maxLineBytes - 1
		}
		if end < 0 {
			return len(b), nil
		}
		w.pass(w.partial[:end+1])
		w.partial = w.partial[end+1:]
	}
}

func (w *lineWriter) pass(line []byte) {
	whole := append([]byte(w.prefix), line...)
	if whole[len(whole)-1] != '\n' {
		whole = append(whole, '\n')
	}
	// A reader of ours that went away is no reason for the child to end.
	_, _ = w.out.Write(whole)
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 {
		w.pass(w.partial)
		w.partial = nil
	}
}
