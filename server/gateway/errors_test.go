package gateway

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stela-db/stela/server/broker"
)

// Every reason of the broker and the metadata has an answer of its own.
func TestEverySentinelIsMapped(t *testing.T) {
	s := newServer(Config{Logger: slog.New(slog.DiscardHandler)}.withDefaults(), verbs{})
	for _, sentinel := range broker.Sentinels() {
		if !slices.ContainsFunc(s.mappings, func(m mapping) bool { return errors.Is(m.cause, sentinel) }) {
			t.Errorf("%q is not in the table", sentinel)
		}
		p := s.problemOf(fmt.Errorf("append to shard 1: %w", sentinel))
		if p.status < 400 || p.name == "" || p.title == "" || p.detail == "" {
			t.Errorf("%q: %+v", sentinel, p)
		}
		if p.status != 500 && !strings.Contains(p.detail, sentinel.Error()) {
			t.Errorf("%q: detail %q", sentinel, p.detail)
		}
	}
	seen := map[error]bool{}
	for _, m := range s.mappings {
		if seen[m.cause] {
			t.Errorf("%q is in the table twice", m.cause)
		}
		seen[m.cause] = true
	}
}

// The metadata's reasons come through as they are: each is in the table by its name.
func TestEveryReasonOfMetaIsMapped(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../meta/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		value, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, name := range value.Names {
			if count++; !strings.Contains(string(table), "{meta."+name.Name+", ") {
				t.Errorf("meta.%s is not in the table", name.Name)
			}
		}
		return true
	})
	if count == 0 {
		t.Error("no reasons were found")
	}
}

// What is not in the table tells the client nothing of the inside.
func TestUnknownErrorIsHidden(t *testing.T) {
	s := newServer(Config{Logger: slog.New(slog.DiscardHandler)}.withDefaults(), verbs{})
	if p := s.problemOf(errors.New("open /var/lib/secret: no such file")); p.status != 500 || strings.Contains(p.Error(), "secret") {
		t.Errorf("%+v", p)
	}
}

// sourcesOf returns the text of this package's files that are not tests.
func sourcesOf(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}
