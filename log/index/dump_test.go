package index

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
)

// TestDump puts a row of every kind in words, and refuses one that it cannot read.
func TestDump(t *testing.T) {
	fs := vfs.NewMem()
	x, err := Open(Config{FS: fs, Dir: "index"})
	if err != nil {
		t.Fatal(err)
	}
	b := x.NewBatch()
	b.PutRun(1, Run{Partition: 7, First: 10, Last: 19, Index: 3, Term: 2, Position: 4096, Bytes: 100, MaxTimestamp: 5})
	b.PutEpoch(1, 7, 2, 10)
	b.Put(1, []byte("text"), []byte("value"))
	b.Put(1, []byte{0xff, 0}, nil)
	b.PutVersion(1, StreamVersion{Partition: 7, Key: []byte("order-1"), Version: 4, Offset: 12})
	b.SetApplied(1, 3)
	b.PutSegment(1, 2, []SegmentPartition{{Partition: 7, NextOffset: 20, Bytes: 100}})
	if err := errors.Join(b.Commit(), x.Close()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	var text strings.Builder
	err = Dump(fs, "index", func(row Row) error {
		text.WriteString(row.Kind + " " + row.Text + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"applied shard 1 index 3\n", "owner shard 1 partition 7\n", "epoch partition 7 term 2 from offset 10\n",
		"run partition 7 offsets 10-19 index 3 term 2 position 4096", `state shard 1 key "text": 5 bytes`, "state shard 1 key ff00: 0 bytes",
		`version partition 7 stream "order-1" version 4 offset 12`, "segment segment 2 shard 1: partition 7 to offset 20 (100 bytes)",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	for _, key := range []string{"", "?", "a", "k", "r12"} {
		if _, err := describe([]byte(key), nil); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("row %q: %v", key, err)
		}
	}
	if err := Dump(fs, "elsewhere", func(Row) error { return nil }); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("dump of nothing: %v", err)
	}
}
