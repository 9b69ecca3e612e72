package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

const (
	maxDigestWait = 30 * time.Second
	shownAsides   = 100
)

// handleOperations adds the routes that every service has.
func (s *Service) handleOperations() {
	s.web.Handle(http.MethodGet, "/healthz", func(r *web.Request) error {
		return r.JSON(http.StatusOK, map[string]string{"status": "ok"})
	})
	s.web.Handle(http.MethodGet, "/readyz", func(r *web.Request) error {
		if err := s.Ready(); err != nil {
			return web.Refuse(http.StatusServiceUnavailable, "%v", err).Later(1)
		}
		return r.JSON(http.StatusOK, map[string]string{"status": "ready"})
	})
	s.web.Handle(http.MethodGet, "/metrics", s.serveMetrics)
	s.web.Handle(http.MethodGet, "/ops/status", s.serveStatus)
	s.web.Handle(http.MethodGet, "/ops/aside", s.serveAsides)
	s.web.Handle(http.MethodGet, "/ops/state/digest", s.serveDigest)
	s.web.Handle(http.MethodPost, "/ops/rebuild", s.startRebuild)
	s.web.Handle(http.MethodGet, "/ops/rebuild", func(r *web.Request) error {
		return r.JSON(http.StatusOK, s.rebuild.get())
	})
}

// Status is what a service tells of itself.
type Status struct {
	Service    string  `json:"service"`
	State      string  `json:"state"` // ready, catching up, stopped
	Detail     string  `json:"detail,omitempty"`
	Address    string  `json:"address"`
	LagEvents  int64   `json:"lagEvents"`  // inputs and own events that are in the log and not dealt with
	LagSeconds float64 `json:"lagSeconds"` // age of the oldest input under way, or how long the state has been behind the log
	Folded     int64   `json:"folded"`     // events, since the process started
	Appended   int64   `json:"appended"`
	Conflicts  int64   `json:"conflicts"`
	Aside      int     `json:"aside"` // records put aside
	Cut        string  `json:"cut"`
}

func (s *Service) serveStatus(r *web.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	return r.JSON(http.StatusOK, s.Status(ctx))
}

// Status returns what the service does and how far behind it is. The lag is -1 while the
// log does not answer.
func (s *Service) Status(ctx context.Context) Status {
	status := Status{
		Service: s.definition.Name, State: "ready", Address: s.config.Address,
		Folded: s.counts.folded.Load(), Appended: s.counts.appended.Load(), Conflicts: s.counts.conflicts.Load(),
	}
	s.mu.RLock()
	current := s.session
	s.mu.RUnlock()
	if err := s.Ready(); err != nil {
		status.State, status.Detail = "catching up", err.Error()
	}
	if current == nil {
		status.State = "stopped"
		return status
	}
	if err := s.Read(func(tx *state.Tx) error {
		_, status.Aside = tx.Asides(0)
		status.Cut = tx.Folded().String()
		return nil
	}); err != nil {
		status.State, status.Detail = "stopped", err.Error()
	}
	for _, w := range current.workers {
		if w.circuit.isOpen() {
			status.Detail = fmt.Sprintf("calls of %s fail; they are tried again", w.effect.Name)
		}
	}
	folded, _ := current.folded.now()
	status.LagSeconds = current.log.behind(s.config.Now(), folded).Seconds()
	if oldest := current.inputs.oldest(); !oldest.IsZero() {
		status.LagSeconds = max(status.LagSeconds, s.config.Now().Sub(oldest).Seconds())
	}
	lag, err := current.lag(ctx)
	if err != nil {
		status.LagEvents, status.Detail = -1, err.Error()
		return status
	}
	status.LagEvents = lag
	return status
}

// lag returns how many events of the folded and the input topics are not dealt with.
func (s *session) lag(ctx context.Context) (lag int64, err error) {
	folded, _ := s.folded.now()
	taken := s.inputs.checkpoints()
	for _, side := range []struct {
		topics []string
		at     client.Cut
	}{{s.definition.folds(), folded}, {s.definition.Inputs, taken}} {
		if len(side.topics) == 0 {
			continue
		}
		end, err := s.client.Cut(ctx, side.topics...)
		if err != nil {
			return 0, err
		}
		for topic, offsets := range end {
			for partition, offset := range offsets {
				lag += max(0, offset-side.at.Offset(topic, int32(partition)))
			}
		}
	}
	return lag, nil
}

func (s *Service) serveAsides(r *web.Request) error {
	var asides []state.Aside
	var count int
	err := s.Read(func(tx *state.Tx) error {
		asides, count = tx.Asides(shownAsides)
		return nil
	})
	if err != nil {
		return unavailable(err)
	}
	return r.JSON(http.StatusOK, map[string]any{"count": count, "records": asides})
}

// DigestReport is a digest as the operations API tells it.
type DigestReport struct {
	Service   string `json:"service"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
	Keys      int64  `json:"keys"`
	Cut       string `json:"cut"`
}

// Report returns the digest as the operations API tells it.
func Report(service string, d state.Digest) DigestReport {
	return DigestReport{Service: service, Algorithm: "sha256", Digest: d.String(), Keys: d.Keys, Cut: d.Cut.String()}
}

// serveDigest answers with the digest at the current cut, or waits for the cut that was
// asked for; a cut that has passed cannot be shown any more.
func (s *Service) serveDigest(r *web.Request) error {
	wanted, err := client.ParseCut(r.Query("cut"))
	if err != nil {
		return web.Refuse(http.StatusBadRequest, "%v", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxDigestWait)
	defer cancel()
	err = s.Await(ctx, func(tx *state.Tx) (bool, error) { return tx.Folded().Covers(wanted), tx.Err() })
	if err != nil {
		return unavailable(err)
	}
	var digest state.Digest
	err = s.Read(func(tx *state.Tx) (err error) {
		digest, err = tx.Digest()
		return err
	})
	if err != nil {
		return unavailable(err)
	}
	if len(wanted) > 0 && !wanted.Covers(digest.Cut) {
		return web.Refuse(http.StatusConflict, "the state has moved on to %s", digest.Cut)
	}
	return r.JSON(http.StatusOK, Report(s.definition.Name, digest))
}

func unavailable(err error) error {
	if errors.Is(err, ErrNotReady) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return web.Refuse(http.StatusServiceUnavailable, "%v", err).Later(1)
	}
	return err
}

func (s *Service) startRebuild(r *web.Request) error {
	var options struct {
		Switch string `json:"switch"`
	}
	if len(r.Body()) > 0 {
		if err := json.Unmarshal(r.Body(), &options); err != nil {
			return web.Refuse(http.StatusBadRequest, "body: %v", err)
		}
	}
	if options.Switch != "" && options.Switch != "manual" && options.Switch != "when-equal" {
		return web.Refuse(http.StatusBadRequest, "switch %q: wanted manual or when-equal", options.Switch)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	current := s.session
	if current == nil || !current.ready.Load() {
		return web.Refuse(http.StatusServiceUnavailable, "%v", ErrNotReady).Later(1)
	}
	if !s.rebuild.begin() {
		return web.Refuse(http.StatusConflict, "a rebuild is under way")
	}
	if !current.background.start(func() { s.rebuildBeside(current.lanes.ctx, current, options.Switch == "when-equal") }) {
		s.rebuild.end()
		return web.Refuse(http.StatusServiceUnavailable, "%v", ErrNotReady).Later(1)
	}
	return r.JSON(http.StatusAccepted, s.rebuild.get())
}
