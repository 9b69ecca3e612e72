package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/bench"
	"github.com/stela-db/stela/cmd/internal/command"
)

// benchPort is from where on free ports are looked for.
const benchPort = 23000

const (
	// drawEvery is how often the progress line is drawn.
	drawEvery = 200 * time.Millisecond
	// tellEvery is the same where it is not a terminal.
	tellEvery = 30 * time.Second
	// clientGC is by how many percent the client's memory may grow before it is collected.
	clientGC = 400
)

type benchRun struct {
	*general
	peers []string
	pairs int
	quick bool
	out   string
	data  string
	port  int
	size  byteCount

	drawn   time.Time // when the progress line was drawn last
	columns int       // how long it is
}

func newBenchRun(g *general) *cobra.Command {
	c := &benchRun{general: g}
	cmd := &cobra.Command{
		Use:   "run WORKLOAD... | all",
		Short: "Run workloads against peers, in turn",
		Long: `Run workloads against peers, in turn: A B C, A B C, as often as --pairs says.
Each result is appended to ` + bench.ResultsFile + ` in --out when it is there, so Ctrl-C leaves
what was measured; 'stela bench report' makes tables and plots of it. Every
system takes 8 GB before its first figure, since a cold JVM is two to
three times slower.

Nothing else should run on the machine. A row of the table is one run.`,
		Example: `  stela bench run B1 B3 --peers stela,kafka,kafka-sync,nats,postgres
  stela bench run all --peers all --pairs 5
  stela bench run B4 --quick`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&c.peers, "peers", []string{"stela"}, "`names` of 'stela bench list', or all")
	flags.IntVar(&c.pairs, "pairs", 5, "how often each peer gets its turn (with --quick: 1)")
	flags.BoolVar(&c.quick, "quick", false, "a tenth of everything, to see that it works; its figures are no figures")
	flags.StringVar(&c.out, "out", benchFolder, "the `folder` for results and logs")
	flags.StringVar(&c.data, "data", "", "the `folder` for the peers' data, removed at the end (default data in --out)")
	flags.Var(&c.size, "data-bytes", "how much B11 has on disk; 0 is what it says (20 GB, with --quick 2)")
	flags.IntVar(&c.port, "port", benchPort, "free ports are looked for from here on")
	return cmd
}

func (c *benchRun) run(ctx context.Context, ids []string) error {
	workloads, err := bench.WorkloadsNamed(ids)
	if err != nil {
		return command.Advise(err, "'stela bench list' has them")
	}
	peers, err := benchPeersNamed(c.peers)
	if err != nil {
		return err
	}
	if c.pairs < 1 {
		return command.Usagef("--pairs is %d; use 1 or more", c.pairs)
	}
	if c.quick {
		c.pairs = 1
		fmt.Fprintln(c.Err, "--quick: small runs of cold peers; do not quote these figures")
	}
	if c.data == "" {
		c.data = filepath.Join(c.out, "data")
	}
	data, err := filepath.Abs(c.data) // Peers have working folders of their own.
	if err != nil {
		return fmt.Errorf("find the folder for data: %w", err)
	}
	for i, config := range workloads {
		if config.Kind == bench.KindElsewhere {
			fmt.Fprintf(c.Err, "%s: %s\n", config.ID, config.Title)
		}
		if c.size > 0 && config.Kind == bench.KindRecovery {
			workloads[i] = config.Holding(int64(c.size))
		}
	}
	// The client makes garbage faster than any server; what it costs to collect is no peer's.
	debug.SetGCPercent(clientGC)
	info := currentVersion()
	err = bench.Run(ctx, bench.Settings{
		Workloads: workloads, Peers: peers, Pairs: c.pairs, Quick: c.quick, Out: c.out, Data: data, Port: c.port,
		Environment: bench.Environment{Command: commandLine(), Commit: commitOf(ctx, info), Version: info.Version},
		Progress:    c.progress, Finished: c.finished,
	})
	c.clear()
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(c.Err, "stopped; what was measured is in %s\n", filepath.Join(c.out, bench.ResultsFile))
		return command.ErrSilent
	}
	if err == nil && c.Output == "table" {
		fmt.Fprintf(c.Err, "results are in %s; see 'stela bench report --help'\n", filepath.Join(c.out, bench.ResultsFile))
	}
	return err
}

// commandLine is what was typed, without the path of the binary.
func commandLine() string { return strings.Join(append([]string{"stela"}, os.Args[1:]...), " ") }

// commitOf returns the commit in the binary or, for 'go run', of the source tree that we are in.
func commitOf(ctx context.Context, info versionInfo) string {
	if info.Commit != "unknown" {
		return info.Commit
	}
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return info.Commit
	}
	return strings.TrimSpace(string(out))
}

// progress draws one line over the last one. Where nobody looks, in a file or a pipe, a line now and then says what runs.
func (c *benchRun) progress(p bench.Progress) {
	file, ok := c.Err.(*os.File)
	live := ok && isTerminal(file)
	every := drawEvery
	if !live {
		every = tellEvery
	}
	if time.Since(c.drawn) < every {
		return
	}
	text := fmt.Sprintf("%s %s %d/%d: %s", p.Workload, p.Peer, p.Pair, p.Pairs, p.Phase)
	if p.Done > 0 {
		text += fmt.Sprintf(" %.0f %%", 100*p.Done)
	}
	c.clear()
	c.drawn = time.Now()
	if !live {
		fmt.Fprintln(c.Err, text)
		return
	}
	fmt.Fprint(c.Err, text)
	c.columns = len(text)
}

// clear removes the progress line.
func (c *benchRun) clear() {
	if c.columns > 0 {
		fmt.Fprint(c.Err, "\r"+strings.Repeat(" ", c.columns)+"\r")
		c.columns = 0
	}
}

// finished prints one result.
func (c *benchRun) finished(r bench.Result) {
	c.clear()
	if c.Output != "table" {
		if err := json.NewEncoder(c.Out).Encode(r); err != nil {
			fmt.Fprintf(c.Err, "print a result: %v\n", err)
		}
		return
	}
	fmt.Fprintln(c.Out, bench.Summary(r))
}
