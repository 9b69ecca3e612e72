package log

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

func readFile(t testing.TB, fs FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// with returns a copy of a folder in which one file has other bytes, or is missing when b is nil.
func with(t testing.TB, fs FS, name string, b []byte) *vfs.MemFS {
	t.Helper()
	clone := vfs.NewMem()
	if err := clone.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		content := b
		if path := fs.PathJoin("log", n); path != name {
			content = readFile(t, fs, path)
		} else if b == nil {
			continue
		}
		f, err := clone.Create(clone.PathJoin("log", n), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(append([]byte(nil), content...)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return clone
}

// written returns a disk on which a log was closed.
func written(t testing.TB, steps int) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	m := newModel(l, 99)
	for range steps {
		m.step(t)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

func segmentPath(number int64) string { return "log/" + segment.Name(number) }

// A group of records of which only a part reached the disk, cut at every sector, is a torn tail:
// what was acknowledged before stays, and the log goes on in a new segment.
func TestTornTailAtEverySector(t *testing.T) {
	fs := vfs.NewMem()
	config := testConfig(fs)
	l := open(t, config)
	s := l.Shard(1)
	appendAll(t, s, entry(1, 1, 3000), entry(2, 1, 100))
	_, acked := segment.Split(l.Stats().DurableEnd)
	if err := s.Append([]Entry{entry(3, 1, 2000), entry(4, 1, 50), entry(5, 2, 4000)}); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitDurable(5); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, fs, segmentPath(1)) // before Close notes that all of it is synced
	for cut := acked; cut <= int64(len(whole)); cut += segment.Align {
		for _, fill := range []byte{0, 0xff} {
			torn := append([]byte(nil), whole[:cut]...)
			for len(torn) < len(whole) {
				torn = append(torn, fill)
			}
			config.FS = with(t, fs, segmentPath(1), torn)
			again, err := Open(config)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			r := again.Shard(1)
			if r.First() != 1 || r.Last() < 2 || r.Last() > 5 {
				t.Fatalf("cut at %d: window %d to %d", cut, r.First(), r.Last())
			}
			last := r.Last()
			appendAll(t, r, entry(last+1, 3, 10))
			for i := record.Index(1); i <= last; i++ {
				term := record.Term(1)
				if i == 5 {
					term = 2
				}
				if _, f, err := r.Pin(i, term); err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				} else {
					f.Release()
				}
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			if now := readFile(t, config.FS, segmentPath(1)); fill != 0 && cut < int64(len(whole)) && string(now[:len(torn)]) != string(torn) {
				t.Fatalf("cut at %d: the torn bytes were changed", cut)
			}
		}
	}
}

// Every flipped bit in what was acknowledged is noticed: when the log is opened, or when the entry is read.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	fs := written(t, 60)
	random := rand.New(rand.NewPCG(1, 2))
	names, err := fs.List("log")
	if err != nil {
		t.Fatal(err)
	}
	live := livePositions(t, fs)
	flips := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".segment") {
			continue
		}
		path := fs.PathJoin("log", name)
		whole := readFile(t, fs, path)
		number, _ := segment.ParseName(name)
		meaningful := meaningfulBytes(t, whole, number, live)
		for range 200 {
			if len(meaningful) == 0 {
				break
			}
			flips++
			at := meaningful[random.IntN(len(meaningful))]
			b := append([]byte(nil), whole...)
			b[at] ^= 1 << random.IntN(8)
			if !noticed(t, with(t, fs, path, b)) {
				t.Errorf("%s: a flipped bit at %d was not noticed", name, at)
			}
		}
	}
	if flips < 500 {
		t.Errorf("only %d bits were flipped", flips)
	}
}

// livePositions returns where the entries lie that are not superseded.
func livePositions(t testing.TB, fs FS) map[record.Position]bool {
	t.Helper()
	l, err := Open(testConfig(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	live := map[record.Position]bool{}
	for _, number := range modelShards {
		if err := l.Shard(number).Scan(0, 1<<40, func(info EntryInfo, _ []byte) error {
			live[info.Position] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return live
}

// meaningfulBytes returns the offsets of all bytes of a segment except padding, the unused end of
// its head, notes at its end, which are no data, and the payloads of superseded entries, which nobody reads.
func meaningfulBytes(t testing.TB, b []byte, number int64, live map[record.Position]bool) []int {
	t.Helper()
	source := segment.File{Source: strings.NewReader(string(b)), Path: "", Number: number, Seed: segment.Seed([16]byte{})}
	head, err := segment.ReadHead(source.Source, "", number)
	if err != nil {
		return nil // a prepared segment
	}
	var offsets []int
	data := 0 // before the notes at the end
	for i := range 72 + 72*len(head.Rows) {
		offsets = append(offsets, i)
	}
	_, from := segment.Split(head.Start)
	for c := segment.NewCursor(source, from, int64(len(b))); ; {
		at := int(c.Offset())
		h, err := c.Next()
		if err != nil {
			return offsets[:data]
		}
		size := segment.HeaderBytes
		if h.IsMarker() || live[h.Position] {
			size += int(h.PayloadBytes)
		}
		for i := range size {
			offsets = append(offsets, at+i)
		}
		if h.Kind != segment.KindNote {
			data = len(offsets)
		}
	}
}

// noticed opens and reads everything, and reports whether an error said that something is corrupt.
func noticed(t testing.TB, fs FS) bool {
	t.Helper()
	l, err := Open(testConfig(fs))
	if err != nil {
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.File == "" || !errors.Is(err, record.ErrCorrupt) {
			t.Fatalf("open: %v", err)
		}
		return true
	}
	defer func() { _ = l.Close() }()
	for _, number := range modelShards {
		s := l.Shard(number)
		err := s.Scan(0, 1<<40, func(info EntryInfo, _ []byte) error {
			_, f, err := s.PinAt(info)
			if err == nil {
				f.Release()
			}
			return err
		})
		if err != nil {
			if _, ok := errors.AsType[*CorruptError](err); !ok {
				t.Fatalf("scan: %v", err)
			}
			return true
		}
	}
	return false
}

func TestLostFilesAreNoticed(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := filled(t, fs, 40, 9000)
	segments := l.Segments()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if len(segments) < 6 {
		t.Fatalf("%d segments", len(segments))
	}
	// The newest one cannot be told from one that never was, except by what Raft knows.
	for _, s := range segments[:len(segments)-1] {
		for what, b := range map[string][]byte{"gone": nil, "zero": make([]byte, 4096)} {
			l, err := Open(testConfig(with(t, fs, segmentPath(s.Number), b)))
			var corrupt *CorruptError
			if err == nil {
				_ = l.Close()
			}
			if !errors.As(err, &corrupt) || corrupt.File != segmentPath(s.Number) {
				t.Errorf("segment %d is %s: %v", s.Number, what, err)
			}
		}
	}
}

func TestForeignSegmentIsRefused(t *testing.T) {
	fs := written(t, 20)
	config := testConfig(fs)
	config.Incarnation[3] = 9
	if l, err := Open(config); err == nil || !strings.Contains(err.Error(), "another node") {
		_ = l
		t.Fatal(err)
	}
}

func TestTwoLogsInOneFolder(t *testing.T) {
	fs := vfs.NewMem()
	open(t, testConfig(fs))
	if _, err := Open(testConfig(fs)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatal(err)
	}
}

// Read hands out a run only when the entry's header, its tail and every batch are as they were.
func TestReadFindsDamage(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	var body []byte
	var rows []record.Row
	for i := range record.Offset(3) {
		batch := command(i, 1, 60, 1)[:record.BatchHeaderBytes+60]
		rows = append(rows, record.Row{Partition: 1, BaseOffset: i, Position: uint32(len(body)), Bytes: uint32(len(batch))})
		body = append(body, batch...)
	}
	e := Entry{Index: 1, Term: 1, Payload: record.AppendTail(body, rows, nil, 1)}
	appendAll(t, s, e, entry(2, 1, 10))
	info, err := s.Info(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, fs, segmentPath(1))
	_, at := segment.Split(info.Position)
	run := rows[1] // the one in the middle
	for offset := range segment.HeaderBytes + len(e.Payload) {
		if batch := offset - segment.HeaderBytes; batch >= 0 && batch < len(body) && (batch < int(run.Position) || batch >= int(run.Position+run.Bytes)) {
			continue // another batch, which is not asked for
		}
		b := append([]byte(nil), whole...)
		b[at+int64(offset)] ^= 1
		h := &reader{File: segment.File{Source: strings.NewReader(string(b)), Path: "x", Number: 1, Seed: segment.Seed([16]byte{})}}
		if _, f, err := s.readRun(h, 1, info.Position, run.Position, run.Bytes); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("byte %d of the record: %v", offset, err)
			if f != nil {
				f.Release()
			}
		}
	}
	h := &reader{File: segment.File{Source: strings.NewReader(string(whole)), Path: "x", Number: 1, Seed: segment.Seed([16]byte{})}}
	b, f, err := s.readRun(h, 1, info.Position, run.Position, run.Bytes)
	if err != nil || string(b) != string(body[run.Position:][:run.Bytes]) {
		t.Fatal(err)
	}
	f.Release()
	for name, part := range map[string][2]uint32{"a part of a batch": {run.Position, run.Bytes - 1}, "between batches": {run.Position + 1, run.Bytes}, "beyond": {0, uint32(len(e.Payload))}} {
		if _, _, err := s.readRun(h, 1, info.Position, part[0], part[1]); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, _, err := s.readRun(h, 9, info.Position, run.Position, run.Bytes); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("another entry: %v", err)
	}
}
