package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxEventBytes bounds one line of a Program.
const maxEventBytes = 1 << 20

// programmed is a Program that runs.
type programmed struct {
	*run
	cmd     *exec.Cmd
	servers []int
	meter   *meter
	began   time.Time
}

// program runs the workload with the peer's own client and measures between its events.
func (r *run) program(ctx context.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.serial++
	dir := filepath.Join(r.Data, fmt.Sprintf("%s-%d-%d", r.peer.Name, os.Getpid(), r.serial))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make a folder for %s: %w", r.peer.Name, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // What is left is below Settings.Data.
	config, err := json.Marshal(r.config)
	if err != nil {
		return fmt.Errorf("encode the workload: %w", err)
	}
	running := &programmed{run: r}
	cmd := exec.CommandContext(ctx, r.peer.Program.Path,
		slices.Concat(r.peer.Program.Args, []string{"run", r.config.ID, dir, string(config)})...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // It ends its servers.
	cmd.WaitDelay = stopTimeout
	var complaint strings.Builder
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe() // The program ends when we are gone.
	if err != nil {
		return fmt.Errorf("start %s: %w", r.peer.Name, err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", r.peer.Name, err)
	}
	r.tell("start", 0)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", r.peer.Name, err)
	}
	running.cmd = cmd
	told := running.listen(ctx, out)
	if running.meter != nil {
		running.meter.abandon()
	}
	if told != nil {
		_ = cmd.Cancel() // It may have ended by itself.
	}
	_, _ = io.Copy(io.Discard, out) // Wait wants to see its end.
	err = cmd.Wait()
	if text := strings.TrimSpace(complaint.String()); text != "" && err != nil {
		err = errors.New(text)
	}
	return errors.Join(told, err)
}

// listen handles the program's events until it has no more.
func (p *programmed) listen(ctx context.Context, out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxEventBytes)
	for lines.Scan() {
		var event Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return fmt.Errorf("read an event of %s: %w", p.peer.Name, err)
		}
		if err := p.handle(ctx, event); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (p *programmed) handle(ctx context.Context, event Event) error {
	switch event.Event {
	case EventReady:
		p.servers = event.Processes
	case EventBegin:
		p.tell("measure "+event.Part, 0)
		p.meter = newMeter(p.kernel, subject{
			pids: p.servers, disk: p.disk, client: func() float64 { return p.kernel.SelfCPU(p.cmd.Process.Pid) },
		})
		p.began = time.Now()
		return p.meter.begin(ctx)
	case EventEnd:
		return p.end(ctx, event)
	default:
		return fmt.Errorf("%s tells of an event %q, which nobody knows", p.peer.Name, event.Event)
	}
	return nil
}

// end reports what was measured since "begin" together with what the client saw.
func (p *programmed) end(ctx context.Context, event Event) error {
	m := p.meter
	if m == nil {
		return fmt.Errorf("%s ended a part that it had not begun", p.peer.Name)
	}
	p.meter = nil
	m.records.Store(event.Records)
	m.bytes.Store(event.Bytes)
	m.errors.Store(event.Errors)
	figures, err := m.end(ctx)
	if err != nil {
		return err
	}
	if event.Seconds > 0 {
		figures[FigureSeconds] = event.Seconds
		figures[FigureRate] = float64(event.Records) / event.Seconds
		figures[FigureThroughput] = float64(event.Bytes) / megabyte / event.Seconds
	}
	latencyFigures(figures, event.Latency)
	maps.Copy(figures, event.Figures)
	return p.report(finding{
		part: event.Part, began: p.began, config: p.config, figures: figures, latency: event.Latency, timeline: m.Timeline(),
	})
}
