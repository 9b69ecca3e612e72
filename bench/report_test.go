package bench

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files")

// someResults are of a benchmark with what can happen: pairs, parts, a missing peer, a failed run.
func someResults() ([]Environment, []Result) {
	began := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	environment := Environment{
		Began: began, Command: "stela bench run B1 B10 --peers all", Commit: "abc", Version: "v0.3.0", Go: "go1.26.8", Pairs: 2,
		Cores: 2, CPU: "Xeon", Memory: 24e9, Disk: "vda, 100 GB", Kernel: "Linux 6.18",
		Peers: []PeerInfo{
			{Name: "stela", Version: "v0.3.0 abc", Durability: "synced by a majority"},
			{Name: "kafka", Version: "4.3.1", Durability: "page cache"},
			{Name: "nats", Durability: "page cache", Missing: "no nats-server; 'make bench-peers' installs it"},
		},
	}
	bulk, fault := Workloads()[0], Config{ID: "B10", Title: "faults"}
	produce := func(peer string, pair int, speed, p99 float64) Result {
		return Result{
			Workload: "B1", Peer: peer, Pair: pair, Began: began, Config: bulk,
			Figures: Figures{
				FigureThroughput: speed, FigureRate: 1000 * speed, FigureMachineCPU: 700 / speed, FigureP50: p99 / 3, FigureP99: p99,
				FigurePeakMemory: 100, FigureGarbage: 0.02,
			},
			Latency:  []Quantile{{0.5, p99 / 3}, {0.99, p99}, {0.999, 2 * p99}, {1, 3 * p99}},
			Timeline: []Moment{{0, 0, 50}, {1, int64(speed * 1e6), 80}, {2, int64(2 * speed * 1e6), 100}},
		}
	}
	gap := func(pair int, seconds float64) Result {
		return Result{Workload: "B10", Part: partKill, Peer: "stela", Pair: pair, Began: began, Config: fault, Figures: Figures{FigureGap: seconds}}
	}
	return []Environment{environment}, []Result{
		produce("stela", 1, 400, 60), produce("kafka", 1, 200, 180),
		{Workload: "B1", Peer: "nats", Pair: 1, Began: began, Config: bulk, Failed: environment.Peers[2].Missing},
		produce("stela", 2, 500, 50),
		{Workload: "B1", Peer: "kafka", Pair: 2, Began: began, Config: bulk, Failed: "node 1\nended | by itself"},
		gap(1, 0.2), gap(1, 1.9), gap(2, 0.3),
	}
}

func TestPage(t *testing.T) {
	environments, results := someResults()
	got := string(renderPage(environments, rowsOf(results), map[string]string{"B1": "plots/B1.svg"}))
	golden := filepath.Join("testdata", "page.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page (-want +got; -update writes it):\n%s", diff)
	}
}

func TestQuickIsSaidLoudly(t *testing.T) {
	environments, results := someResults()
	environments[0].Quick = true
	if page := string(renderPage(environments, rowsOf(results), nil)); !strings.Contains(page, "**QUICK RUN") {
		t.Error("the page of a quick run does not say so")
	}
}

// What Run writes, Report reads; of each workload the newest benchmark counts.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	environments, results := someResults()
	file, err := os.Create(filepath.Join(dir, ResultsFile))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{results: file}
	older := environments[0]
	older.Commit = "old"
	outdated := results[0]
	outdated.Figures = Figures{FigureThroughput: 1}
	lines := []line{{Environment: &older}, {Result: &outdated}, {Environment: &environments[0]}}
	for i := range results {
		lines = append(lines, line{Result: &results[i]})
	}
	for _, l := range lines {
		if err := b.write(l); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	in, kept, err := ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(results, kept, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if len(in) != 1 || in[0].Commit != "abc" {
		t.Errorf("environments %v, wanted the one that counts", in)
	}
	written, err := Report(dir, filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(written) != 3 {
		t.Errorf("written: %v, wanted a plot, a table and the page", written)
	}
	plot, err := os.ReadFile(filepath.Join(dir, plotsFolder, "B1.svg"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(strings.NewReader(string(plot)))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
	if strings.Contains(string(plot), "NaN") || strings.Contains(string(plot), "Inf") {
		t.Error("the plot has places that are none")
	}
}

func TestReportOfNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Report(dir, filepath.Join(dir, "x.md")); err == nil {
		t.Error("a report without results")
	}
	if err := os.WriteFile(filepath.Join(dir, ResultsFile), []byte("{\"result\":{}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Report(dir, filepath.Join(dir, "x.md")); err == nil {
		t.Error("a result without an environment")
	}
}

func TestTargetsNameWorkloads(t *testing.T) {
	for _, target := range targets() {
		if _, err := WorkloadsNamed([]string{target.workload}); err != nil {
			t.Error(err)
		}
	}
	rows := rowsOf([]Result{
		{Workload: "B12", Part: partCold, Peer: peerStela, Figures: Figures{FigureThroughput: 80, FigureColdDisk: 100}},
		{Workload: "B10", Part: partKill, Peer: peerStela, Figures: Figures{FigureGap: 0.1}},
		{Workload: "B10", Part: partKill, Peer: peerStela, Figures: Figures{FigureGap: 2}},
		{Workload: "B10", Part: partKill, Peer: peerStela, Figures: Figures{FigureGap: 0.1}},
	})
	for _, test := range []struct {
		target target
		want   string
	}{
		{target{workload: "B12", part: partCold, figure: FigureThroughput, of: FigureColdDisk, must: 0.9}, "**missed** by 11.1 %"},
		{target{workload: "B12", part: partCold, figure: FigureThroughput, of: FigureColdDisk, must: 0.7, reach: 0.8}, "reached, and beyond"},
		{target{workload: "B10", part: partKill, figure: FigureGap, atMost: true, must: 0.4, reach: 0.05}, "reached"},
		{target{workload: "B10", part: partKill, figure: FigureGap, atMost: true, worst: true, must: 1.6}, "**missed** by 25 %"},
		{target{workload: "B10", part: partKill, figure: FigureGap, reach: 1}, "not reached for"},
	} {
		s, ok := test.target.measure(rows)
		if got := test.target.verdict(s); !ok || got != test.want {
			t.Errorf("%+v: %q (measured %v), wanted %q", test.target, got, ok, test.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.0123456: "0.0123", 1.5: "1.5", 99.96: "100", 1234.4: "1234", 12345: "12.3 k", 1234567: "1235 k", -5: "-5",
	} {
		if got := number(x); got != want {
			t.Errorf("%v is %q, wanted %q", x, got, want)
		}
	}
}

func TestWorkloadsNamed(t *testing.T) {
	got, err := WorkloadsNamed([]string{"b3", "B1", "b1", "B7"})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, config := range got {
		ids = append(ids, config.ID)
	}
	if diff := cmp.Diff([]string{"B1", "B3", "B7", "B7w"}, ids); diff != "" {
		t.Error(diff)
	}
	if all, err := WorkloadsNamed([]string{"all"}); err != nil || len(all) != len(Workloads()) {
		t.Errorf("all are %d: %v", len(all), err)
	}
	if _, err := WorkloadsNamed([]string{"B99"}); err == nil {
		t.Error("B99 is known")
	}
}
