package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script is a Program made of shell.
func script(t *testing.T, text string) *Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peer")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Program{Path: path, Workloads: []string{"B3", "B13"}}
}

const talkative = `
case $1 in version) echo 1.2.3; exit;; esac
echo '{"event":"ready","processes":['$$']}'
echo '{"event":"begin"}'
echo '{"event":"end","seconds":2,"records":100,"bytes":1000000,"figures":{"conflicts":7},"latency":[{"q":0.5,"ms":1.5}]}'
echo '{"event":"begin","part":"replay"}'
echo '{"event":"end","part":"replay","seconds":1,"records":50,"bytes":5}'
`

func runPeers(t *testing.T, ids []string, peers ...*Peer) (results []Result, folder string) {
	t.Helper()
	folder = t.TempDir()
	workloads, err := WorkloadsNamed(ids)
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Settings{
		Workloads: workloads, Peers: peers, Pairs: 2, Quick: true, Out: folder, Data: filepath.Join(folder, "data"),
		Finished: func(r Result) { results = append(results, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return results, folder
}

func TestPeersTakeTurns(t *testing.T) {
	peers := []*Peer{
		{Name: "a", Program: script(t, talkative)},
		{Name: "gone", Program: &Program{Path: "/no/such/program"}},
		{Name: "b", Program: script(t, talkative)},
	}
	results, folder := runPeers(t, []string{"B13"}, peers...)
	var order []string
	for _, r := range results {
		order = append(order, r.Peer+r.Part)
	}
	if got, want := strings.Join(order, " "), "a areplay gone b breplay a areplay b breplay"; got != want {
		t.Errorf("order %s, wanted %s", got, want)
	}
	first := results[0]
	if first.Failed != "" || first.Version != "1.2.3" || first.Figures[FigureRate] != 50 || first.Figures[FigureThroughput] != 0.5 ||
		first.Figures[FigureConflicts] != 7 || first.Figures[FigureP50] != 1.5 || !first.Quick {
		t.Errorf("first result: %+v", first)
	}
	if !strings.Contains(results[2].Failed, "/no/such/program") {
		t.Errorf("the missing peer's reason: %q", results[2].Failed)
	}
	environments, kept, err := ReadResults(folder)
	if err != nil || len(kept) != len(results) || environments[0].Peers[1].Missing == "" {
		t.Errorf("read %d of %d results: %v", len(kept), len(results), err)
	}
	if left, err := os.ReadDir(filepath.Join(folder, "data")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestProgramsFailures(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"says why":    {"[ $1 = version ] && exit 0; echo 'disk is full' >&2; exit 1", "disk is full"},
		"no JSON":     {"[ $1 = version ] && exit 0; echo nonsense", "read an event of p"},
		"unknown":     {`[ $1 = version ] && exit 0; echo '{"event":"lunch"}'`, "lunch"},
		"no begin":    {`[ $1 = version ] && exit 0; echo '{"event":"end"}'`, "had not begun"},
		"no version":  {"echo 'install it' >&2; exit 1", "install it"},
		"never stops": {`[ $1 = version ] && exit 0; echo nonsense; exec cat`, "read an event of p"},
	} {
		t.Run(name, func(t *testing.T) {
			results, _ := runPeers(t, []string{"B3"}, &Peer{Name: "p", Program: script(t, test.text)})
			if len(results) == 0 || !strings.Contains(results[0].Failed, test.want) {
				t.Errorf("results %+v, wanted a failure with %q", results, test.want)
			}
		})
	}
}

func TestWhatAPeerDoesNotDoIsSaidOnce(t *testing.T) {
	results, _ := runPeers(t, []string{"B1"}, &Peer{Name: "p", Program: script(t, talkative)})
	if len(results) != 1 || results[0].Failed != notItsWork {
		t.Errorf("results %+v", results)
	}
}

// Ctrl-C ends the benchmark, and what was measured is on disk.
func TestInterruptLeavesResults(t *testing.T) {
	folder := t.TempDir()
	workloads, err := WorkloadsNamed([]string{"B3"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = Run(ctx, Settings{
		Workloads: workloads, Peers: []*Peer{{Name: "p", Program: script(t, talkative)}}, Pairs: 100,
		Out: folder, Data: folder, Finished: func(Result) { cancel() },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the benchmark ended with %v", err)
	}
	if _, kept, err := ReadResults(folder); err != nil || len(kept) == 0 {
		t.Errorf("%d results are left: %v", len(kept), err)
	}
}
