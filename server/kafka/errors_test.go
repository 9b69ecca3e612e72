package kafka

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/group"
)

// declared returns the names of a package's exported errors.
func declared(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", folder, err)
	}
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, object := range file.Scope.Objects {
			if object.Kind == ast.Var && strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
	}
	return names
}

// Every error that the packages below may answer has a row in the table, and every refusal of this package too.
func TestEveryErrorHasACode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	mapped := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		row, ok := n.(*ast.CompositeLit)
		if !ok || len(row.Elts) != 2 {
			return true
		}
		switch e := row.Elts[0].(type) {
		case *ast.SelectorExpr:
			mapped[fmt.Sprintf("%s.%s", e.X, e.Sel)] = true
		case *ast.Ident:
			mapped[e.Name] = true
		}
		return true
	})
	for _, folder := range []string{"broker", "group", "meta"} {
		names := declared(t, filepath.Join("..", folder))
		if len(names) < 5 {
			t.Errorf("%s declares %d errors", folder, len(names))
		}
		for _, name := range names {
			if !mapped[folder+"."+name] {
				t.Errorf("%s.%s has no row", folder, name)
			}
		}
	}
	for name, object := range file.Scope.Objects {
		if object.Kind == ast.Var && strings.HasPrefix(name, "err") && !mapped[name] {
			t.Errorf("%s has no row", name)
		}
	}
}

func TestErrorCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code *kerr.Error
	}{
		{broker.ErrNotLeader, kerr.NotLeaderForPartition},
		{fmt.Errorf("partition 3: %w", broker.ErrOffsetOutOfRange), kerr.OffsetOutOfRange},
		{&broker.ConflictError{Actual: 4}, kerr.InvalidRecord},
		{group.ErrMemberIDRequired, kerr.MemberIDRequired},
		{errors.New("nobody knows"), kerr.UnknownServerError},
		{fmt.Errorf("%w: %w", broker.ErrNotLeader, broker.ErrTimedOut), kerr.RequestTimedOut},
	} {
		if got := errorCode(c.err); got != c.code.Code {
			t.Errorf("%v: code %d, wanted %d", c.err, got, c.code.Code)
		}
	}
	for _, c := range []struct {
		err  error
		code *kerr.Error
	}{
		{broker.ErrTimedOut, kerr.CoordinatorNotAvailable},
		{broker.ErrNotLeader, kerr.NotCoordinator},
		{broker.ErrShuttingDown, kerr.NotCoordinator},
		{group.ErrReset, kerr.NotCoordinator},
		{group.ErrUnknownMember, kerr.UnknownMemberID},
	} {
		if got := groupCode(c.err); got != c.code.Code {
			t.Errorf("%v: code %d for a member, wanted %d", c.err, got, c.code.Code)
		}
	}
	if errorCode(nil) != 0 || groupCode(nil) != 0 {
		t.Error("nil has a code")
	}
}
