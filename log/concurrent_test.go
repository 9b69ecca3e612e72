package log

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// Raft's main loop appends and truncates while its replication, snapshot and metrics goroutines, the
// broker's readers and retention ask: as on a node, with a tail so small that most is read from disk.
func TestManyAtOnce(t *testing.T) {
	pool := frame.NewPool(1 << 20)
	config := testConfig(vfs.NewMem())
	config.Pool, config.TailBytes = pool, 64<<10
	l := open(t, config)
	var stop atomic.Bool
	var all sync.WaitGroup
	for _, number := range []record.Shard{0, 1, 2} {
		s := l.Shard(number)
		var appended atomic.Uint64
		all.Go(func() {
			defer stop.Store(true)
			term := record.Term(1)
			for i := record.Index(1); i <= 300; i++ {
				f := pool.Get(len(entry(i, term, 2000).Payload))
				e := entry(i, term, 2000)
				e.Payload = f.Bytes()[:copy(f.Bytes(), e.Payload)]
				e.Frame = f
				if err := s.Append([]Entry{e}); err != nil {
					t.Error(err)
				}
				f.Release()
				if i%3 == 0 {
					if err := s.WaitDurable(i); err != nil {
						t.Error(err)
					}
					appended.Store(uint64(i))
				}
				if again := record.Term(i/50 + 1); i%50 == 1 && again > term { // once for each of these indexes
					if err := s.Truncate(i); err != nil {
						t.Error(err)
					}
					term = again
					i--
				}
				if i%40 == 0 {
					s.SetApplied(i - 10)
					if err := s.Forget(i - 20); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for range 2 {
			all.Go(func() { readDurable(t, s, &appended, &stop) })
		}
	}
	all.Go(func() {
		for !stop.Load() {
			for _, info := range l.Segments() {
				if err := l.Remove(info.Number); err != nil && !errors.Is(err, ErrNeeded) && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
			l.Stats()
		}
	})
	all.Wait()
}

// readDurable asks for entries that are durable; they may be forgotten or removed meanwhile.
func readDurable(t *testing.T, s *Shard, appended *atomic.Uint64, stop *atomic.Bool) {
	for !stop.Load() {
		i := record.Index(appended.Load())
		info, err := s.Info(i)
		if err != nil {
			continue
		}
		_, f, err := s.Pin(i, info.Term)
		if err == nil {
			f.Release()
		} else if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		tail, f, err := s.PinTail(i, info.Term)
		if err == nil {
			if _, err := record.ParseTail(tail); err != nil {
				t.Error(err)
			}
			f.Release()
		} else if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		read := s.Read
		if i%3 != 0 {
			read = s.ReadOn
		}
		batch, f, err := read(i, info.Position, 0, 2061)
		if err == nil {
			if err := record.CheckBatch(batch); err != nil {
				t.Error(err)
			}
			f.Release()
		} else if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if err := s.Scan(i-min(i, 20), i, func(EntryInfo, []byte) error { return nil }); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}
