package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"Two\nlines. ":     "two lines",
		"UNKNOWN_TOPIC: a": "UNKNOWN_TOPIC: a",
		"HTTP is closed":   "HTTP is closed",
		"already lower":    "already lower",
		"":                 "",
	} {
		if got := OneLine(text); got != want {
			t.Errorf("%q became %q, wanted %q", text, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"data", "kafka", "http", "data-shards"}
	for word, want := range map[string]string{"dat": "data", "atda": "data", "htpp": "http", "datashards": "data-shards", "": "data"} {
		if got := Nearest(word, names); got != want {
			t.Errorf("nearest to %q is %q, wanted %q", word, got, want)
		}
	}
}

// A program is told by its own name, wrong usage with where to look, all else with the cause's next step.
func TestReport(t *testing.T) {
	root := &cobra.Command{Use: "shop"}
	child := &cobra.Command{Use: "up", Run: func(*cobra.Command, []string) {}}
	root.AddCommand(child)
	explain := func(err error) error { return Advise(err, "look there") }
	for _, test := range []struct {
		err    error
		line   string
		status int
	}{
		{errors.New("Disk is full."), "shop: disk is full; look there\n", 1},
		{Advise(errors.New("disk is full"), "buy one"), "shop: disk is full; buy one\n", 1},
		{fmt.Errorf("start: %w", Usagef("--role is %q", "x")), "shop: start: --role is \"x\"; see 'shop up --help'\n", 2},
		{errors.New(`unknown command "x" for "shop"`), "shop: unknown command \"x\" for \"shop\"; see 'shop up --help'\n", 2},
		{fmt.Errorf("compare: %w", ErrSilent), "", 1},
	} {
		var out bytes.Buffer
		if status := Report(&out, child, test.err, explain); status != test.status || out.String() != test.line {
			t.Errorf("%v: status %d, %q; wanted %d, %q", test.err, status, out.String(), test.status, test.line)
		}
	}
}

func TestIsTimeout(t *testing.T) {
	expired, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	for err, want := range map[error]bool{
		expired.Err():            true,
		os.ErrDeadlineExceeded:   true,
		syscall.EAGAIN:           false, // a lock of another process
		errors.New("no timeout"): false,
	} {
		if IsTimeout(fmt.Errorf("ask: %w", err)) != want {
			t.Errorf("a timeout: %v: wanted %v", err, want)
		}
	}
}

// YAML has the names of JSON, in its order, and text that looks like something else stays text.
func TestPrintYAML(t *testing.T) {
	value := struct {
		Zone  string            `json:"zone"`
		Lag   int64             `json:"lag"`
		Empty []string          `json:"empty"`
		Text  []string          `json:"text"`
		None  *string           `json:"none"`
		Tags  map[string]string `json:"tags,omitempty"`
	}{Zone: "a<b>&c", Lag: 1 << 62, Empty: []string{}, Text: []string{"true", "12", "null", "~", "x: y", "two\nlines", "ü", "2026-01-02"}}
	var out bytes.Buffer
	if err := Print(&out, "yaml", value); err != nil {
		t.Fatal(err)
	}
	want := `zone: a<b>&c
lag: 4611686018427387904
empty: []
text:
  - "true"
  - "12"
  - "null"
  - "~"
  - 'x: y'
  - |-
    two
    lines
  - ü
  - "2026-01-02"
none: null
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwanted\n%s", out.String(), want)
	}
}

func TestConfigAdviceNamesTheProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte("- a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "shop"}
	root.Flags().String("config", path, "")
	err := ApplySettings(root, "SHOP_", func(string) (string, bool) { return "", false })
	if err == nil || !strings.Contains(err.Error(), "'data: /var/lib/shop'") {
		t.Errorf("got %v", err)
	}
}

func TestPrintOne(t *testing.T) {
	value := struct {
		Name string `json:"name"`
	}{"a<b"}
	for format, want := range map[string]string{"table": "for people", "json": `{"name":"a<b"}` + "\n", "yaml": "---\nname: a<b\n"} {
		var out strings.Builder
		err := PrintOne(&out, format, value, func() error { out.WriteString("for people"); return nil })
		if err != nil || out.String() != want {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
}
