package log

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// benchLog returns a log on the disk of the machine, or in memory.
func benchLog(b *testing.B, inMemory bool) *Log {
	b.Helper()
	config := Config{FS: OSFS(), Dir: b.TempDir(), TailBytes: 4 << 20, Pool: frame.NewPool(64 << 20), Fatal: func(err error) { b.Error(err) }}
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
// and waits for each group of 8.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{200, 16 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			l := benchLog(b, false)
			s := l.Shard(1)
			payload := command(1, 1, size, 1)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			i := record.Index(0)
			entries := make([]Entry, 0, 8)
			for b.Loop() {
				i++
				f := l.config.Pool.Get(len(payload))
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
			stats := l.Stats()
			b.ReportMetric(float64(stats.Syncs)/float64(b.N), "syncs/op")
			b.ReportMetric(float64(stats.Writes)/float64(b.N), "writes/op")
		})
	}
}

// BenchmarkRead reads one of twelve runs of an entry of 512 KiB.
func BenchmarkRead(b *testing.B) {
	for _, from := range []string{"memory", "disk"} {
		b.Run(from, func(b *testing.B) {
			l := benchLog(b, true)
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
	l := benchLog(b, true)
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
