package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleBatch(t testing.TB, codec Codec) Batch {
	t.Helper()
	b := NewBuilder()
	b.Codec = codec
	b.Add(1000, []byte("order-1"), []byte(`{"total":"12.50"}`), []Header{{Key: []byte("ce_id"), Value: []byte("7")}, {Key: []byte("null")}})
	b.Add(1005, nil, []byte{}, nil)
	b.Add(990, []byte{}, nil, nil)
	out, err := b.AppendBatch(nil, new(Codecs))
	if err != nil {
		t.Fatal(err)
	}
	return Batch(out)
}

func collect(c *Codecs, b Batch, limit int) (out []Record, err error) {
	for r, e := range c.Records(b, limit) {
		if e != nil {
			return out, e
		}
		r.Headers = append([]Header(nil), r.Headers...)
		out = append(out, r)
	}
	return out, nil
}

func TestRecordsReadWhatBuilderWrote(t *testing.T) {
	want := []Record{
		{Key: []byte("order-1"), Value: []byte(`{"total":"12.50"}`), Headers: []Header{{Key: []byte("ce_id"), Value: []byte("7")}, {Key: []byte("null")}}},
		{OffsetDelta: 1, TimestampDelta: 5, Value: []byte{}},
		{OffsetDelta: 2, TimestampDelta: -10, Key: []byte{}},
	}
	var codecs Codecs
	for _, codec := range allCodecs {
		batch := sampleBatch(t, codec)
		if err := CheckBatch(batch); err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if batch.Codec() != codec || batch.BaseTimestamp() != 1000 || batch.MaxTimestamp() != 1005 || batch.ProducerID() != NoProducer {
			t.Errorf("%s: header %x", codec, batch[:BatchHeaderBytes])
		}
		got, err := collect(&codecs, batch, 1<<10)
		if err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", codec, d)
		}
		if v, ok := got[0].Header("ce_id"); !ok || string(v) != "7" {
			t.Errorf("%s: header ce_id is %q, %t", codec, v, ok)
		}
		if batch.Timestamp(&got[1]) != 1005 {
			t.Errorf("%s: timestamp %d", codec, batch.Timestamp(&got[1]))
		}
		if _, err := collect(&codecs, batch, 10); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: limit of 10 bytes: %v", codec, err)
		}
	}
}

func TestRecordsRefuseHostileCounts(t *testing.T) {
	var codecs Codecs
	change := func(edit func(b Batch) Batch) Batch { return edit(bytes.Clone(sampleBatch(t, CodecNone))) }
	raw := func(records []byte, count int32) Batch {
		b := append(bytes.Clone(sampleBatch(t, CodecNone)[:BatchHeaderBytes]), records...)
		binary.BigEndian.PutUint32(b[57:], uint32(count))
		return b
	}
	for name, b := range map[string]Batch{
		"count above what fits":  change(func(b Batch) Batch { binary.BigEndian.PutUint32(b[57:], 1<<19); return b }),
		"count above the limit":  change(func(b Batch) Batch { binary.BigEndian.PutUint32(b[57:], 1<<31-1); return b }),
		"negative count":         change(func(b Batch) Batch { binary.BigEndian.PutUint32(b[57:], 1<<31); return b }),
		"count too small":        change(func(b Batch) Batch { binary.BigEndian.PutUint32(b[57:], 2); return b }),
		"last delta too small":   change(func(b Batch) Batch { binary.BigEndian.PutUint32(b[23:], 1); return b }),
		"cut short":              change(func(b Batch) Batch { return b[:len(b)-1] }),
		"header count":           raw([]byte{18, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0x0f}, 1),
		"key beyond the record":  raw([]byte{12, 0, 0, 0, 0xfe, 0x01, 0}, 1),
		"negative key length":    raw([]byte{12, 0, 0, 0, 3, 1, 0}, 1),
		"varint without end":     raw(bytes.Repeat([]byte{0xff}, 20), 1),
		"offset delta goes back": raw([]byte{12, 0, 0, 2, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0}, 2),
		"null header key":        raw([]byte{16, 0, 0, 0, 1, 1, 2, 1, 1}, 1),
		"record left over":       raw([]byte{12, 0, 0, 0, 1, 1, 0, 0}, 1),
	} {
		if _, err := collect(&codecs, b, 1<<20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBuilderResetAndEmpty(t *testing.T) {
	b := NewBuilder()
	if _, err := b.AppendBatch(nil, nil); err == nil {
		t.Error("a batch without records was built")
	}
	b.Add(5, []byte("k"), nil, nil)
	first, err := b.AppendBatch([]byte("prefix"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(first)-6 != b.Bytes() || b.Count() != 1 {
		t.Errorf("built %d bytes, said %d", len(first)-6, b.Bytes())
	}
	b.Reset()
	b.Add(5, []byte("k"), nil, nil)
	again, err := b.AppendBatch(nil, nil)
	if err != nil || !bytes.Equal(first[6:], again) {
		t.Errorf("after Reset: %x, wanted %x, %v", again, first[6:], err)
	}
}

func FuzzRecords(f *testing.F) {
	for _, codec := range allCodecs {
		f.Add([]byte(sampleBatch(f, codec)))
	}
	codecs := new(Codecs)
	f.Fuzz(func(t *testing.T, in []byte) {
		b, _, err := NextBatch(in)
		if err != nil {
			return
		}
		count := 0
		for r, err := range codecs.Records(b, 1<<20) {
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
					t.Fatalf("error of the wrong kind: %v", err)
				}
				return
			}
			if r.OffsetDelta < 0 || r.OffsetDelta > b.LastOffsetDelta() || len(r.Headers) > MaxHeaderCount {
				t.Fatalf("record %+v of a batch with last delta %d", r, b.LastOffsetDelta())
			}
			count++
		}
		if int32(count) != b.RecordCount() {
			t.Fatalf("%d records, the header says %d", count, b.RecordCount())
		}
	})
}
