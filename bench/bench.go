package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Settings say what to run.
type Settings struct {
	Workloads []Config
	Peers     []*Peer // in the order in which they take turns
	Pairs     int     // how often each peer gets its turn
	Quick     bool    // smaller workloads and little warming: to see that it works
	Out       string  // the folder for results and logs; what is there is added to
	Data      string  // the folder for the peers' data; what is made there is removed again
	Port      int     // free ports are looked for from here on

	// Environment begins the results; what can be read from the machine is filled in.
	Environment Environment

	// Progress, if set, is told what runs; Finished gets every result once it is written.
	Progress func(Progress)
	Finished func(Result)
}

// Progress is what runs at the moment.
type Progress struct {
	Workload string
	Peer     string
	Pair     int
	Pairs    int
	Phase    string  // "start", "warm up", "measure"
	Done     float64 // 0 to 1 of the phase; 0 when it is not known
}

// The files in Settings.Out.
const (
	ResultsFile = "results.jsonl"
	logsFolder  = "logs"
)

// runTimeout bounds one run of one peer, however slow.
const runTimeout = 20 * time.Minute

// A line is one line of ResultsFile; one of its fields is set.
type line struct {
	Environment *Environment `json:"environment,omitempty"`
	Result      *Result      `json:"result,omitempty"`
}

// A bench is one benchmark in progress. It is used from one goroutine.
type bench struct {
	Settings
	kernel   kernel
	disk     string
	results  *os.File
	versions map[string]string  // by peer; one that cannot be had is not in it
	shared   map[string]*hosted // by system
	serial   int                // numbers folders and topics
}

// Run runs the workloads and writes each result when it is there. An error is one of
// this side (a folder, ctx's end); a peer's failure is a result.
func Run(ctx context.Context, settings Settings) error {
	b := &bench{
		Settings: settings, kernel: kernel{root: "/proc"},
		versions: map[string]string{}, shared: map[string]*hosted{},
	}
	if err := b.open(); err != nil {
		return err
	}
	defer b.results.Close()
	defer b.closeShared()
	if err := b.introduce(ctx); err != nil {
		return err
	}
	for _, config := range b.Workloads {
		if config.Kind == KindElsewhere {
			continue
		}
		if b.Quick {
			config = config.Quick()
		}
		if ownCluster(config.Kind) {
			b.closeShared() // Their memory and threads would be in the picture.
		}
		for pair := 1; pair <= config.turns(b.Pairs); pair++ {
			for _, peer := range b.Peers {
				if err := b.turn(ctx, &run{bench: b, config: config, peer: peer, pair: pair}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *bench) open() error {
	for _, dir := range []string{filepath.Join(b.Out, logsFolder), b.Data} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make a folder for the benchmark: %w", err)
		}
	}
	file, err := os.OpenFile(filepath.Join(b.Out, ResultsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the results: %w", err)
	}
	b.results = file
	b.disk = diskOf(b.Data)
	return nil
}

// introduce finds out who can be measured, and writes that and the machine down.
func (b *bench) introduce(ctx context.Context) error {
	b.Environment.Began = time.Now().UTC().Truncate(time.Second)
	b.Environment.Pairs, b.Environment.Quick = b.Pairs, b.Quick
	b.Environment.describe(b.kernel, b.disk)
	for _, peer := range b.Peers {
		info := PeerInfo{Name: peer.Name, Durability: peer.Durability}
		version, err := peer.Version(ctx)
		if err != nil {
			info.Missing = err.Error()
		} else {
			b.versions[peer.Name], info.Version = version, version
		}
		b.Environment.Peers = append(b.Environment.Peers, info)
	}
	return b.write(line{Environment: &b.Environment})
}

// turn runs one workload once against one peer. Whatever goes wrong there is a result.
func (b *bench) turn(ctx context.Context, r *run) error {
	if reason := b.reasonAgainst(r); reason != "" {
		if r.pair > 1 {
			return nil // It was said once.
		}
		return b.finish(Result{
			Workload: r.config.ID, Peer: r.peer.Name, Version: b.versions[r.peer.Name], Pair: r.pair, Quick: b.Quick,
			Began: time.Now().UTC(), Config: r.config, Failed: reason,
		})
	}
	limited, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	err := r.run(limited)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return nil
	}
	if r.peer.System != nil {
		b.retire(r.peer.System.Name()) // The next turn gets healthy processes.
	}
	return b.finish(Result{
		Workload: r.config.ID, Peer: r.peer.Name, Version: b.versions[r.peer.Name], Pair: r.pair, Quick: b.Quick,
		Began: time.Now().UTC(), Config: r.config, Failed: err.Error(),
	})
}

// reasonAgainst says why a run makes no sense, "" when it does.
func (b *bench) reasonAgainst(r *run) string {
	if _, ok := b.versions[r.peer.Name]; !ok {
		i := slices.IndexFunc(b.Environment.Peers, func(p PeerInfo) bool { return p.Name == r.peer.Name })
		return b.Environment.Peers[i].Missing
	}
	switch {
	case r.peer.Program != nil && !slices.Contains(r.peer.Program.Workloads, r.config.ID):
		return notItsWork
	case r.peer.System != nil && r.config.Kind == KindAppend && r.peer.System.Name() != systemStela:
		return notItsWork
	case len(r.peer.TopicConfigs) > 0 && (ownCluster(r.config.Kind) || r.config.Kind == KindCatchUp):
		return sameProcesses
	case len(r.peer.TopicConfigs) > 0 && r.config.Partitions >= manyPartitions:
		return takesTooLong
	}
	return ""
}

const (
	// sameProcesses is why a peer that differs in its topics' configs is missing where these make no difference.
	sameProcesses = "the same processes as without its topics' settings"
	// takesTooLong is why it is missing where each partition syncs for itself.
	takesTooLong = "left out: with a sync for each of so many partitions a turn takes many minutes"
	// manyPartitions is how many those are.
	manyPartitions = 5000
)

// notItsWork is why most peers are missing from some tables.
const notItsWork = "does not do this"

// finish writes a result down and tells of it.
func (b *bench) finish(result Result) error {
	if err := b.write(line{Result: &result}); err != nil {
		return err
	}
	if b.Finished != nil {
		b.Finished(result)
	}
	return nil
}

func (b *bench) write(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a result: %w", err)
	}
	if _, err := b.results.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	return nil
}

// ReadResults reads what Run wrote, in its order: of every workload the runs of the newest
// benchmark that had it, and the environments these were run in, oldest first.
func ReadResults(folder string) ([]Environment, []Result, error) {
	file, err := os.Open(filepath.Join(folder, ResultsFile))
	if err != nil {
		return nil, nil, fmt.Errorf("open the results: %w", err)
	}
	defer file.Close()
	var environments []Environment
	var results []Result
	var of []int // for each result, its environment
	newest := map[string]int{}
	decoder := json.NewDecoder(file)
	for decoder.More() {
		var l line
		if err := decoder.Decode(&l); err != nil {
			return nil, nil, fmt.Errorf("read result %d of %s: %w", len(results)+1, file.Name(), err)
		}
		switch {
		case l.Environment != nil:
			environments = append(environments, *l.Environment)
		case l.Result != nil && len(environments) > 0:
			results, of = append(results, *l.Result), append(of, len(environments)-1)
			newest[l.Result.Workload] = len(environments) - 1
		default:
			return nil, nil, errors.New(file.Name() + " does not begin with an environment")
		}
	}
	var kept []Result
	used := map[int]bool{}
	for i, result := range results {
		if of[i] == newest[result.Workload] {
			kept, used[of[i]] = append(kept, result), true
		}
	}
	var in []Environment
	for i, environment := range environments {
		if used[i] {
			in = append(in, environment)
		}
	}
	return in, kept, nil
}
