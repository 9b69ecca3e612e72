package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stela-db/stela/internal/process"
)

// TestDemo takes the tour twice: as it is, and where there is no node.
func TestDemo(t *testing.T) {
	t.Run("with what is here", func(t *testing.T) {
		out := tour(t, os.Getenv("PATH"))
		for _, want := range []string{"SHIPPED", "0 lost", "kill -9", "equal.", "All as promised."} {
			if !strings.Contains(out, want) {
				t.Errorf("the tour does not say %q", want)
			}
		}
	})
	t.Run("without node", func(t *testing.T) {
		if out := tour(t, "/nowhere"); !strings.Contains(out, "franz-go sends the same record") {
			t.Error("the tour does not say that franz-go stands in")
		}
	})
}

func tour(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*demoTimeout)
	defer cancel()
	data := filepath.Join(t.TempDir(), "tour")
	cmd := exec.CommandContext(ctx, binary(), "demo", "--exit", "--data", data)
	cmd.Env = append(process.Environment(), "PATH="+path)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s\n%s", err, stdout.String(), stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > stageColumns && !strings.Contains(line, data) {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "logs", "node-1.log")); err != nil {
		t.Errorf("the logs are not kept: %v", err)
	}
	return stdout.String()
}

func TestWrap(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     {""},
		"one two three":        {"one two", "three"},
		"averyverylongword ab": {"averyverylongword", "ab"},
	} {
		got := wrap(text, 8)
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q wrapped to %q", text, got)
		}
	}
}

// Only a spectator may leave before the end.
func TestDemoInterrupted(t *testing.T) {
	cause := errors.New("context canceled")
	if err := (&demo{}).ended(true, cause); err != nil {
		t.Errorf("a spectator who left: %v", err)
	}
	if err := (&demo{exit: true}).ended(true, cause); err == nil {
		t.Error("--exit promised that all was well")
	}
}
