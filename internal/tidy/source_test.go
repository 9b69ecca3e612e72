package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// A source is one parsed Go file.
type source struct {
	path string // from the root, with slashes
	pkg  string // its folder, from the root
	test bool
	file *ast.File
	set  *token.FileSet
	text []byte
}

// at says where something is.
func (s *source) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(pos).Line)
}

// lines returns how many lines a node covers.
func (s *source) lines(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

// rules collects what is wrong, less what is excepted.
type rules struct {
	t    *testing.T
	used map[string]bool // keys of exceptions that were needed
}

func (r *rules) broken(key, format string, args ...any) {
	r.t.Helper()
	if _, ok := exceptions[key]; ok {
		r.used[key] = true
		return
	}
	r.t.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
}

func TestSources(t *testing.T) {
	r := &rules{t: t, used: map[string]bool{}}
	sources := parseAll(t)
	virtual := map[string]bool{"internal/simtest": true}
	for _, s := range sources {
		if s.test && imports(s, "testing/synctest") {
			virtual[s.pkg] = true
		}
	}
	for _, s := range sources {
		checkWords(r, s)
		if ast.IsGenerated(s.file) {
			continue
		}
		checkImports(r, s)
		checkCode(r, s, virtual[s.pkg])
		if !s.test {
			checkSizes(r, s)
			checkFields(r, s)
		}
	}
	checkPackages(r, sources)
	for key, reason := range exceptions {
		if !r.used[key] {
			t.Errorf("exception %q (%s) is no longer needed: remove it", key, reason)
		}
	}
	for key := range layers {
		if !slices.ContainsFunc(sources, func(s *source) bool { return within(s.pkg, key) }) {
			t.Errorf("layers: no package %s", key)
		}
	}
}

func parseAll(t *testing.T) []*source {
	var sources []*source
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, &source{
			path: path,
			pkg:  filepath.ToSlash(filepath.Dir(path)),
			test: strings.HasSuffix(path, "_test.go"),
			file: file, set: set, text: text,
		})
	})
	return sources
}

// walk visits every file of the repository that is ours, by its path from the root.
func walk(t *testing.T, visit func(path string)) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := path != root && strings.HasPrefix(name, ".") && name != ".ci"
			if hidden || name == "testdata" || name == "node_modules" || name == "bin" || name == "stela-data" {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(rel))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(r *rules, s *source) {
	key := longest(layers, s.pkg)
	if key == "" {
		r.broken(s.pkg+" layer", "the package has no layer; give it one in the table")
		return
	}
	if s.test {
		return // tests may reach up: they drive what they test as its users do
	}
	module := modulePath(r.t)
	for _, spec := range s.file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if inside, ok := strings.CutPrefix(path, module+"/"); ok {
			if inside != s.pkg && !mayImport(s.pkg, key, inside) {
				r.broken(s.pkg+" imports "+inside, "%s: the layers forbid it", s.at(spec.Pos()))
			}
			continue
		}
		home := longest(homes, path)
		switch {
		case path == "log/slog", home == "" && !strings.Contains(path, "."):
			// the standard library
		case home == "":
			r.broken(s.pkg+" imports "+path, "%s: it has no home in the table", s.at(spec.Pos()))
		case !slices.ContainsFunc(homes[home], func(h string) bool { return within(s.pkg, h) }):
			r.broken(s.pkg+" imports "+path, "%s: its home is %v", s.at(spec.Pos()), homes[home])
		}
	}
}

// mayImport reports whether pkg, whose row in layers is key, may import inside.
// A package may import what lies below its own folder if the row there names no
// further limits, and any leaf.
func mayImport(pkg, key, inside string) bool {
	if slices.ContainsFunc(testOnly, func(only string) bool { return within(inside, only) }) {
		return within(pkg, "internal") && slices.ContainsFunc(testOnly, func(only string) bool { return within(pkg, only) && within(inside, only) })
	}
	if strings.HasPrefix(inside, "internal/") {
		return true
	}
	for _, allowed := range layers[key] {
		if inside == allowed || within(inside, allowed) && longest(layers, inside) == allowed {
			return true
		}
	}
	return within(inside, key) && longest(layers, inside) == key
}

func checkSizes(r *rules, s *source) {
	if n := strings.Count(string(s.text), "\n"); n > maxFileLines {
		r.broken(s.path+" size", "%d lines, limit %d", n, maxFileLines)
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if lines := s.lines(n); lines > maxFuncLines {
				r.broken(s.pkg+"."+name(n)+" size", "%s: %d lines, limit %d", s.at(n.Pos()), lines, maxFuncLines)
			}
			if p := n.Type.Params.NumFields(); p > maxParams {
				r.broken(s.pkg+"."+name(n)+" parameters", "%s: %d, limit %d", s.at(n.Pos()), p, maxParams)
			}
		case *ast.TypeSpec:
			if fields, ok := n.Type.(*ast.StructType); ok && fields.Fields.NumFields() > maxStructFields {
				r.broken(s.pkg+"."+n.Name.Name+" fields", "%s: %d, limit %d", s.at(n.Pos()), fields.Fields.NumFields(), maxStructFields)
			}
		}
		return true
	})
}

// checkPackages checks what only a whole package shows: that its purpose is told,
// that it has a telling name, how many methods its types have, and that nothing
// changes its variables.
func checkPackages(r *rules, sources []*source) {
	packages := map[string][]*source{}
	for _, s := range sources {
		packages[s.pkg] = append(packages[s.pkg], s)
	}
	for pkg, files := range packages {
		documented, product := false, false
		methods := map[string]int{}
		for _, s := range files {
			if slices.Contains(emptyNames, s.file.Name.Name) {
				r.broken(pkg+" name", "%q says nothing", s.file.Name.Name)
			}
			if s.test {
				continue
			}
			product = true
			doc := s.file.Doc.Text()
			documented = documented || strings.HasPrefix(doc, "Package "+s.file.Name.Name+" ") || s.file.Name.Name == "main" && strings.HasPrefix(doc, "Command ")
			for _, decl := range s.file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil && !ast.IsGenerated(s.file) {
					methods[receiver(f)]++
				}
			}
		}
		if product && !documented {
			r.broken(pkg+" doc", "no package comment that says what it is")
		}
		for typeName, n := range methods {
			if n > maxMethods {
				r.broken(pkg+"."+typeName+" methods", "%d, limit %d", n, maxMethods)
			}
		}
		checkVariables(r, pkg, files)
	}
}

func name(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return receiver(f) + "." + f.Name.Name
}

// receiver returns the name of the type whose method f is.
func receiver(f *ast.FuncDecl) string {
	t := f.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return "?"
		}
	}
}

// longest returns the longest key that covers path, or "".
func longest[V any](table map[string]V, path string) (key string) {
	for k := range table {
		if within(path, k) && len(k) > len(key) {
			key = k
		}
	}
	return key
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func modulePath(t *testing.T) string {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "module"))
}
