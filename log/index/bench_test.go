package index_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

// BenchmarkFind looks things up in an index of twelve partitions with ten thousand runs each and
// ten thousand streams of five versions, after a flush: as on a node that runs for a while.
func BenchmarkFind(b *testing.B) {
	const partitions, runs, streams = 12, 10_000, 10_000
	x := open(b, vfs.NewMem())
	for i := range runs {
		batch := x.NewBatch()
		for p := range record.Partition(partitions) {
			batch.PutRun(1, index.Run{
				Partition: p, First: record.Offset(i * 10), Last: record.Offset(i*10 + 9),
				Index: record.Index(i + 1), Term: 3, Position: record.Position(i << 16), Bytes: 4000, MaxTimestamp: int64(i),
			})
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
		batch.Close()
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "order-%08d", i%streams) }
	batch := x.NewBatch()
	for i := range streams * 5 {
		batch.PutVersion(1, index.StreamVersion{Partition: 1, Key: key(i), Version: int64(i / streams), Offset: record.Offset(i)})
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	batch.Close()
	if err := x.Flush(); err != nil {
		b.Fatal(err)
	}
	var dst []index.Run
	for _, find := range []struct {
		name string
		run  func(i int) error
	}{
		{"Runs", func(i int) (err error) {
			dst, err = x.Runs(record.Partition(i%partitions), record.Offset(i*7919%(runs*10)), 4, dst[:0])
			return err
		}},
		{"LastRun", func(i int) error { _, _, err := x.LastRun(record.Partition(i % partitions)); return err }},
		{"RunAtTime", func(i int) error {
			_, _, err := x.RunAtTime(record.Partition(i%partitions), int64(i*7919%runs))
			return err
		}},
		{"StreamHead", func(i int) error { _, _, err := x.StreamHead(1, key(i*7919)); return err }},
	} {
		b.Run(find.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := find.run(i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
