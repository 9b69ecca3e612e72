package log

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// BenchmarkReadOn reads the log on a real disk from its beginning to its end and again, as a consumer who is far behind
// does with each partition in turn: 12 runs an entry, one after the other or fetch by fetch. What is in the page cache is dropped before each round.
func BenchmarkReadOn(b *testing.B) {
	for _, size := range []int{16 << 10, 500 << 10} {
		for _, how := range []string{"alone", "on"} {
			for _, direct := range []bool{true, false} {
				for _, fetch := range []int{1, 24} { // entries
					b.Run(fmt.Sprintf("bytes=%d/read=%s/direct=%v/entries=%d", size, how, direct, fetch), func(b *testing.B) {
						benchReadOn(b, size, fetch, how == "on", direct)
					})
				}
			}
		}
	}
}

const benchRuns = 12 // of an entry

func benchReadOn(b *testing.B, size, fetch int, on, direct bool) {
	l := benchLog(b, false, direct)
	s := l.Shard(1)
	payload, rows := benchEntry(size)
	n := (256 << 20) / size / fetch * fetch
	infos := make([]EntryInfo, 0, n)
	for i := range n {
		f := l.config.Pool.GetAfter(HeaderBytes, len(payload))
		copy(f.Bytes(), payload)
		if err := s.Append([]Entry{{Index: record.Index(i + 1), Term: 1, Payload: f.Bytes(), Frame: f}}); err != nil {
			b.Fatal(err)
		}
		f.Release()
		info, err := s.Info(record.Index(i + 1))
		if err != nil {
			b.Fatal(err)
		}
		infos = append(infos, info)
	}
	if err := l.writer.waitForAll(); err != nil {
		b.Fatal(err)
	}
	l.tail.limit = 0
	l.tail.shrinkTo(record.Position(l.writer.durable.Load()))
	read := s.Read
	if on {
		read = s.ReadOn
	}
	b.SetBytes(int64(len(payload) * n))
	b.ReportAllocs()
	used, bytes := time.Duration(0), 0
	for b.Loop() {
		b.StopTimer()
		dropPages(b, l)
		before := processorTime(b)
		b.StartTimer()
		for at := 0; at < n; at += fetch {
			for _, row := range rows {
				for _, info := range infos[at : at+fetch] {
					_, f, err := read(info.Index, info.Position, row.Position, row.Bytes)
					if err != nil {
						b.Fatal(err)
					}
					f.Release()
				}
			}
		}
		used += processorTime(b) - before
		bytes += len(payload) * n
	}
	b.ReportMetric(used.Seconds()*1e9/float64(bytes), "CPU-s/GB")
	b.ReportMetric(float64(l.Stats().Extents.Bytes)/float64(bytes), "read/payload")
}

// benchEntry returns an entry of so many bytes in benchRuns batches.
func benchEntry(size int) (payload []byte, rows []record.Row) {
	for i := range record.Partition(benchRuns) {
		batch := command(0, 1, size/benchRuns, uint64(i))
		batch = batch[:record.BatchHeaderBytes+size/benchRuns]
		rows = append(rows, record.Row{Partition: i, Position: uint32(len(payload)), Bytes: uint32(len(batch))})
		payload = append(payload, batch...)
	}
	return record.AppendTail(payload, rows, nil, 1), rows
}

// dropPages has the system forget what it keeps of the log's files.
func dropPages(b *testing.B, l *Log) {
	b.Helper()
	for _, info := range l.Segments() {
		f, err := os.Open(segmentFile(l, info.Number))
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

func segmentFile(l *Log, number int64) string {
	return l.config.FS.PathJoin(l.config.Dir, segment.Name(number))
}
