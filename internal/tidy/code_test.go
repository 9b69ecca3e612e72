package tidy

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

var unfinishedWords = regexp.MustCompile(unfinished)

// checkWords finds announcements of unfinished work.
func checkWords(r *rules, s *source) {
	if s.pkg == "internal/tidy" {
		return // which must name the words
	}
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if word := unfinishedWords.FindString(c.Text); word != "" {
				r.broken(s.path+" words", "%s: the comment says %q", s.at(c.Pos()), word)
			}
		}
	}
}

// checkCode bans what hides a fault: a sleeping test, an error flattened to text,
// a panic that does not say it is our own bug, wiring behind the reader's back.
//
// virtual says that the package's tests run in virtual time, where sleeping costs nothing and is exact.
func checkCode(r *rules, s *source, virtual bool) {
	commented := linesWithComments(s)
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				r.broken(s.pkg+".init", "%s: no init functions; wire it in a constructor", s.at(n.Pos()))
			}
		case *ast.GoStmt:
			line := s.set.Position(n.Pos()).Line
			if !s.test && !commented[line] && !commented[line-1] {
				r.broken(s.path+" goroutine", "%s: a comment there must say who stops the goroutine", s.at(n.Pos()))
			}
		case *ast.CallExpr:
			checkCall(r, s, n, virtual)
		}
		return true
	})
}

func checkCall(r *rules, s *source, call *ast.CallExpr, virtual bool) {
	callee := callee(call)
	first := ""
	if len(call.Args) > 0 {
		if literal, ok := call.Args[0].(*ast.BasicLit); ok {
			first = literal.Value
		} else if joined, ok := call.Args[0].(*ast.BinaryExpr); ok {
			first = leftmost(joined)
		} else if inner, ok := call.Args[0].(*ast.CallExpr); ok && len(inner.Args) > 0 {
			if literal, ok := inner.Args[0].(*ast.BasicLit); ok {
				first = literal.Value // panic(fmt.Sprintf("BUG: ...
			}
		}
	}
	at := s.at(call.Pos())
	switch {
	case s.test && callee == "time.Sleep" && !virtual:
		r.broken(s.path+" sleep", "%s: time.Sleep in a test; use testing/synctest or wait for the event", at)
	case !s.test && callee == "panic" && !strings.HasPrefix(first, `"BUG: `):
		r.broken(s.path+" panic", `%s: panic is for our own bugs and says "BUG: ..."`, at)
	case callee == "fmt.Errorf" && strings.HasPrefix(strings.ToLower(first), `"failed to `),
		callee == "errors.New" && strings.HasPrefix(strings.ToLower(first), `"failed to `):
		r.broken(s.path+" error", `%s: say what was being done, not "failed to"`, at)
	case callee == "fmt.Errorf" && !strings.Contains(first, "%w") && endsInError(call):
		r.broken(s.path+" error", "%s: wrap errors with %%w", at)
	}
}

// checkFields wants a mutex to say what it guards, and fields to be words.
func checkFields(r *rules, s *source) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		structure, ok := n.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range structure.Fields.List {
			mutex := isSelector(field.Type, "sync", "Mutex") || isSelector(field.Type, "sync", "RWMutex")
			said := field.Doc.Text() + field.Comment.Text()
			if mutex && !strings.Contains(said, "guards") && !strings.Contains(said, "serial") {
				r.broken(s.path+" mutex", `%s: a comment there must say what it guards`, s.at(field.Pos()))
			}
			for _, id := range field.Names {
				if slices.Contains(shortFields, id.Name) {
					r.broken(s.path+" field "+id.Name, "%s: fields are called by whole words", s.at(field.Pos()))
				}
			}
		}
		return true
	})
}

// checkVariables wants package-level variables to be constant in all but name:
// nothing in the package assigns to them, and they hold no lock, channel or atomic.
func checkVariables(r *rules, pkg string, files []*source) {
	variables := map[string]bool{}
	specs := map[*ast.ValueSpec]bool{}
	for _, s := range files {
		if s.test || ast.IsGenerated(s.file) {
			continue
		}
		for _, decl := range s.file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				value := spec.(*ast.ValueSpec)
				specs[value] = true
				for _, id := range value.Names {
					variables[id.Name] = true
				}
				if holdsState(value) {
					r.broken(pkg+"."+value.Names[0].Name+" state", "%s: no mutable state at package level", s.at(value.Pos()))
				}
			}
		}
	}
	for _, s := range files {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			for _, target := range targets(n) {
				id := rootOf(target)
				if id == nil || !variables[id.Name] {
					continue
				}
				if id.Obj != nil {
					if value, ok := id.Obj.Decl.(*ast.ValueSpec); !ok || !specs[value] {
						continue // a local of the same name
					}
				}
				r.broken(pkg+"."+id.Name+" state", "%s: a package-level variable is changed", s.at(n.Pos()))
			}
			return true
		})
	}
}

// targets returns what a statement changes.
func targets(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	}
	return nil
}

// rootOf returns the variable that a, a[i], a.b[c].d and so on begin with.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func holdsState(value *ast.ValueSpec) bool {
	found := false
	for _, part := range append([]ast.Expr{value.Type}, value.Values...) {
		if part == nil {
			continue
		}
		ast.Inspect(part, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.ChanType:
				found = true
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
					found = true
				}
			}
			return true
		})
	}
	return found
}

func linesWithComments(s *source) map[int]bool {
	lines := map[int]bool{}
	for _, group := range s.file.Comments {
		for line := s.set.Position(group.Pos()).Line; line <= s.set.Position(group.End()).Line; line++ {
			lines[line] = true
		}
	}
	return lines
}

func imports(s *source, path string) bool {
	return slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool { return spec.Path.Value == `"`+path+`"` })
}

func callee(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func leftmost(e *ast.BinaryExpr) string {
	for {
		switch x := e.X.(type) {
		case *ast.BinaryExpr:
			e = x
		case *ast.BasicLit:
			return x.Value
		default:
			return ""
		}
	}
}

func endsInError(call *ast.CallExpr) bool {
	if len(call.Args) < 2 {
		return false
	}
	id, ok := call.Args[len(call.Args)-1].(*ast.Ident)
	return ok && id.Name == "err"
}
