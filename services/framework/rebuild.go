package framework

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/state"
)

// A Source is where a rebuild reads the log: a *client.Client through the protocol, or
// the segment files of a node that is down.
type Source interface {
	// Cut returns where the topics end.
	Cut(ctx context.Context, topics ...string) (client.Cut, error)
	// Replay visits every record from offset 0 to a cut.
	Replay(ctx context.Context, request client.ReplayRequest) error
}

// A RebuildRequest says what to rebuild.
type RebuildRequest struct {
	Definition Definition
	// State is the live database's configuration; the new one is built beside it.
	State state.Config
	// Source is where the events come from.
	Source Source
	// To is the cut to stop at; nil: where the topics end.
	To client.Cut
	// Progress, if set, is called as the rebuild goes on.
	Progress func(client.Progress)
}

// Rebuilt is a database that was folded anew. Close it.
type Rebuilt struct {
	Core   *Core
	Digest state.Digest
	Events int64 // records that were read
}

// Close closes the rebuilt database; it stays beside the live one until it is installed.
func (r *Rebuilt) Close() error { return r.Core.Database().Close() }

// Rebuild folds the definition's topics from offset 0 to a cut into a database beside
// the live one. Nothing is decided and nothing is called.
func Rebuild(ctx context.Context, request RebuildRequest) (*Rebuilt, error) {
	definition := request.Definition
	end, err := request.Source.Cut(ctx, definition.folds()...)
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", definition.Name, err)
	}
	to := request.To
	if to == nil {
		to = end
	}
	if !end.Covers(to) {
		return nil, fmt.Errorf("rebuild %s: the state has seen %s, the log ends at %s", definition.Name, to, end)
	}
	database, err := state.OpenNext(request.State)
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", definition.Name, err)
	}
	rebuilt := &Rebuilt{Core: NewCore(definition, database)}
	if err := rebuilt.fill(ctx, request, to); err != nil {
		return nil, errors.Join(fmt.Errorf("rebuild %s: %w", definition.Name, err), database.Close())
	}
	return rebuilt, nil
}

func (r *Rebuilt) fill(ctx context.Context, request RebuildRequest, to client.Cut) error {
	chunk := make([]client.Record, 0, maxFoldRecords)
	flush := func() error {
		err := r.Core.Fold(chunk)
		r.Events += int64(len(chunk))
		chunk = chunk[:0]
		return err
	}
	err := request.Source.Replay(ctx, client.ReplayRequest{To: to, Progress: request.Progress, Visit: func(record client.Record) error {
		chunk = append(chunk, record)
		if len(chunk) < maxFoldRecords {
			return nil
		}
		return flush()
	}})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = r.stand(to)
	}
	if err == nil {
		err = r.Core.Database().Sync()
	}
	if err != nil {
		return err
	}
	tx := r.Core.Database().Begin()
	defer tx.Discard()
	r.Digest, err = tx.Digest()
	return err
}

// stand moves the checkpoints to the cut, past offsets at its end that hold no record.
func (r *Rebuilt) stand(to client.Cut) error {
	tx := r.Core.Database().Begin()
	defer tx.Discard()
	for topic, offsets := range to {
		for partition, next := range offsets {
			if next > 0 {
				tx.SetFolded(topic, int32(partition), next)
			}
		}
	}
	return tx.Commit()
}

// InstallRebuilt makes a closed rebuilt database the live one, which must be closed too.
// What cannot be rebuilt from the folded topics is taken over from the live one, if there
// is one. Without, the inputs are read from the start; the facts are there, so what was
// decided is not decided again.
func InstallRebuilt(config state.Config) error {
	if err := state.TakeOver(config); err != nil {
		return fmt.Errorf("install rebuilt state: %w", err)
	}
	return nil
}

// The states of a rebuild.
const (
	RebuildRunning   = "running"
	RebuildBuilt     = "built"     // and not compared
	RebuildVerified  = "verified"  // equal to the live state
	RebuildMismatch  = "mismatch"  // not equal
	RebuildSwitched  = "switched"  // equal, and in use
	RebuildInstalled = "installed" // in use; there was no state before
	RebuildFailed    = "failed"
)

// RebuildReport is what is known of a rebuild, also while it goes on.
type RebuildReport struct {
	State           string            `json:"state"`
	Events          int64             `json:"events"`
	Total           int64             `json:"total"`
	EventsPerSecond float64           `json:"eventsPerSecond"`
	ETASeconds      float64           `json:"etaSeconds"`
	Cut             string            `json:"cut,omitempty"`
	Keys            int64             `json:"keys,omitempty"`
	DigestLive      string            `json:"digestLive,omitempty"`
	DigestRebuilt   string            `json:"digestRebuilt,omitempty"`
	FirstDifference *state.Difference `json:"firstDifference,omitempty"`
	Error           string            `json:"error,omitempty"`
}

// Note brings the report up to a replay's progress.
func (r *RebuildReport) Note(p client.Progress, elapsed time.Duration) {
	r.State, r.Events, r.Total = RebuildRunning, p.Done, p.Total
	if seconds := elapsed.Seconds(); seconds > 0 && p.Done > 0 {
		r.EventsPerSecond = float64(p.Done) / seconds
		r.ETASeconds = float64(p.Total-p.Done) / r.EventsPerSecond
	}
}

// Built notes what was built.
func (r *RebuildReport) Built(rebuilt *Rebuilt) {
	digest := rebuilt.Digest
	r.State, r.Events, r.DigestRebuilt, r.Keys, r.Cut = RebuildBuilt, rebuilt.Events, digest.String(), digest.Keys, digest.Cut.String()
}

// CompareDigest compares what was built with a live state's digest of the same cut.
func (r *RebuildReport) CompareDigest(live string) {
	r.DigestLive, r.State = live, RebuildMismatch
	if live == r.DigestRebuilt {
		r.State = RebuildVerified
	}
}

// Verify notes what was built, compares it with the live state of the same cut, and names
// the first difference.
func (r *RebuildReport) Verify(live *state.Tx, rebuilt *Rebuilt) error {
	r.Built(rebuilt)
	digest, err := live.Digest()
	if err != nil {
		return err
	}
	if r.CompareDigest(digest.String()); r.State == RebuildVerified {
		return nil
	}
	tx := rebuilt.Core.Database().Begin()
	defer tx.Discard()
	r.FirstDifference, err = state.Compare(live, tx)
	return err
}

// rebuildStatus is the newest rebuild of a running service.
type rebuildStatus struct {
	mu     sync.Mutex // guards report, active
	report RebuildReport
	active bool
}

func (r *rebuildStatus) update(change func(*RebuildReport)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.report)
}

func (r *rebuildStatus) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active {
		return false
	}
	r.active, r.report = true, RebuildReport{State: RebuildRunning}
	return true
}

func (r *rebuildStatus) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active = false
}

func (r *rebuildStatus) get() RebuildReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report
}

// rebuildBeside rebuilds the state of a running session at the cut where it stands now,
// compares the two, and has the new one take over when it is equal and install is set.
// It ends with ctx, which ends with the session.
func (s *Service) rebuildBeside(ctx context.Context, current *session, install bool) {
	defer s.rebuild.end()
	live := current.core.Database().Begin()
	defer live.Discard()
	started := s.config.Now()
	rebuilt, err := Rebuild(ctx, RebuildRequest{
		Definition: s.definition, State: s.config.State, Source: s.config.Client, To: live.Folded(),
		Progress: func(p client.Progress) {
			s.rebuild.update(func(r *RebuildReport) { r.Note(p, s.config.Now().Sub(started)) })
		},
	})
	var report RebuildReport
	if err == nil {
		report = s.rebuild.get()
		err = errors.Join(report.Verify(live, rebuilt), rebuilt.Close())
	}
	switch {
	case err != nil:
		report.State, report.Error = RebuildFailed, err.Error()
	case install && report.State == RebuildVerified:
		// It goes on until the session has ended and the new database is in its place.
		report.State = RebuildRunning
		s.rebuild.update(func(r *RebuildReport) { *r = report })
		live.Discard()
		current.fail(errSwitch)
		return
	}
	s.rebuild.update(func(r *RebuildReport) { *r = report })
}

// takeOver makes the rebuilt database of a session that has ended with errSwitch, and perhaps
// more, the live one, and says what came of it.
func (s *Service) takeOver(ended error) error {
	err := besides(ended, errSwitch)
	if err == nil {
		err = InstallRebuilt(s.config.State)
	}
	s.rebuild.update(func(r *RebuildReport) {
		if r.State = RebuildSwitched; err != nil {
			r.State, r.Error = RebuildFailed, err.Error()
		}
	})
	return err
}

// besides returns what is joined with one error in another.
func besides(err, known error) error {
	if err == known { //nolint:errorlint // it is one of the parts, not what they wrap
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var rest []error
	for _, part := range joined.Unwrap() {
		rest = append(rest, besides(part, known))
	}
	return errors.Join(rest...)
}
