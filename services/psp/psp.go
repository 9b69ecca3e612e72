// Package psp is a payment provider for tests and demos: a process of its own that
// charges and voids by key, as real providers do, with a ledger that shows what it did.
//
// It knows keys and amounts; it knows nothing of orders or of the log. What it has
// answered it answers again: a key is charged at most once and voided at most once, and
// is never charged after it was voided. It is the ground truth for an auditor.
//
// Rules: a payment method that begins with "declined" is refused with what follows a
// colon as the code; amounts above Rules.LimitMinor are refused; mode "decline" refuses
// everything new. What was charged stays charged.
//
// Promise: an answer is given after its entry is on the disk.
package psp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

// Name is the provider's role.
const Name = "psp"

// The modes.
const (
	ModeOK      = "ok"
	ModeDecline = "decline"
)

// The statuses of an answer.
const (
	Charged  = "charged"
	Declined = "declined"
	Voided   = "voided"
)

// maxLedger bounds the entries of one page of the ledger.
const maxLedger = 1000

// An Entry is what the provider knows of one key.
type Entry struct {
	Key           string `json:"key"`
	Status        string `json:"status"` // charged, declined, voided
	Code          string `json:"code,omitempty"`
	AmountMinor   int64  `json:"amountMinor"` // charged, also when it was given back
	RefundedMinor int64  `json:"refundedMinor"`
	Currency      string `json:"currency,omitempty"`
	Reference     string `json:"reference"`
}

// A Charge asks for money.
type Charge struct {
	Key         string `json:"key"`
	AmountMinor int64  `json:"amountMinor"`
	Currency    string `json:"currency"`
	Method      string `json:"method,omitempty"`
}

// A Ledger is a page of entries in the order of keys, with the totals of all.
type Ledger struct {
	ChargedMinor  int64   `json:"chargedMinor"`
	RefundedMinor int64   `json:"refundedMinor"`
	Count         int     `json:"count"`
	Entries       []Entry `json:"entries"`
	Next          string  `json:"next,omitempty"` // key to go on after
}

// Rules say what is refused.
type Rules struct {
	LimitMinor int64 // amounts above are refused; 0: no limit
}

// Config says where the provider runs.
type Config struct {
	State   state.Config
	Address string
	Listen  func(address string) (net.Listener, error) // default: TCP
	Rules   Rules
	Logger  *slog.Logger
}

var ledger = state.NewTable[Entry]("ledger")

// A Server is the provider.
type Server struct {
	config   Config
	database *state.Database
	web      *web.Server

	mu   sync.Mutex // guards mode, and that an entry is read and written as one
	mode string
}

// New returns a provider.
func New(config Config) *Server {
	if config.Listen == nil {
		config.Listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	s := &Server{config: config, mode: ModeOK, web: web.NewServer("stela-"+Name, config.Logger)}
	ok := func(r *web.Request) error { return r.JSON(http.StatusOK, map[string]string{"status": "ok"}) }
	s.web.Handle(http.MethodGet, "/healthz", ok)
	s.web.Handle(http.MethodGet, "/readyz", ok)
	s.web.HandleMetrics(Name, func(context.Context) error { return nil })
	s.web.Handle(http.MethodGet, "/ops/status", func(r *web.Request) error {
		return r.JSON(http.StatusOK, framework.Status{Service: Name, State: "ready", Address: config.Address})
	})
	s.web.Handle(http.MethodPost, "/v1/charges", s.serveCharge)
	s.web.Handle(http.MethodPost, "/v1/voids", s.serveVoid)
	s.web.Handle(http.MethodGet, "/v1/ledger", s.serveLedger)
	s.web.Handle(http.MethodPut, "/v1/mode", s.serveMode)
	return s
}

// Run serves until ctx ends, then returns nil.
func (s *Server) Run(ctx context.Context) error {
	var err error
	if s.database, err = state.Open(s.config.State); err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	listener, err := s.config.Listen(s.config.Address)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: listen on %s: %w", Name, s.config.Address, err), s.database.Close())
	}
	served := make(chan error, 1)
	go func() { served <- s.web.Serve(listener) }() // ends with web.Close below
	select {
	case err = <-served:
		return errors.Join(err, s.database.Close())
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(s.web.Close(closing), <-served, s.database.Close())
}

func (s *Server) serveCharge(r *web.Request) error {
	var c Charge
	if err := json.Unmarshal(r.Body(), &c); err != nil {
		return web.Refuse(http.StatusBadRequest, "body: %v", err)
	}
	if c.Key == "" || c.AmountMinor < 0 || !event.IsCurrency(c.Currency) {
		return web.Refuse(http.StatusBadRequest, "a charge needs a key, an amount from 0 and a currency")
	}
	entry, err := s.change(c.Key, func(e Entry, known bool) (Entry, error) {
		switch {
		case known && e.Status == Charged && (e.AmountMinor != c.AmountMinor || e.Currency != c.Currency):
			return e, web.Refuse(http.StatusConflict, "key %q was charged with another amount", c.Key)
		case known:
			return e, nil
		}
		e = Entry{Key: c.Key, Currency: c.Currency, Reference: reference(c.Key)}
		if code := s.refusal(c); code != "" {
			e.Status, e.Code = Declined, code
			return e, nil
		}
		e.Status, e.AmountMinor = Charged, c.AmountMinor
		return e, nil
	})
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, entry)
}

// refusal returns why a charge is refused, "" when it is not.
func (s *Server) refusal(c Charge) string {
	rest, declined := strings.CutPrefix(c.Method, "declined")
	switch {
	case declined && strings.HasPrefix(rest, ":") && len(rest) > 1:
		return rest[1:]
	case declined:
		return "card_declined"
	case s.mode == ModeDecline:
		return "declined"
	case s.config.Rules.LimitMinor > 0 && c.AmountMinor > s.config.Rules.LimitMinor:
		return "limit_exceeded"
	}
	return ""
}

func (s *Server) serveVoid(r *web.Request) error {
	var v struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(r.Body(), &v); err != nil || v.Key == "" {
		return web.Refuse(http.StatusBadRequest, "a void needs a key")
	}
	entry, err := s.change(v.Key, func(e Entry, _ bool) (Entry, error) {
		e.Key, e.Status, e.Reference = v.Key, Voided, reference(v.Key)
		e.RefundedMinor = e.AmountMinor
		return e, nil
	})
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, entry)
}

// change replaces a key's entry and returns it when it is on the disk. An entry that
// stays as it is may have been written by a call that is still syncing it, so it is
// synced all the same.
func (s *Server) change(key string, next func(Entry, bool) (Entry, error)) (Entry, error) {
	entry, err := s.replace(key, next)
	if err != nil {
		return entry, err
	}
	return entry, s.database.Sync()
}

func (s *Server) replace(key string, next func(Entry, bool) (Entry, error)) (Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := s.database.Begin()
	defer tx.Discard()
	before, known := ledger.Get(tx, key)
	after, err := next(before, known)
	if err != nil || after == before {
		return after, errors.Join(err, tx.Err())
	}
	ledger.Put(tx, after, key)
	return after, tx.Commit()
}

func reference(key string) string { return "psp_" + event.StepID(Name, "reference", key)[:13] }

func (s *Server) serveLedger(r *web.Request) error {
	limit, err := r.QueryInt("limit", maxLedger, 1, maxLedger)
	if err != nil {
		return err
	}
	after := r.Query("after")
	page := Ledger{Entries: []Entry{}}
	tx := s.database.Begin()
	defer tx.Discard()
	for key, entry := range ledger.Scan(tx) {
		page.Count++
		page.ChargedMinor += entry.AmountMinor
		page.RefundedMinor += entry.RefundedMinor
		switch {
		case key[0] <= after:
		case len(page.Entries) < limit:
			page.Entries = append(page.Entries, entry)
		case page.Next == "":
			page.Next = page.Entries[limit-1].Key
		}
	}
	if err := tx.Err(); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, page)
}

func (s *Server) serveMode(r *web.Request) error {
	var m struct {
		Mode string `json:"mode"`
	}
	if err := json.Unmarshal(r.Body(), &m); err != nil || (m.Mode != ModeOK && m.Mode != ModeDecline) {
		return web.Refuse(http.StatusBadRequest, "mode: wanted %s or %s", ModeOK, ModeDecline)
	}
	s.mu.Lock()
	s.mode = m.Mode
	s.mu.Unlock()
	return r.JSON(http.StatusOK, m)
}
