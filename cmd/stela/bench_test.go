package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stela-db/stela/bench"
)

// One real process takes a megabyte of B1, and the report has it.
func TestBenchSmoke(t *testing.T) {
	folder := t.TempDir()
	var results []bench.Result
	err := bench.Run(t.Context(), bench.Settings{
		Workloads: []bench.Config{{
			ID: "B1", Title: "smoke", Kind: bench.KindProduce, Nodes: 1, Partitions: 3, Records: 10_000, RecordBytes: 1024, Linger: 5 * time.Millisecond,
		}},
		Peers: []*bench.Peer{{Name: "stela", System: &bench.Stela{Path: binary(), Build: "test"}}},
		Pairs: 1, Quick: true, Out: folder, Data: filepath.Join(folder, "data"), Port: 22000 + os.Getpid()%10000,
		Finished: func(r bench.Result) { results = append(results, r) },
	})
	if err != nil || len(results) != 1 || results[0].Failed != "" {
		t.Fatalf("results %+v: %v", results, err)
	}
	figures := results[0].Figures
	if figures[bench.FigureThroughput] <= 0 || figures[bench.FigureErrors] != 0 || figures[bench.FigureSyncs] <= 0 || figures[bench.FigureP99] <= 0 {
		t.Errorf("figures %v", figures)
	}
	if written := figures[bench.FigureLogBytes]; written < 1 || written > 1.5 {
		t.Errorf("the log wrote %v bytes per byte", written)
	}
	page := filepath.Join(folder, "RESULTS.md")
	mustStela(t, "", "bench", "report", "--out", folder, "--page", page)
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "QUICK RUN") || !strings.Contains(string(text), "| stela |") {
		t.Errorf("the page: %v\n%s", err, text)
	}
}

func TestBenchRefusals(t *testing.T) {
	for _, test := range [][]string{
		{"bench", "run"}, {"bench", "run", "B1", "--peers", "kafak"}, {"bench", "run", "B1", "--pairs", "0"},
	} {
		if _, problems, status := stela(t, "", test...); status != 2 {
			t.Errorf("%v: status %d, %s", test, status, problems)
		}
	}
	if _, problems, status := stela(t, "", "bench", "run", "B77"); status != 1 || !strings.Contains(problems, "stela bench list") {
		t.Errorf("unknown workload: status %d, %s", status, problems)
	}
	if _, problems, status := stela(t, "", "bench", "report", "--out", t.TempDir()); status != 1 || !strings.Contains(problems, "stela bench run") {
		t.Errorf("no results: status %d, %s", status, problems)
	}
	if out := mustStela(t, "", "bench", "list"); !strings.Contains(out, "B13") || !strings.Contains(out, "synced by a majority") {
		t.Errorf("list: %s", out)
	}
}
