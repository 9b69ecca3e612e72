package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
)

const (
	progressEvery = 100 * time.Millisecond
	rebuildPoll   = 50 * time.Millisecond
)

type rebuild struct {
	*general

	all      bool
	verify   bool
	install  bool
	fromDisk string
}

func newRebuild(g *general) *cobra.Command {
	r := &rebuild{general: g}
	cmd := &cobra.Command{
		Use:   "rebuild SERVICE | --all",
		Short: "Fold a service's state anew from offset 0 of the log",
		Long: `Fold a service's state anew from offset 0 of the log, beside the one it has, up to the
same cut, and compare the two. Nothing is decided and nothing is called meanwhile.

A service that runs does it itself, beside its live state. Of one that does not run,
the folder below --data is used; when it has none, the new state becomes its state.
--switch makes the new state the service's when the two are equal. --verify fails
unless there is a state to compare with and it is equal.

--from-disk reads the segment files of a node that is not running instead of asking
the log; nothing in the node's folder is changed.`,
		Example: `  shop rebuild payment --verify
  shop rebuild --all --verify
  shop rebuild payment --switch
  shop rebuild --all --verify --from-disk ./stela-data`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&r.all, "all", false, "all services, one after another")
	flags.BoolVar(&r.verify, "verify", false, "fail unless there is a state and the new one is equal to it")
	flags.BoolVar(&r.install, "switch", false, "use the new state when it is equal")
	flags.StringVar(&r.fromDisk, "from-disk", "", "data `folder` of a node that is not running")
	return cmd
}

// A rebuildResult is what is printed of one service.
type rebuildResult struct {
	Service string  `json:"service"`
	Source  string  `json:"source"` // log, or the folder
	Seconds float64 `json:"seconds"`
	framework.RebuildReport
}

func (r *rebuild) run(ctx context.Context, args []string) error {
	if r.all == (len(args) == 1) {
		return command.Usagef("name one service, or give --all")
	}
	roles, err := chosen(args)
	if err != nil {
		return err
	}
	source, name, closeSource, err := r.source()
	if err != nil {
		return err
	}
	defer closeSource()
	var results []rebuildResult
	t := &command.Table{Head: []string{"SERVICE", "EVENTS", "EVENTS/S", "SECONDS", "KEYS", "RESULT"}}
	digests := &command.Table{}
	equal := true
	for _, role := range roles {
		began := time.Now()
		report, err := r.one(ctx, role, source)
		if err != nil {
			return err
		}
		results = append(results, rebuildResult{Service: role, Source: name, Seconds: time.Since(began).Seconds(), RebuildReport: report})
		t.Add(role, report.Events, fmt.Sprintf("%.0f", report.EventsPerSecond), fmt.Sprintf("%.2f", time.Since(began).Seconds()), report.Keys, describe(report))
		if report.DigestLive != "" {
			digests.Add(role, "live", report.DigestLive)
		}
		digests.Add(role, "rebuilt", report.DigestRebuilt)
		equal = equal && report.State != framework.RebuildMismatch
	}
	if err := r.print(results, t, digests); err != nil {
		return err
	}
	if !equal {
		return command.Advise(errors.New("a rebuilt state differs from the live one"), "'-o json' names the first row that differs")
	}
	return nil
}

func describe(report framework.RebuildReport) string {
	switch report.State {
	case framework.RebuildVerified:
		return "equal"
	case framework.RebuildSwitched:
		return "equal, in use"
	case framework.RebuildMismatch:
		if report.FirstDifference != nil {
			return "DIFFERENT at " + report.FirstDifference.Key
		}
		return "DIFFERENT"
	case framework.RebuildInstalled:
		return "in use; there was none to compare with"
	}
	return report.State
}

// source opens where the events come from.
func (r *rebuild) source() (source framework.Source, name string, closeSource func(), err error) {
	if r.fromDisk != "" {
		disk, err := openDisk(r.fromDisk)
		if err != nil {
			return nil, "", nil, err
		}
		return disk, r.fromDisk, disk.close, nil
	}
	log, err := client.New(r.config().Client)
	if err != nil {
		return nil, "", nil, command.Usage(err)
	}
	return log, "log", log.Close, nil
}

// A job is the rebuild of one service.
type job struct {
	role   string
	config services.Config // says where the new state is built
	source framework.Source
	line   *progressLine
}

// one rebuilds one service.
func (r *rebuild) one(ctx context.Context, role string, source framework.Source) (framework.RebuildReport, error) {
	service, err := r.running(ctx, role)
	if err != nil {
		return framework.RebuildReport{}, err
	}
	j := &job{
		role: role, config: r.config(), source: source,
		line: &progressLine{w: r.Err, role: role, enabled: r.Output == "table" && isTerminal(r.Err)},
	}
	defer j.line.clear()
	switch {
	case service != nil && r.fromDisk == "":
		return r.byService(ctx, j, service)
	case service != nil:
		return r.besideService(ctx, j, service)
	}
	return r.byFolder(ctx, j)
}

// byService has a running service do it.
func (r *rebuild) byService(ctx context.Context, j *job, service *framework.Client) (framework.RebuildReport, error) {
	if err := service.StartRebuild(ctx, r.install); err != nil {
		return framework.RebuildReport{}, fmt.Errorf("rebuild %s: %w", j.role, err)
	}
	for {
		report, err := service.Rebuild(ctx)
		if err != nil {
			return report, fmt.Errorf("rebuild %s: %w", j.role, err)
		}
		switch report.State {
		case framework.RebuildRunning:
			j.line.show(report)
		case framework.RebuildFailed:
			return report, fmt.Errorf("rebuild %s: %s", j.role, report.Error)
		default:
			return report, nil
		}
		select {
		case <-ctx.Done():
			return report, context.Cause(ctx)
		case <-time.After(rebuildPoll):
		}
	}
}

// besideService folds from disk and compares with the digest of the running service.
func (r *rebuild) besideService(ctx context.Context, j *job, service *framework.Client) (framework.RebuildReport, error) {
	if r.install {
		return framework.RebuildReport{}, command.Usagef("--switch with --from-disk needs a stopped service; %s runs", j.role)
	}
	live, err := service.Digest(ctx, "")
	if err != nil {
		return framework.RebuildReport{}, fmt.Errorf("ask %s for its digest: %w", j.role, err)
	}
	to, err := client.ParseCut(live.Cut)
	if err != nil {
		return framework.RebuildReport{}, fmt.Errorf("digest of %s: %w", j.role, err)
	}
	scratch, err := os.MkdirTemp("", "shop-rebuild-")
	if err != nil {
		return framework.RebuildReport{}, fmt.Errorf("make a folder for the rebuild: %w", err)
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // a leftover in the temporary folder harms nobody
	j.config.Data = scratch
	rebuilt, report, err := j.fold(ctx, to)
	if err != nil {
		return report, err
	}
	report.Built(rebuilt)
	report.CompareDigest(live.Digest)
	return report, rebuilt.Close()
}

// byFolder works on the folder of a service that does not run.
func (r *rebuild) byFolder(ctx context.Context, j *job) (framework.RebuildReport, error) {
	where := j.config.StateOf(j.role)
	if !state.Exists(where.FS, where.Dir) {
		if r.verify {
			return framework.RebuildReport{}, command.Advise(fmt.Errorf("%s neither runs nor has a state in %s: there is nothing to compare with", j.role, where.Dir),
				"without --verify it is folded anew and used; or name its folder with --data")
		}
		rebuilt, report, err := j.fold(ctx, nil)
		if err != nil {
			return report, err
		}
		report.Built(rebuilt)
		if err := rebuilt.Close(); err != nil {
			return report, err
		}
		report.State = framework.RebuildInstalled
		return report, framework.InstallRebuilt(where)
	}
	var report framework.RebuildReport
	err := r.stopped(j.role, func(live *state.Tx) error {
		var rebuilt *framework.Rebuilt
		var err error
		if rebuilt, report, err = j.fold(ctx, live.Folded()); err != nil {
			return err
		}
		return errors.Join(report.Verify(live, rebuilt), rebuilt.Close())
	})
	if err == nil && r.install && report.State == framework.RebuildVerified {
		report.State = framework.RebuildSwitched
		err = framework.InstallRebuilt(where)
	}
	return report, err
}

// fold folds the events up to a cut, or all, beside the state that config names.
func (j *job) fold(ctx context.Context, to client.Cut) (*framework.Rebuilt, framework.RebuildReport, error) {
	var report framework.RebuildReport
	definition, err := j.config.Definition(j.role)
	if err != nil {
		return nil, report, err
	}
	began := time.Now()
	rebuilt, err := framework.Rebuild(ctx, framework.RebuildRequest{
		Definition: definition, State: j.config.StateOf(j.role), Source: j.source, To: to,
		Progress: func(p client.Progress) {
			report.Note(p, time.Since(began))
			j.line.show(report)
		},
	})
	return rebuilt, report, err
}

// A progressLine is a line on a terminal that is written again and again.
type progressLine struct {
	w       io.Writer
	role    string
	enabled bool
	shown   bool
	last    time.Time
}

func (l *progressLine) show(report framework.RebuildReport) {
	if !l.enabled || time.Since(l.last) < progressEvery {
		return
	}
	l.last, l.shown = time.Now(), true
	percent := 100.0
	if report.Total > 0 {
		percent = 100 * float64(report.Events) / float64(report.Total)
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s: %d of %d events, %.0f %%, %.0f/s, %.0f s left",
		l.role, report.Events, report.Total, percent, report.EventsPerSecond, report.ETASeconds)
}

func (l *progressLine) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
