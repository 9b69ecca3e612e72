package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
)

// A Program measures a peer that does not speak Kafka. It is called as
//
//	PATH ARGS… version
//	PATH ARGS… run WORKLOAD DIR CONFIG
//
// where WORKLOAD is a Config's ID, DIR an empty folder and CONFIG the Config as
// JSON. The first prints a version, or on standard error why there is none, and
// exits with 1. The second starts the peer, drives it, ends it, and prints Events on standard
// output, one JSON object per line: "ready" when the peer serves, "begin" and "end"
// around what is measured (both may come more than once, for workloads of several
// parts), and nothing else. It exits with 0, or with 1 after a line on standard
// error. It ends its peer when its standard input is closed or it gets SIGTERM.
type Program struct {
	Path      string
	Args      []string
	Workloads []string // the ids of those that it can run
}

// The kinds of Event.
const (
	EventReady = "ready"
	EventBegin = "begin"
	EventEnd   = "end"
)

// An Event is one line of a Program.
type Event struct {
	Event     string `json:"event"`
	Processes []int  `json:"processes,omitempty"` // of ready: the ids of the peer's processes, one for each node: the parent of its others
	Part      string `json:"part,omitempty"`      // of begin and end: which part of the workload, "" for the only one; "replay" of B13

	// Of end: what the client saw.
	Seconds float64    `json:"seconds,omitempty"`
	Records int64      `json:"records,omitempty"` // acknowledged, or read
	Bytes   int64      `json:"bytes,omitempty"`   // of their values
	Errors  int64      `json:"errors,omitempty"`
	Figures Figures    `json:"figures,omitempty"` // further ones, such as FigureConflicts
	Latency []Quantile `json:"latency,omitempty"`
}

// Version returns what the program's version command prints.
func (p *Program) Version(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, p.Path, slices.Concat(p.Args, []string{"version"})...)
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && len(failed.Stderr) > 0 {
		return "", errors.New(strings.TrimSpace(string(failed.Stderr)))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("its program is not installed (%s): %w", installPeers, err)
	}
	if err != nil {
		return "", fmt.Errorf("run %s: %w", p.Path, err)
	}
	return strings.TrimSpace(string(out)), nil
}
