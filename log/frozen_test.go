package log

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble, which uses a file system in every way there is, works in a frozen view, also of a folder
// that is not there, and what lies below stays as it is.
func TestFrozenPebble(t *testing.T) {
	base := vfs.NewMem()
	fill := func(fs FS, from, to int) {
		t.Helper()
		db, err := pebble.Open("a/b/db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 64 << 10, DisableWAL: true})
		if err != nil {
			t.Fatal(err)
		}
		for i := range from {
			v, closer, err := db.Get(fmt.Appendf(nil, "%06d", i))
			if err != nil || len(v) != 100 {
				t.Fatalf("key %d: %v", i, err)
			}
			closer.Close()
		}
		for i := from; i < to; i++ {
			if err := db.Set(fmt.Appendf(nil, "%06d", i), make([]byte, 100), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := db.Compact(t.Context(), []byte("0"), []byte("9"), false); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	empty := Frozen(base)
	fill(empty, 0, 3000)
	fill(empty, 3000, 4000)
	if names, err := base.List("a"); err == nil {
		t.Fatalf("the view made %v", names)
	}
	fill(base, 0, 2000)
	before := contents(t, base, "")
	view := Frozen(base)
	fill(view, 2000, 5000)
	fill(view, 5000, 6000)
	if after := contents(t, base, ""); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
}

// contents lists all files below a folder, with what is in them.
func contents(t *testing.T, fs FS, dir string) (all string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			all += contents(t, fs, path)
			continue
		}
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		all += fmt.Sprintf("%s %x\n", path, b)
	}
	return all
}

func TestFrozenFiles(t *testing.T) {
	base := vfs.NewMem()
	write := func(fs FS, name, text string) {
		t.Helper()
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write([]byte(text))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(base, "kept", "0123456789")
	write(base, "removed", "x")
	write(base, "moved", "y")
	write(base, "replaced", "old")
	before := contents(t, base, "")
	fs := Frozen(base)
	early, err := fs.Open("kept")
	if err != nil {
		t.Fatal(err)
	}
	late, err := fs.OpenReadWrite("kept", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.WriteAt([]byte("ABC"), 8); err != nil {
		t.Fatal(err)
	}
	if _, err := late.WriteAt([]byte("Z"), frozenBlock+1); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]vfs.File{"opened before": early, "opened after": late} {
		b := make([]byte, 2*frozenBlock)
		n, err := f.ReadAt(b, 6)
		if string(b[:6]) != "67ABC\x00" || n != frozenBlock-4 || b[n-1] != 'Z' || !errors.Is(err, io.EOF) {
			t.Errorf("%s: read %q, %d bytes, %v", name, b[:6], n, err)
		}
		if n, err := f.ReadAt(b[:3], 7); n != 3 || err != nil || string(b[:3]) != "7AB" {
			t.Errorf("%s: read %q, %v", name, b[:3], err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	write(fs, "replaced", "new")
	write(fs, "made", "m")
	if err := errors.Join(fs.Remove("removed"), fs.Rename("moved", "new/place"), fs.Rename("made", "made too")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"new/place": "y", "replaced": "new", "made too": "m", "removed": "", "moved": "", "made": ""} {
		f, err := fs.Open(name)
		if want == "" {
			if !errors.Is(err, iofs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(f); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		f.Close()
	}
	if names, err := fs.List(""); err != nil || fmt.Sprint(names) != "[kept made too new replaced]" {
		t.Errorf("list %v, %v", names, err)
	}
	if err := fs.RemoveAll("new"); err != nil {
		t.Error(err)
	}
	if _, err := fs.Open("new/place"); !errors.Is(err, iofs.ErrNotExist) {
		t.Error("RemoveAll left something")
	}
	if after := contents(t, base, ""); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
}
