package log

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// benchLog returns a log on the disk of the machine, or in memory.
func benchLog(b *testing.B, inMemory, direct bool) *Log {
	b.Helper()
	config := Config{Direct: direct, FS: OSFS(), Dir: b.TempDir(), TailBytes: 4 << 20, Pool: frame.NewPool(64 << 20), Fatal: func(err error) { b.Error(err) }}
	if inMemory {
		config.FS, config.Dir = vfs.NewMem(), "log"
	}
	l, err := Open(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

// BenchmarkAppend appends entries that lie in frames, as the transport and the sequencer hand them over,
// and waits for each group of 8, through the page cache and past it. What counts is CPU, calls and bytes: seconds are the disk's.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{200, 16 << 10, 512 << 10} {
		for _, direct := range []bool{false, true} {
			b.Run(fmt.Sprintf("bytes=%d/direct=%v", size, direct), func(b *testing.B) { benchAppend(b, size, direct) })
		}
	}
}

func benchAppend(b *testing.B, size int, direct bool) {
	l := benchLog(b, false, direct)
	s := l.Shard(1)
	payload := command(1, 1, size, 1)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	i := record.Index(0)
	entries := make([]Entry, 0, 8)
	before := processorTime(b)
	for b.Loop() {
		i++
		f := l.config.Pool.GetAfter(HeaderBytes, len(payload))
		copy(f.Bytes(), payload)
		entries = append(entries, Entry{Index: i, Term: 1, Payload: f.Bytes(), Frame: f})
		if len(entries) < cap(entries) {
			continue
		}
		if err := s.Append(entries); err != nil {
			b.Fatal(err)
		}
		if err := s.WaitDurable(i); err != nil {
			b.Fatal(err)
		}
		for _, e := range entries {
			e.Frame.Release()
		}
		entries = entries[:0]
		if i%4096 == 0 { // as raft's snapshots do
			s.SetApplied(i)
			if err := s.Forget(i - 1000); err != nil {
				b.Fatal(err)
			}
			for _, info := range l.Segments() {
				_ = l.Remove(info.Number) // keeps the disk from filling up
			}
		}
	}
	stats, bytes := l.Stats(), float64(i)*float64(len(payload))
	b.ReportMetric(processorTime(b).Seconds()*1e9/bytes-before.Seconds()*1e9/bytes, "CPU-s/GB")
	b.ReportMetric(float64(stats.Syncs)*1e6/bytes, "syncs/MB")
	b.ReportMetric(float64(stats.Writes)/float64(i), "writes/op")
	b.ReportMetric(float64(stats.BytesWritten)/bytes, "written/payload")
	b.ReportMetric(float64(stats.BytesZeroed)/bytes, "zeroed/payload")
}

// BenchmarkSync is one write and one sync of a segment, as the writer makes them: through the page cache, and past it into
// room that was only reserved and into zeros.
func BenchmarkSync(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 512 << 10} {
		for _, kind := range []string{"cache", "reserved", "zeroed"} {
			b.Run(fmt.Sprintf("bytes=%d/%s", size, kind), func(b *testing.B) {
				l := &Log{config: Config{FS: OSFS(), Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)}}
				l.direct.Store(kind != "cache")
				data := aligned(size)
				for i := range data {
					data[i] = byte(i)
				}
				used := time.Duration(0)
				number, offset := int64(0), int64(defaultSegmentBytes)
				var file *output
				for b.Loop() {
					if offset+int64(size) > defaultSegmentBytes {
						b.StopTimer()
						number++
						file, offset = benchSegment(b, l, number, kind == "zeroed"), 0
						b.StartTimer()
					}
					before := processorTime(b)
					if err := file.write(l, [][]byte{data}, offset); err != nil {
						b.Fatal(err)
					}
					if err := file.SyncData(); err != nil {
						b.Fatal(err)
					}
					used += processorTime(b) - before
					offset += int64(size)
				}
				b.ReportMetric(float64(used.Microseconds())/float64(b.N), "CPU-µs/op")
			})
		}
	}
}

// benchSegment prepares a segment for BenchmarkSync, in place of the one before.
func benchSegment(b *testing.B, l *Log, number int64, zero bool) *output {
	b.Helper()
	_ = OSFS().Remove(OSFS().PathJoin(l.config.Dir, segment.Name(number-1))) // there is none at first
	file, err := segment.Prepare(OSFS(), l.config.Dir, number, defaultSegmentBytes)
	if err != nil {
		b.Fatal(err)
	}
	o, err := l.output(file)
	if err != nil {
		b.Fatal(err)
	}
	zeros := aligned(zeroStep)
	for offset := int64(0); zero && offset < defaultSegmentBytes; offset += zeroStep {
		if err := o.write(l, [][]byte{zeros}, offset); err != nil {
			b.Fatal(err)
		}
	}
	if err := o.Sync(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = o.Close() })
	return o
}

// processorTime returns what the process has used so far, the system's work for it included.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkRead reads one of twelve runs of an entry of 512 KiB.
func BenchmarkRead(b *testing.B) {
	for _, from := range []string{"memory", "disk"} {
		b.Run(from, func(b *testing.B) {
			l := benchLog(b, true, false)
			if from == "disk" {
				l.tail.limit = 1
			}
			s := l.Shard(1)
			var body []byte
			var rows []record.Row
			for i := range record.Partition(12) {
				batch := command(0, 1, 42_000, uint64(i))[:record.BatchHeaderBytes+42_000]
				rows = append(rows, record.Row{Partition: i, Position: uint32(len(body)), Bytes: uint32(len(batch))})
				body = append(body, batch...)
			}
			payload := record.AppendTail(body, rows, nil, 1)
			appendAll(b, s, Entry{Index: 1, Term: 1, Payload: payload}, Entry{Index: 2, Term: 1, Kind: 1})
			info, err := s.Info(1)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(rows[0].Bytes))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				row := rows[i%len(rows)]
				_, f, err := s.Read(1, info.Position, row.Position, row.Bytes)
				if err != nil {
					b.Fatal(err)
				}
				f.Release()
			}
		})
	}
}

// BenchmarkScan visits a hundred thousand entries.
func BenchmarkScan(b *testing.B) {
	l := benchLog(b, true, false)
	s := l.Shard(1)
	const n = 100_000
	entries := make([]Entry, 100)
	for i := record.Index(0); i < n; i += 100 {
		for j := range entries {
			entries[j] = Entry{Index: i + record.Index(j) + 1, Term: 1, Payload: command(1, 1, 300, 1)}
		}
		appendAll(b, s, entries...)
	}
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		if err := s.Scan(0, n, func(EntryInfo, []byte) error { seen++; return nil }); err != nil || seen != n {
			b.Fatal(seen, err)
		}
	}
}

// BenchmarkOpen starts a log whose window holds ten thousand entries of 16 KiB.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	config := Config{FS: OSFS(), Dir: dir, Pool: frame.NewPool(64 << 20)}
	l, err := Open(config)
	if err != nil {
		b.Fatal(err)
	}
	s := l.Shard(1)
	for i := record.Index(1); i <= 10_000; i++ {
		if err := s.Append([]Entry{{Index: i, Term: 1, Payload: command(1, 1, 16<<10, 1)}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l, err := Open(config)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
