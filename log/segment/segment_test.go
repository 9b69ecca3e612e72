package segment_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

const (
	number = 3
	seed   = 77
)

func file(b []byte) segment.File {
	return segment.File{Source: bytes.NewReader(b), Path: "x.segment", Number: number, Seed: seed}
}

// command returns an entry with one batch of n bytes of records.
func command(offset record.Offset, n int) []byte {
	b := make(record.Batch, record.BatchHeaderBytes+n)
	for i := record.BatchHeaderBytes; i < len(b); i++ {
		b[i] = byte(i*7) | 1
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[57:], 1)
	b.SetCRC()
	b.Stamp(offset, 5)
	return record.AppendTail(b, []record.Row{{Partition: 1, BaseOffset: offset, Bytes: uint32(len(b))}}, []byte("\x01\x00\x00\x00\x02\x00\x00\x00ab"), 5)
}

// add appends a record to the bytes of a file and returns them and its header.
func add(b []byte, h segment.Header, payload []byte) ([]byte, segment.Header) {
	for len(b)%segment.Align != 0 {
		b = append(b, 0)
	}
	h.Position = segment.At(number, int64(len(b)))
	h.PayloadBytes, h.TailBytes = uint32(len(payload)), uint32(len(payload))
	if h.Kind == segment.KindCommand {
		n, err := record.TailOf(payload)
		if err != nil {
			panic(err)
		}
		h.TailBytes = uint32(n)
	}
	h.TailCRC = record.Castagnoli(0, payload[len(payload)-int(h.TailBytes):])
	at := len(b)
	b = append(b, make([]byte, segment.HeaderBytes)...)
	h.Put(b[at:], seed)
	return append(b, payload...), h
}

// sample returns a file with a few records and their headers. The last two were queued when only those before were synced.
func sample() ([]byte, []segment.Header) { return written(10, 3000, 0, 100_000, 50, 700) }

func written(sizes ...int) ([]byte, []segment.Header) {
	var all []segment.Header
	b := make([]byte, segment.HeadBlock)
	durable := segment.At(number, segment.HeadBlock)
	for i, size := range sizes {
		var h segment.Header
		if i < len(sizes)-1 {
			durable = segment.At(number, segment.Padded(int64(len(b))))
		}
		b, h = add(b, segment.Header{Shard: 1, Index: record.Index(i + 1), Term: 5, Durable: durable, Applied: record.Index(i)}, command(record.Offset(i), size))
		all = append(all, h)
	}
	return b, all
}

func TestNames(t *testing.T) {
	if n, ok := segment.ParseName(segment.Name(42)); !ok || n != 42 {
		t.Errorf("%s: %d %v", segment.Name(42), n, ok)
	}
	for _, name := range []string{"", "1.segment", "000000000000.segment", "-00000000001.segment", "00000000000x.segment", "000000000001.segment.bak", "000000000001"} {
		if n, ok := segment.ParseName(name); ok {
			t.Errorf("%q is taken for segment %d", name, n)
		}
	}
	if n, offset := segment.Split(segment.At(9, 12345)); n != 9 || offset != 12345 {
		t.Errorf("split: %d %d", n, offset)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := segment.Header{
			Kind: rapid.Byte().Draw(rt, "kind"), Flags: rapid.Byte().Draw(rt, "flags"), Shard: record.Shard(rapid.Byte().Draw(rt, "shard")),
			Position: record.Position(rapid.Int64Range(0, 1<<62).Draw(rt, "position")),
			Index:    record.Index(rapid.Uint64().Draw(rt, "index")), Term: record.Term(rapid.Uint64().Draw(rt, "term")),
			PayloadBytes: rapid.Uint32().Draw(rt, "payload"), TailCRC: rapid.Uint32().Draw(rt, "crc"),
			Applied: record.Index(rapid.Uint64().Draw(rt, "applied")),
		}
		h.TailBytes = rapid.Uint32Range(0, h.PayloadBytes).Draw(rt, "tail")
		h.Durable = record.Position(rapid.Int64Range(0, int64(h.Position)).Draw(rt, "durable"))
		b := make([]byte, segment.HeaderBytes)
		h.Put(b, seed)
		got, err := segment.ParseHeader(b, h.Position, seed)
		if err != nil || got != h {
			rt.Fatalf("%v: %s", err, cmp.Diff(h, got))
		}
		bit := rapid.IntRange(0, len(b)*8-1).Draw(rt, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := segment.ParseHeader(b, h.Position, seed); !errors.Is(err, record.ErrCorrupt) {
			rt.Fatalf("bit %d flipped: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := segment.ParseHeader(b, h.Position+512, seed); !errors.Is(err, record.ErrCorrupt) {
			rt.Fatalf("at another place: %v", err)
		}
		if _, err := segment.ParseHeader(b, h.Position, seed+1); !errors.Is(err, record.ErrCorrupt) {
			rt.Fatalf("of another node: %v", err)
		}
	})
}

func TestHeadRoundTrip(t *testing.T) {
	for _, rows := range []int{0, 1, 17, 55, 56, 256} {
		h := segment.Head{Number: number, PreviousEnd: segment.At(2, 5120), CreatedAt: time.UnixMilli(1_700_000_000_123), Incarnation: [16]byte{1, 2, 3}}
		h.Rows = make([]segment.Row, rows)
		for i := range h.Rows {
			n := record.Index(i * 10)
			h.Rows[i] = segment.Row{
				Shard: record.Shard(i), First: n, Last: n + 5, Applied: n + 1,
				Held: segment.Held{Low: n, High: n + 4, Superseded: segment.Superseded{From: n + 2, Last: n + 3, Segment: 2}},
			}
		}
		h.Start = segment.At(number, segment.HeadBytes(rows))
		b := h.Encode()
		if len(b)%segment.HeadBlock != 0 || int64(len(b)) != segment.HeadBytes(rows) {
			t.Fatalf("%d rows in %d bytes", rows, len(b))
		}
		got, err := segment.ReadHead(bytes.NewReader(b), "x", number)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Fatalf("%d rows: %s", rows, diff)
		}
		for _, other := range [][]byte{nil, b[:70], b[:100], make([]byte, 4096)} {
			if _, err := segment.ReadHead(bytes.NewReader(other), "x", number); rows > 0 && !errors.Is(err, record.ErrCorrupt) {
				t.Errorf("%d bytes: %v", len(other), err)
			}
		}
		if _, err := segment.ReadHead(bytes.NewReader(b), "x", number+1); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("as another segment: %v", err)
		}
	}
}

func TestHeld(t *testing.T) {
	var h segment.Held
	if h.Touches(0, 1<<40) {
		t.Error("an empty one touches")
	}
	for _, i := range []record.Index{7, 5, 9} {
		h.Add(&segment.Header{Index: i}, segment.Superseded{})
	}
	h.Add(&segment.Header{Kind: segment.KindTruncate}, segment.Superseded{From: 20, Last: 22, Segment: 4})
	h.Add(&segment.Header{Kind: segment.KindFirst}, segment.Superseded{From: 30, Last: 31, Segment: 2})
	h.Add(&segment.Header{Kind: segment.KindFirst, Index: 99}, segment.Superseded{})
	want := segment.Held{Low: 5, High: 9, Superseded: segment.Superseded{From: 20, Last: 31, Segment: 2}}
	if h != want {
		t.Error(cmp.Diff(want, h))
	}
	for _, test := range []struct {
		from, through record.Index
		want          bool
	}{{1, 4, false}, {1, 5, true}, {9, 10, true}, {10, 19, false}, {10, 20, true}, {32, 99, false}, {6, 6, true}} {
		if got := h.Touches(test.from, test.through); got != test.want {
			t.Errorf("touches %d to %d: %v", test.from, test.through, got)
		}
	}
}

func TestCursorAndReads(t *testing.T) {
	b, want := sample()
	f := file(b)
	c := segment.NewCursor(f, segment.HeadBlock, int64(len(b)))
	for i := range want {
		h, err := c.Next()
		if err != nil || h != want[i] {
			t.Fatalf("record %d: %v %s", i, err, cmp.Diff(want[i], h))
		}
		payload, err := f.ReadPayload(&h, nil)
		if err != nil {
			t.Fatal(err)
		}
		tail, err := f.ReadTail(&h, nil)
		if err != nil || !bytes.HasSuffix(payload, tail) {
			t.Fatal(err)
		}
		_, offset := segment.Split(h.Position)
		if again, err := f.ReadHeader(offset); err != nil || again != h {
			t.Fatal(err)
		}
		if _, checked, err := f.CheckRecord(b[offset:], h.Position); err != nil || !bytes.Equal(checked, payload) {
			t.Fatal(err)
		}
	}
	if _, err := c.Next(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	var corrupt *segment.CorruptError
	cut := segment.NewCursor(f, segment.HeadBlock, segment.HeadBlock+100)
	if _, err := cut.Next(); !errors.As(err, &corrupt) || corrupt.Offset != segment.HeadBlock {
		t.Fatalf("a record beyond the limit: %v", err)
	}
	for _, part := range []string{"x.segment at byte 4096", "wanted", "found", "nothing was changed"} {
		if !strings.Contains(corrupt.Error(), part) {
			t.Errorf("%q does not say %q", corrupt, part)
		}
	}
}

// What a flipped byte in each place of the newest segment means, by where it is.
func TestRecoverTellsTornFromCorrupt(t *testing.T) {
	whole, headers := sample()
	offsetOf := func(i int) int64 { _, offset := segment.Split(headers[i].Position); return offset }
	read := func(b []byte) (int, segment.Recovery, error) {
		n := 0
		r, err := segment.Recover(file(b), segment.HeadBlock, int64(len(b)), func(h *segment.Header, _ segment.Superseded) error {
			if h.Index != record.Index(n+1) {
				t.Fatalf("record %d came as number %d", h.Index, n)
			}
			n++
			return nil
		})
		return n, r, err
	}
	if n, r, err := read(whole); n != 6 || err != nil || r.Dirty || r.End != segment.Padded(int64(len(whole))) || r.Durable != headers[4].Durable {
		t.Fatalf("the whole: %d records, %+v, %v", n, r, err)
	}
	if n, r, err := read(append(bytes.Clone(whole), make([]byte, 70_000)...)); n != 6 || err != nil || r.Dirty {
		t.Fatalf("with reserved room: %d records, %+v, %v", n, r, err)
	}
	var corrupt *segment.CorruptError
	for i := range headers {
		for _, at := range []int64{0, 20, 63, segment.HeaderBytes + 30, segment.HeaderBytes + int64(headers[i].PayloadBytes) - 1} {
			b := bytes.Clone(whole)
			b[offsetOf(i)+at] ^= 4
			n, r, err := read(b)
			switch {
			case i < 4 && at < segment.HeaderBytes: // records 4 and 5 say that the log was synced up to record 4
				if !errors.As(err, &corrupt) || corrupt.Offset != offsetOf(i) {
					t.Errorf("header of record %d at %d: %v", i, at, err)
				}
			case i < 4: // found when it is read
				h := headers[i]
				if err != nil || n != 6 {
					t.Errorf("payload of record %d at %d: %d records, %v", i, at, n, err)
				}
				f := file(b)
				if _, err := f.ReadPayload(&h, nil); !errors.As(err, &corrupt) {
					t.Errorf("payload of record %d at %d is read: %v", i, at, err)
				}
			default:
				if err != nil || n != i || r.End != offsetOf(i) || !r.Dirty {
					t.Errorf("record %d at %d: %d records, %+v, %v", i, at, n, r, err)
				}
			}
		}
	}
}

type failing struct{ io.ReaderAt }

var errDisk = errors.New("input/output error")

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

// An error of the disk is not a torn tail.
func TestRecoverReturnsErrorsOfTheDisk(t *testing.T) {
	f := segment.File{Source: failing{}, Number: number, Seed: seed}
	if _, err := segment.Recover(f, segment.HeadBlock, 1<<20, nil); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if _, err := segment.ReadHead(failing{}, "x", number); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if _, _, err := segment.Witness(f, 0, 1<<20, 0); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

func TestPrepareOnARealFileSystem(t *testing.T) {
	dir := t.TempDir()
	f, err := segment.Prepare(vfs.Default, dir, number, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	dirty, _, err := segment.Witness(segment.File{Source: f, Number: number}, 0, 1<<20, 0)
	if err != nil || dirty {
		t.Fatalf("dirty %v, %v", dirty, err)
	}
	if _, err := f.WriteAt([]byte("x"), 5000); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncData(); err != nil {
		t.Fatal(err)
	}
	if dirty, _, err = segment.Witness(segment.File{Source: f, Number: number}, 0, 1<<20, 0); err != nil || !dirty {
		t.Fatalf("dirty %v, %v", dirty, err)
	}
}

// Whatever the bytes of a segment are, recovery ends, within the file and without panic,
// and every record that it visits is whole.
func FuzzRecovery(f *testing.F) {
	whole, _ := written(10, 700, 0, 50)
	f.Add(whole[segment.HeadBlock:])
	f.Add(whole[segment.HeadBlock : len(whole)-60])
	f.Add(append(bytes.Clone(whole[segment.HeadBlock:]), make([]byte, 5000)...))
	f.Add([]byte{})
	marker, _ := add(nil, segment.Header{Kind: segment.KindTruncate, Index: 4}, segment.Superseded{From: 4, Last: 9, Segment: 1}.Append(nil))
	f.Add(marker)
	f.Fuzz(func(t *testing.T, records []byte) {
		b := append(make([]byte, segment.HeadBlock), records...)
		source := file(b)
		end := int64(segment.HeadBlock)
		r, err := segment.Recover(source, segment.HeadBlock, int64(len(b)), func(h *segment.Header, _ segment.Superseded) error {
			_, offset := segment.Split(h.Position)
			if offset != end || offset+segment.HeaderBytes+int64(h.PayloadBytes) > int64(len(b)) {
				t.Fatalf("a record at %d of %d bytes, expected at %d", offset, h.PayloadBytes, end)
			}
			end += h.Size()
			return nil
		})
		if err != nil {
			if _, ok := errors.AsType[*segment.CorruptError](err); !ok {
				t.Fatal(err)
			}
			return
		}
		if r.End != end || r.End > segment.Padded(int64(len(b))) {
			t.Fatalf("the end is %d after records up to %d of %d", r.End, end, len(b))
		}
		if _, err := segment.ReadHead(bytes.NewReader(records), "x", number); err == nil {
			t.Fatal("a head was made up")
		}
	})
}
