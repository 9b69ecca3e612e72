package psp_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/services/psp"
	"github.com/stela-db/stela/services/state"
)

// run starts a provider on a file system and returns a client and a way to stop it.
func run(t *testing.T, fs state.FS) (*psp.Client, func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := psp.New(psp.Config{
		State: state.Config{FS: fs, Dir: "psp"}, Rules: psp.Rules{LimitMinor: 100_000},
		Listen: func(string) (net.Listener, error) { return listener, nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return psp.NewClient(listener.Addr().String(), nil), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestProvider(t *testing.T) {
	fs := vfs.NewMem()
	c, stop := run(t, fs)
	charge := func(key string, amount int64, method string) string {
		e, err := c.Charge(t.Context(), psp.Charge{Key: key, AmountMinor: amount, Currency: "EUR", Method: method})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s %s %d", e.Status, e.Code, e.AmountMinor)
	}
	void := func(key string) string {
		e, err := c.Void(t.Context(), key)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s %d", e.Status, e.RefundedMinor)
	}
	for _, step := range []struct{ got, want string }{
		{charge("1", 500, "card"), "charged  500"},
		{charge("1", 500, "card"), "charged  500"},
		{charge("1", 501, "card"), `http 409: Conflict: key "1" was charged with another amount`},
		{charge("2", 500, "declined"), "declined card_declined 0"},
		{charge("2", 500, "card"), "declined card_declined 0"},
		{charge("3", 500, "declined:stolen"), "declined stolen 0"},
		{charge("4", 100_001, "card"), "declined limit_exceeded 0"},
		{void("1"), "voided 500"},
		{void("1"), "voided 500"},
		{charge("1", 500, "card"), "voided  500"},
		{void("5"), "voided 0"},
		{charge("5", 500, "card"), "voided  0"},
		{charge("", 500, "card"), "http 400: Bad Request: a charge needs a key, an amount from 0 and a currency"},
		{charge("6", -1, "card"), "http 400: Bad Request: a charge needs a key, an amount from 0 and a currency"},
		{void(""), "http 400: Bad Request: a void needs a key"},
	} {
		if step.got != step.want {
			t.Errorf("got %q, wanted %q", step.got, step.want)
		}
	}
	if err := c.SetMode(t.Context(), psp.ModeDecline); err != nil {
		t.Fatal(err)
	}
	if got := charge("7", 500, "card"); got != "declined declined 0" {
		t.Error(got)
	}
	if err := c.SetMode(t.Context(), "hang"); err == nil || !strings.Contains(err.Error(), "wanted ok or decline") {
		t.Errorf("an unknown mode: %v", err)
	}
	stop()

	c, stop = run(t, fs) // what was answered is still so
	defer stop()
	if got := charge("1", 500, "card"); got != "voided  500" {
		t.Error(got)
	}
	if got := charge("8", 700, ""); got != "charged  700" { // the mode is back to ok
		t.Error(got)
	}
	ledger, err := c.Ledger(t.Context(), "")
	if err != nil || ledger.ChargedMinor != 1200 || ledger.RefundedMinor != 500 || ledger.Count != 7 || len(ledger.Entries) != 7 {
		t.Errorf("ledger %+v, %v", ledger, err)
	}
	if rest, err := c.Ledger(t.Context(), "5"); err != nil || len(rest.Entries) != 2 || rest.Count != 7 {
		t.Errorf("after 5: %+v, %v", rest, err)
	}
}

// A key is charged once, however many ask at the same time, and a void settles the race.
func TestRace(t *testing.T) {
	c, stop := run(t, vfs.NewMem())
	defer stop()
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := c.Charge(t.Context(), psp.Charge{Key: "k", AmountMinor: 5, Currency: "EUR"}); err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			if _, err := c.Void(t.Context(), "k"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	ledger, err := c.Ledger(t.Context(), "")
	if err != nil || ledger.Count != 1 || ledger.ChargedMinor != ledger.RefundedMinor || ledger.ChargedMinor > 5 {
		t.Errorf("ledger %+v, %v", ledger, err)
	}
}
