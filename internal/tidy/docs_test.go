package tidy

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link       = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	makeTarget = regexp.MustCompile("`make ([a-z]+)")
)

// TestDocs keeps the prose honest: every relative link leads to a file, every
// make target that is named exists, ARCHITECTURE.md names every package and
// stays readable in one sitting, and the design pages end in their decisions.
func TestDocs(t *testing.T) {
	makefile := read(t, "Makefile")
	walk(t, func(page string) {
		if !strings.HasSuffix(page, ".md") {
			return
		}
		text := read(t, page)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path.Dir(page), target)); err != nil {
				t.Errorf("%s: dead link %s", page, target)
			}
		}
		for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s: the Makefile has no target %s", page, m[1])
			}
		}
	})

	architecture := read(t, "ARCHITECTURE.md")
	if n := strings.Count(architecture, "\n"); n > maxPageLines {
		t.Errorf("ARCHITECTURE.md: %d lines, limit %d", n, maxPageLines)
	}
	packages := map[string]bool{}
	for _, s := range parseAll(t) {
		packages[s.pkg] = true
	}
	for pkg := range packages {
		if !strings.Contains(architecture, "`"+pkg+"`") {
			t.Errorf("ARCHITECTURE.md does not name `%s`", pkg)
		}
	}
	for _, page := range []string{"log/DESIGN.md", "replication/DESIGN.md", "server/DESIGN.md", "services/DESIGN.md"} {
		headings := regexp.MustCompile(`(?m)^## .*$`).FindAllString(read(t, page), -1)
		if len(headings) == 0 || headings[len(headings)-1] != "## Decisions" {
			t.Errorf("%s: its last heading must be Decisions", page)
		}
	}
	for _, page := range []string{"README.md", "SECURITY.md", "CHANGELOG.md"} {
		read(t, page)
	}
}

// TestModule checks that go.mod asks for nothing that has no home.
func TestModule(t *testing.T) {
	inTests := []string{"go.uber.org/goleak", "github.com/google/go-cmp", "pgregory.net/rapid", "github.com/IBM/sarama"}
	for line := range strings.Lines(read(t, "go.mod")) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(line, "\t") || strings.Contains(line, "// indirect") {
			continue
		}
		module := fields[0]
		used := slices.Contains(inTests, module)
		for key := range homes {
			used = used || within(key, module) || within(module, key)
		}
		if !used {
			t.Errorf("go.mod requires %s, which has no home in the table", module)
		}
	}
}

// TestScripts looks for announcements of unfinished work outside Go code.
func TestScripts(t *testing.T) {
	walk(t, func(file string) {
		switch path.Ext(file) {
		case ".sh", ".js", ".mjs", ".py", ".yml", ".yaml", "":
		default:
			return
		}
		if path.Base(file) == "LICENSE" || path.Base(file) == "package-lock.json" {
			return
		}
		if word := unfinishedWords.FindString(read(t, file)); word != "" {
			t.Errorf("%s: it says %q", file, word)
		}
	})
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
