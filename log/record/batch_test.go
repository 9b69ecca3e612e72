package record

import (
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// plainBatch returns a valid batch of n bytes of records.
func plainBatch(base Offset, epoch int32, n int) Batch {
	b := make(Batch, BatchHeaderBytes+n)
	for i := BatchHeaderBytes; i < len(b); i++ {
		b[i] = byte(i)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batchPrefixBytes))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], 2)
	binary.BigEndian.PutUint64(b[27:], 1000)
	binary.BigEndian.PutUint64(b[35:], 2000)
	binary.BigEndian.PutUint64(b[43:], 77)
	binary.BigEndian.PutUint16(b[51:], 3)
	binary.BigEndian.PutUint32(b[53:], 40)
	binary.BigEndian.PutUint32(b[57:], 3)
	b.SetCRC()
	b.Stamp(base, epoch)
	return b
}

func TestBatchFields(t *testing.T) {
	b := plainBatch(500, 9, 10)
	binary.BigEndian.PutUint16(b[21:], attributeTransactional|attributeControl|uint16(CodecZstd))
	b.SetCRC()
	if b.BaseOffset() != 500 || b.LastOffset() != 502 || b.LastOffsetDelta() != 2 || b.LeaderEpoch() != 9 || b.Bytes() != 71 || b.Magic() != 2 {
		t.Error("place", b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.Bytes())
	}
	if b.BaseTimestamp() != 1000 || b.MaxTimestamp() != 2000 || b.ProducerID() != 77 || b.ProducerEpoch() != 3 || b.BaseSequence() != 40 || b.RecordCount() != 3 {
		t.Error("numbers", b.BaseTimestamp(), b.MaxTimestamp(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.RecordCount())
	}
	if !b.IsTransactional() || !b.IsControl() || b.IsLogAppendTime() || b.Codec() != CodecZstd || len(b.Records()) != 10 {
		t.Error("attributes", b.Attributes())
	}
	if err := CheckBatch(b); err != nil {
		t.Error(err)
	}
	before := b.CRC()
	if b.Stamp(7, 8); b.CRC() != before || CheckBatch(b) != nil {
		t.Error("a stamp changed what the checksum covers")
	}
	b.StampLogAppendTime(123456)
	if !b.IsLogAppendTime() || b.MaxTimestamp() != 123456 || CheckBatch(b) != nil {
		t.Error("log append time", b.MaxTimestamp(), CheckBatch(b))
	}
	if b.SetMaxTimestamp(77); b.MaxTimestamp() != 77 || CheckBatch(b) != nil {
		t.Error("max timestamp", b.MaxTimestamp(), CheckBatch(b))
	}
}

func TestNextBatchSplits(t *testing.T) {
	first, second := plainBatch(0, 1, 5), plainBatch(3, 1, 90)
	joined := append(append([]byte(nil), first...), second...)
	got, rest, err := NextBatch(joined)
	if err != nil || string(got) != string(first) || string(rest) != string(second) {
		t.Fatal(err, len(got), len(rest))
	}
	if cap(got) != len(got) {
		t.Error("appending to a batch would write over the next")
	}
	if err := CheckBatch(joined); !errors.Is(err, ErrCorrupt) {
		t.Errorf("two batches pass for one: %v", err)
	}
}

func TestCheckBatchRefuses(t *testing.T) {
	for name, spoil := range map[string]func(b Batch) Batch{
		"nothing":        func(Batch) Batch { return nil },
		"half a header":  func(b Batch) Batch { return b[:60] },
		"cut off":        func(b Batch) Batch { return b[:len(b)-1] },
		"length 0":       func(b Batch) Batch { binary.BigEndian.PutUint32(b[8:], 0); return b },
		"length -1":      func(b Batch) Batch { binary.BigEndian.PutUint32(b[8:], 0xffffffff); return b },
		"length 2 GiB":   func(b Batch) Batch { binary.BigEndian.PutUint32(b[8:], 0x7fffffff); return b },
		"length too low": func(b Batch) Batch { binary.BigEndian.PutUint32(b[8:], 48); return b },
		"format 1":       func(b Batch) Batch { b[16] = 1; return b },
		"checksum":       func(b Batch) Batch { b[17] ^= 1; return b },
		"records":        func(b Batch) Batch { b[len(b)-1] ^= 1; return b },
		"negative delta": func(b Batch) Batch { binary.BigEndian.PutUint32(b[23:], 0x80000000); b.SetCRC(); return b },
	} {
		if err := CheckBatch(spoil(plainBatch(0, 0, 20))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckBatch(f *testing.F) {
	f.Add([]byte(plainBatch(5, 6, 0)))
	f.Add([]byte(plainBatch(5, 6, 100)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, rest, err := NextBatch(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			if CheckBatch(b) == nil {
				t.Fatal("a batch that cannot be split off passes the check")
			}
			return
		}
		if len(batch)+len(rest) != len(b) || batch.Bytes() != len(batch) {
			t.Fatalf("%d and %d bytes of %d", len(batch), len(rest), len(b))
		}
		if CheckBatch(b) == nil && (len(rest) != 0 || Castagnoli(0, b[21:]) != batch.CRC()) {
			t.Fatal("the check passed what it should not")
		}
		_, _, _ = batch.LastOffset(), batch.Records(), batch.Codec()
	})
}

// entryOf builds an entry of some batches and notes.
func entryOf(rt *rapid.T) (payload []byte, rows []Row, notes []Note) {
	term := Term(rapid.Uint64Range(1, 1<<40).Draw(rt, "term"))
	var body []byte
	for i := range rapid.IntRange(0, 8).Draw(rt, "batches") {
		b := plainBatch(Offset(i*100), term.Epoch(), rapid.IntRange(0, 300).Draw(rt, "bytes"))
		rows = append(rows, Row{
			Partition: Partition(i % 3), BaseOffset: b.BaseOffset(), LastOffsetDelta: b.LastOffsetDelta(),
			Position: uint32(len(body)), Bytes: uint32(len(b)), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
			Attributes: b.Attributes(), BaseSequence: b.BaseSequence(), MaxTimestamp: b.MaxTimestamp(),
		})
		body = append(body, b...)
	}
	var encoded []byte
	for range rapid.IntRange(0, 4).Draw(rt, "notes") {
		n := Note{Kind: rapid.Byte().Draw(rt, "kind"), Body: rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(rt, "body")}
		notes = append(notes, n)
		encoded = AppendNote(encoded, n.Kind, n.Body)
	}
	return AppendTail(body, rows, encoded, term), rows, notes
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		payload, rows, notes := entryOf(rt)
		if err := CheckEntry(payload); err != nil {
			rt.Fatal(err)
		}
		n, err := TailOf(payload)
		if err != nil {
			rt.Fatal(err)
		}
		for _, b := range [][]byte{payload, payload[len(payload)-n:]} {
			tail, err := ParseTail(b)
			if err != nil || tail.RowCount() != len(rows) {
				rt.Fatal(err, tail.RowCount())
			}
			for i := range rows {
				if tail.Row(i) != rows[i] {
					rt.Fatalf("row %d: %+v, wanted %+v", i, tail.Row(i), rows[i])
				}
				if rows[i].NextOffset() != rows[i].BaseOffset+3 {
					rt.Fatalf("next offset %d", rows[i].NextOffset())
				}
			}
			i := 0
			for note := range tail.Notes() {
				if note.Kind != notes[i].Kind || string(note.Body) != string(notes[i].Body) {
					rt.Fatalf("note %d: %+v, wanted %+v", i, note, notes[i])
				}
				i++
			}
			if i != len(notes) {
				rt.Fatalf("%d notes of %d", i, len(notes))
			}
		}
		if n != TailBytes(len(rows), notesBytes(notes)) {
			rt.Fatalf("tail of %d bytes", n)
		}
	})
}

func notesBytes(notes []Note) (n int) {
	for _, note := range notes {
		n += NoteHeaderBytes + len(note.Body)
	}
	return n
}

// Every flipped bit of the batches is found by CheckEntry; the tail is covered by the record header of log/segment.
func TestCheckEntryFindsFlippedBits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		payload, _, _ := entryOf(rt)
		n, _ := TailOf(payload)
		if body := len(payload) - n; body > 0 {
			bit := rapid.IntRange(0, body*8-1).Draw(rt, "bit")
			payload[bit/8] ^= 1 << (bit % 8)
			if err := CheckEntry(payload); !errors.Is(err, ErrCorrupt) {
				rt.Fatalf("bit %d: %v", bit, err)
			}
		}
	})
}

func FuzzParseTail(f *testing.F) {
	b := plainBatch(5, 1, 10)
	rows := []Row{{BaseOffset: 5, LastOffsetDelta: 2, Bytes: uint32(len(b))}}
	whole := AppendTail(b, rows, AppendNote(nil, 3, []byte("note")), 1)
	f.Add(whole)
	f.Add(AppendTail(nil, nil, nil, 9))
	f.Add(whole[10:])
	f.Fuzz(func(t *testing.T, b []byte) {
		tail, err := ParseTail(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || CheckEntry(b) == nil {
				t.Fatal(err)
			}
			return
		}
		n, err := TailOf(b)
		if err != nil || n > len(b) {
			t.Fatal(n, err)
		}
		var rows []Row
		for i := range tail.RowCount() {
			rows = append(rows, tail.Row(i))
		}
		var notes []byte
		for note := range tail.Notes() {
			notes = AppendNote(notes, note.Kind, note.Body)
		}
		if again, err := ParseTail(AppendTail(nil, rows, notes, tail.Term)); err != nil || again.RowCount() != len(rows) {
			t.Fatal("it does not survive being written again", err)
		}
		_ = CheckEntry(b)
	})
}
