package log

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

func testHead(number int64) segment.Head {
	h := segment.Head{Number: number, PreviousEnd: segment.At(number-1, 8192), Start: segment.At(number, segment.HeadBytes(3))}
	for shard := range record.Shard(3) {
		h.Rows = append(h.Rows, segment.Row{Shard: shard, First: 7, Last: record.Index(number), Held: segment.Held{Low: 1, High: 9}})
	}
	return h
}

// Each gap costs what its head says, not the block that the head has in its segment; gaps that grow together cost one.
func TestRemovedStaysSmall(t *testing.T) {
	fs := vfs.NewMem()
	r, err := openRemovals(fs, "removed")
	if err != nil {
		t.Fatal(err)
	}
	const gaps = 100
	for i := range int64(gaps) {
		h := testHead(2*i + 1)
		if err := r.add(h.Number, h.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	if size := len(readFile(t, fs, "removed.a")); size > gaps*400 {
		t.Errorf("%d bytes for %d gaps", size, gaps)
	}
	if r, err = openRemovals(fs, "removed"); err != nil {
		t.Fatal(err)
	}
	heads, err := r.heads()
	if err != nil || len(heads) != gaps-1 { // before segment 1 there is nothing
		t.Fatalf("%d heads, %v", len(heads), err)
	}
	for i, h := range heads {
		if want := testHead(2*int64(i) + 3); h.PreviousEnd != want.PreviousEnd || !reflect.DeepEqual(h.Rows, want.Rows) {
			t.Fatalf("head %d: %+v, wanted %+v", i, h, want)
		}
	}
}

// What an earlier release wrote, whole blocks, is read.
func TestRemovedOfEarlierRelease(t *testing.T) {
	fs := vfs.NewMem()
	stable, err := OpenStable(fs, "removed")
	if err != nil {
		t.Fatal(err)
	}
	h := testHead(5)
	b := binary.LittleEndian.AppendUint64(nil, 5)
	b = binary.LittleEndian.AppendUint64(b, 6)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.Encode())))
	if err := stable.Set([]byte(removedName), append(b, h.Encode()...)); err != nil {
		t.Fatal(err)
	}
	if err := stable.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := openRemovals(fs, "removed")
	if err != nil {
		t.Fatal(err)
	}
	if heads, err := r.heads(); err != nil || len(heads) != 1 || heads[0].PreviousEnd != h.PreviousEnd || !r.has(5, 6) {
		t.Errorf("%+v, %v", heads, err)
	}
}
