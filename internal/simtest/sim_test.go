package simtest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSim runs seeds until its time is used up. The environment says how much:
//
//	STELA_SIM_TIME=2m      wall time; default 20s
//	STELA_SIM_SEEDS=1-500  which seeds instead, all of them; one number for one
//	STELA_SIM_LOG=1        the nodes' logs on stderr
func TestSim(t *testing.T) {
	first, last := seeds(t)
	budget := 20 * time.Second
	if text := os.Getenv("STELA_SIM_TIME"); text != "" {
		var err error
		if budget, err = time.ParseDuration(text); err != nil {
			t.Fatalf("STELA_SIM_TIME=%q: %v", text, err)
		}
	}
	start := time.Now()
	total := summary{}
	for seed := first; last == 0 && time.Since(start) < budget || last != 0 && seed <= last; seed++ {
		ok := t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { total.add(run(t, seed)) })
		})
		if !ok {
			t.Fatalf("seed %d failed; run it again with: make sim SEEDS=%d", seed, seed)
		}
	}
	t.Logf("%d seeds, %.2f cluster-hours in %.0f s: %d faults, %d acks, %d reads, %d conditional appends, 0 violations",
		total.runs, total.virtual.Hours(), time.Since(start).Seconds(), total.faults, total.acks, total.reads, total.appends)
	fmt.Fprintf(os.Stderr, "simulation: %d seeds, %.2f cluster-hours\n", total.runs, total.virtual.Hours())
}

func seeds(t *testing.T) (first, last uint64) {
	text := os.Getenv("STELA_SIM_SEEDS")
	if text == "" {
		return 1, 0
	}
	from, to, both := strings.Cut(text, "-")
	first, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		t.Fatalf("STELA_SIM_SEEDS=%q: %v", text, err)
	}
	if !both {
		return first, first
	}
	if last, err = strconv.ParseUint(to, 10, 64); err != nil {
		t.Fatalf("STELA_SIM_SEEDS=%q: %v", text, err)
	}
	return first, last
}

type summary struct {
	runs, faults, acks, reads, appends int
	virtual                            time.Duration
}

func (s *summary) add(other summary) {
	s.runs += other.runs
	s.faults += other.faults
	s.acks += other.acks
	s.reads += other.reads
	s.appends += other.appends
	s.virtual += other.virtual
}

func logger() *slog.Logger {
	var out io.Writer = io.Discard
	if os.Getenv("STELA_SIM_LOG") != "" {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// run lives one cluster's life under the faults that the seed chooses.
func run(t *testing.T, seed uint64) summary {
	random := rand.New(rand.NewPCG(seed, 1))
	begin := time.Now()
	cluster := NewCluster(3, 1+random.IntN(2), logger())
	if seed%2 == 0 {
		cluster.Tight()
	}
	if seed%3 == 0 {
		cluster.Direct()
	}
	for id := range int32(3) {
		if err := cluster.Boot(id + 1); err != nil {
			t.Fatal(err)
		}
	}
	history := NewHistory()
	work := cluster.NewWorkload(history, seed)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := work.Create(ctx); err != nil {
		t.Fatal(err)
	}
	work.Start(3, 2)
	var story []string
	kinds := faults()
	for range 4 + random.IntN(5) {
		wait(random, 10*time.Second)
		kind := kinds[random.IntN(len(kinds))]
		at := time.Since(begin)
		told, err := kind.do(cluster, random)
		story = append(story, fmt.Sprintf("%8.3fs %s", at.Seconds(), told))
		if err != nil {
			t.Fatalf("%s: %v\n%s", kind.name, err, strings.Join(story, "\n"))
		}
	}
	if err := cluster.Settle(); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(story, "\n"))
	}
	time.Sleep(10 * time.Second)
	work.Stop()
	final, err := work.ReadAll(ctx)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(story, "\n"))
	}
	violations := history.Check(final)
	if err := cluster.StopAll(); err != nil {
		t.Fatalf("stop: %v\n%s", err, strings.Join(story, "\n"))
	}
	differences, err := cluster.CompareReplicas()
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(story, "\n"))
	}
	if violations = append(violations, differences...); len(violations) > 0 {
		t.Fatalf("seed %d:\n%s\nstory:\n%s", seed, strings.Join(violations, "\n"), strings.Join(story, "\n"))
	}
	acks, reads, appends := history.Counts()
	if acks == 0 || reads == 0 {
		t.Fatalf("nothing happened: %d acks, %d reads, %d appends", acks, reads, appends)
	}
	return summary{runs: 1, faults: len(story), acks: acks, reads: reads, appends: appends, virtual: time.Since(begin)}
}
