package log

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

// After a loss of power at any operation the newest value that Set acknowledged is there, or the one that was being set.
func TestStableKeepsWhatWasSet(t *testing.T) {
	for seed := range uint64(5) {
		var acked atomic.Int64
		all := crashes(seed, &acked, func(fs FS) {
			s, err := OpenStable(fs, "vote")
			if err != nil {
				t.Fatal(err)
			}
			for i := range int64(12) {
				// Values of all lengths, so that a shorter one follows a longer one.
				if err := s.Set([]byte("term"), []byte(stableValue(i+1))); err != nil {
					t.Fatal(err)
				}
				acked.Store(i + 1)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
		for _, c := range all {
			checkStable(t, c)
		}
	}
}

func stableValue(i int64) string { return fmt.Sprint(i, strings.Repeat("x", int(i*7919%10_000))) }

func checkStable(t *testing.T, c crashed) {
	t.Helper()
	s, err := OpenStable(c.fs, "vote")
	if err != nil {
		t.Fatalf("operation %d, %d %%: %v", c.op, c.percent, err)
	}
	b, err := s.Get([]byte("term"))
	if err != nil {
		t.Fatal(err)
	}
	acked := int64(c.acked)
	if value := string(b); value != stableValue(acked+1) && (value != stableValue(acked) || acked == 0) && (b != nil || acked != 0) {
		t.Fatalf("operation %d, %d %%: %.20q of %d bytes, acknowledged were %d", c.op, c.percent, b, len(b), acked)
	}
	if err := s.SetUint64([]byte("number"), 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStable(c.fs, "vote"); err != nil {
		t.Fatal(err)
	}
	if v, err := s.GetUint64([]byte("number")); v != 7 || err != nil {
		t.Fatal(v, err)
	}
	if again, err := s.Get([]byte("term")); string(again) != string(b) || err != nil {
		t.Fatalf("%.20q became %.20q", b, again)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStableSurvivesDamageToOneCopy(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := OpenStable(fs, "log/vote")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.GetUint64([]byte("term")); v != 0 || err != nil {
		t.Fatal(v, err)
	}
	if b, err := s.Get([]byte("none")); b != nil || err != nil {
		t.Fatal(b, err)
	}
	for i := range uint64(3) {
		if err := s.SetUint64([]byte("term"), 40+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Set([]byte("empty"), nil); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Get([]byte("empty")); b == nil || len(b) != 0 || err != nil {
		t.Fatal(b, err)
	}
	if _, err := s.GetUint64([]byte("empty")); !errors.Is(err, record.ErrCorrupt) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Set([]byte("term"), nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	whole := readFile(t, fs, "log/vote.a")
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 0x10
		one := with(t, fs, "log/vote.a", b)
		s, err := OpenStable(one, "log/vote")
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		if v, err := s.GetUint64([]byte("term")); v != 42 || err != nil {
			t.Fatalf("byte %d: term %d, %v", i, v, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if repaired := readFile(t, one, "log/vote.a"); !bytes.Equal(repaired, whole) {
			t.Fatalf("byte %d was not repaired", i)
		}
		var corrupt *CorruptError
		if _, err := OpenStable(with(t, with(t, fs, "log/vote.a", b), "log/vote.b", b), "log/vote"); !errors.As(err, &corrupt) {
			t.Fatalf("byte %d of both: %v", i, err)
		}
	}
}

func TestStableDoesNotRetry(t *testing.T) {
	fs, fault := faulty()
	s, err := OpenStable(fs, "vote")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	fail := func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData {
			return errDisk
		}
		return nil
	}
	fault.Store(&fail)
	if err := s.SetUint64([]byte("term"), 1); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	fault.Store(nil)
	if err := s.SetUint64([]byte("term"), 2); !errors.Is(err, errDisk) {
		t.Fatalf("after a failed sync: %v", err)
	}
	if _, err := s.Get([]byte("term")); !errors.Is(err, errDisk) {
		t.Fatalf("after a failed sync: %v", err)
	}
}

// A process that is killed leaves in the system's memory, or in one copy, what it was setting. Whoever reads it after the next
// start relies on it: Raft gives a vote that it finds a second time without storing it again.
func TestStableKeepsWhatAStartFound(t *testing.T) {
	for copies := 1; copies <= 2; copies++ {
		disk := vfs.NewCrashableMem()
		killed, err := OpenStable(disk, "vote")
		if err != nil {
			t.Fatal(err)
		}
		if err := killed.Set([]byte("vote"), []byte("old")); err != nil {
			t.Fatal(err)
		}
		killed.values["vote"] = []byte("new")
		b := killed.encode(killed.sequence + 1)
		for i := range copies {
			if _, err := killed.files[i].WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
		}
		s, err := OpenStable(disk, "vote")
		if err != nil {
			t.Fatal(err)
		}
		if found, err := s.Get([]byte("vote")); string(found) != "new" || err != nil {
			t.Fatalf("%d copies: %q, %v", copies, found, err)
		}
		for i := range s.files { // the next Set is cut off in the middle of either copy
			after := disk.CrashClone(vfs.CrashCloneCfg{})
			f, err := after.OpenReadWrite("vote"+[]string{".a", ".b"}[i], vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("torn"), 0); err != nil {
				t.Fatal(err)
			}
			again, err := OpenStable(after, "vote")
			if err != nil {
				t.Fatal(err)
			}
			if found, err := again.Get([]byte("vote")); string(found) != "new" || err != nil {
				t.Errorf("%d copies, copy %d torn: a start found %q and the one after it %q, %v", copies, i, "new", found, err)
			}
		}
	}
}
