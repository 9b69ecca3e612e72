package log

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// A run is what a consumer asks for: the only batch of an entry.
type run struct {
	shard *Shard
	info  EntryInfo
	batch []byte
}

// wanted appends an entry whose batch has n bytes of records, and returns what its readers are to get.
func wanted(t testing.TB, s *Shard, n int) run {
	t.Helper()
	e := entry(s.Last()+1, 1, n)
	if err := s.Append([]Entry{e}); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(e.Index)
	if err != nil {
		t.Fatal(err)
	}
	return run{shard: s, info: info, batch: e.Payload[:record.BatchHeaderBytes+n]}
}

// behind appends count entries of n bytes to a shard, and returns when all are on disk and none is in memory.
func behind(t testing.TB, l *Log, count, n int) []run {
	t.Helper()
	var runs []run
	for range count {
		runs = append(runs, wanted(t, l.Shard(1), n))
	}
	settle(t, l)
	return runs
}

func settle(t testing.TB, l *Log) {
	t.Helper()
	if err := l.writer.waitForAll(); err != nil {
		t.Fatal(err)
	}
	l.tail.shrinkTo(record.Position(l.writer.durable.Load()))
	if begin := l.tail.begin(); begin < record.Position(l.writer.durable.Load()) {
		t.Fatalf("memory begins at %d", begin)
	}
}

func (r *run) read() ([]byte, *frame.Frame, error) {
	return r.shard.ReadOn(r.info.Index, r.info.Position, 0, uint32(len(r.batch)))
}

// want reads a run and checks it.
func (r *run) want(t testing.TB) {
	t.Helper()
	b, f, err := r.read()
	if err != nil {
		t.Errorf("entry %d: %v", r.info.Index, err)
		return
	}
	defer f.Release()
	if !bytes.Equal(b, r.batch) {
		t.Errorf("entry %d: other bytes", r.info.Index)
	}
}

// checkBounds checks what must be true of the extents at any time.
func checkBounds(t testing.TB, l *Log) {
	t.Helper()
	a := l.ahead
	durable := record.Position(l.writer.durable.Load())
	a.mu.Lock()
	defer a.mu.Unlock()
	sum := int64(0)
	for i, e := range a.extents {
		sum += e.memory
		if e.frame != nil && int64(e.frame.Memory()) != e.memory {
			t.Errorf("an extent takes %d bytes and counts for %d", e.frame.Memory(), e.memory)
		}
		if e.end > durable {
			t.Errorf("an extent ends at %d, durable is %d", e.end, durable)
		}
		for _, other := range a.extents[:i] {
			if e.start < other.end && other.start < e.end {
				t.Errorf("extents %d to %d and %d to %d overlap", e.start, e.end, other.start, other.end)
			}
		}
	}
	if sum != a.bytes || a.bytes > a.limit {
		t.Errorf("%d bytes, counted as %d, limit %d", sum, a.bytes, a.limit)
	}
}

// Whoever reads on through entries of all sizes, shards and segments gets what Read gives, and the disk is read about once: again
// only what an extent has of the next one that is begun before its own bytes are checked.
func TestReadOnIsRead(t *testing.T) {
	for _, segmentBytes := range []int64{64 << 10, 16 << 20} {
		t.Run(fmt.Sprint(segmentBytes), func(t *testing.T) {
			config := testConfig(vfs.NewMem())
			config.SegmentBytes = segmentBytes
			l := open(t, config)
			random := rand.New(rand.NewPCG(1, uint64(segmentBytes)))
			var runs []run
			for i := range 300 {
				n := random.IntN(1 << (4 + random.IntN(10)))
				if i%40 == 20 && segmentBytes > 4<<20 {
					n = random.IntN(3 << 20)
				}
				runs = append(runs, wanted(t, l.Shard(record.Shard(random.IntN(3))), n))
				if i%50 == 0 {
					if err := runs[i].shard.Forget(runs[i].info.Index - 1); err != nil { // markers, too
						t.Fatal(err)
					}
				}
			}
			settle(t, l)
			size := int64(0)
			for _, info := range l.Segments() {
				size += info.Bytes
			}
			before := l.Stats()
			for i := range runs {
				runs[i].want(t)
			}
			after := l.Stats()
			if after.DiskReads != before.DiskReads || after.Extents.Hits != int64(len(runs)) || after.Extents.Bytes > size*5/4 {
				t.Errorf("%d single reads, %+v of %d bytes in %d segments", after.DiskReads-before.DiskReads, after.Extents, size, after.Segments)
			}
			for i := range runs {
				r := &runs[i]
				b, f, err := r.shard.Read(r.info.Index, r.info.Position, 0, uint32(len(r.batch)))
				if err != nil || !bytes.Equal(b, r.batch) {
					t.Fatal(err)
				}
				f.Release()
			}
			checkBounds(t, l)
		})
	}
}

// What is not there is the same error as from Read, whether the place is in an extent or not.
func TestReadOnOfWhatIsNotThere(t *testing.T) {
	l := open(t, testConfig(vfs.NewMem()))
	runs := behind(t, l, 30, 5000)
	for range 2 {
		r := &runs[7]
		for what, ask := range map[string]func(read func(record.Index, record.Position, uint32, uint32) ([]byte, *frame.Frame, error)) error{
			"another entry": func(read func(record.Index, record.Position, uint32, uint32) ([]byte, *frame.Frame, error)) error {
				_, _, err := read(r.info.Index+1, r.info.Position, 0, uint32(len(r.batch)))
				return err
			},
			"beyond the batches": func(read func(record.Index, record.Position, uint32, uint32) ([]byte, *frame.Frame, error)) error {
				_, _, err := read(r.info.Index, r.info.Position, 1, uint32(len(r.batch)))
				return err
			},
			"between records": func(read func(record.Index, record.Position, uint32, uint32) ([]byte, *frame.Frame, error)) error {
				_, _, err := read(r.info.Index, r.info.Position+512, 0, uint32(len(r.batch)))
				return err
			},
			"another segment": func(read func(record.Index, record.Position, uint32, uint32) ([]byte, *frame.Frame, error)) error {
				_, _, err := read(r.info.Index, segment.At(99, 4096), 0, uint32(len(r.batch)))
				return err
			},
		} {
			alone, on := ask(r.shard.Read), ask(r.shard.ReadOn)
			if alone == nil || on == nil || alone.Error() != on.Error() {
				t.Errorf("%s: Read says %v, ReadOn %v", what, alone, on)
			}
		}
		r.want(t)
	}
	if _, f, err := l.Shard(2).ReadOn(1, runs[0].info.Position, 0, 10); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("another shard's entry: %v", err)
		f.Release()
	}
}

// A damaged record is told by who asks for it, with its place; the others are read as if it were well.
func TestReadOnFindsDamage(t *testing.T) {
	for name, at := range map[string]int64{"header": 40, "payload": 1000} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(vfs.NewMem())
			config.SegmentBytes = 4 << 20
			l := open(t, config)
			runs := behind(t, l, 100, 3000)
			bad := &runs[50]
			number, offset := segment.Split(bad.info.Position)
			f, err := config.FS.OpenReadWrite(segmentPath(number), vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{0xff, 0xfe}, offset+at); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for i := range runs {
					if r := &runs[i]; r != bad {
						r.want(t)
						continue
					}
					_, _, err := bad.read()
					corrupt, ok := errors.AsType[*CorruptError](err)
					if !ok || corrupt.File != segmentPath(number) || corrupt.Offset != offset {
						t.Errorf("the damaged one: %v", err)
					}
				}
			}
			if stats := l.Stats(); stats.Extents.Hits != 198 || stats.DiskReads != 2 {
				t.Errorf("%d reads of single entries, %+v", stats.DiskReads, stats.Extents)
			}
		})
	}
}

// slowReads returns a disk in memory whose reads of segments go through on.
func slowReads(on func(op errorfs.Op)) (FS, *atomic.Int64) {
	var reads atomic.Int64
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".segment") {
			reads.Add(1)
			on(op)
		}
		return nil
	})), &reads
}

// All who want something of an extent wait for one read of it.
func TestReadersShareALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, reads := slowReads(func(errorfs.Op) { time.Sleep(100 * time.Millisecond) })
		config := testConfig(fs)
		config.SegmentBytes, config.ReadBytes = 4<<20, 1<<20 // no room to read ahead
		l := open(t, config)
		runs := behind(t, l, 100, 3000)
		before, began := reads.Load(), time.Now()
		done := make(chan struct{})
		for i := range runs {
			go func() {
				runs[i].want(t)
				done <- struct{}{}
			}()
			if i == 0 {
				synctest.Wait() // the first one reads
			}
		}
		for range runs {
			<-done
		}
		if n, took := reads.Load()-before, time.Since(began); n != 1 || took != 100*time.Millisecond {
			t.Errorf("%d reads in %s", n, took)
		}
	})
}

// The extents that follow are there before they are asked for, four of them, also in the segments that follow.
func TestReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, testConfig(vfs.NewMem()))
		runs := behind(t, l, 300, 3000)
		if n := l.Stats().Segments; n < 15 {
			t.Fatalf("%d segments", n)
		}
		for i := range runs {
			runs[i].want(t)
			synctest.Wait()
			number, _ := segment.Split(runs[i].info.Position)
			if loaded := l.Stats().Extents.Loaded; loaded != min(number+extentsAhead, int64(l.Stats().Segments)) {
				t.Fatalf("%d extents after a read in segment %d", loaded, number)
			}
		}
		checkBounds(t, l)
	})
}

// Readers everywhere never take more memory than there may be, and keep what they were given.
func TestExtentsAreBounded(t *testing.T) {
	config := testConfig(vfs.NewMem())
	config.SegmentBytes, config.ReadBytes = 1<<20, 2<<20
	l := open(t, config)
	runs := behind(t, l, 3000, 3000)
	held, f, err := runs[0].read()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	done := make(chan struct{})
	for reader := range 8 {
		go func() {
			random := rand.New(rand.NewPCG(1, uint64(reader)))
			for range 50 {
				at := random.IntN(len(runs) - 50)
				for i := range random.IntN(50) {
					runs[at+i].want(t)
				}
				checkBounds(t, l)
			}
			done <- struct{}{}
		}()
	}
	for range 8 {
		<-done
	}
	if !bytes.Equal(held, runs[0].batch) {
		t.Error("what a reader holds has changed")
	}
	t.Logf("%+v", l.Stats().Extents)
}

// The extent that was used last stays longest, and who is about to be read counts as used.
func TestOldestExtentGoes(t *testing.T) {
	config := testConfig(vfs.NewMem())
	config.SegmentBytes, config.ReadBytes = 16<<20, 3<<20
	l := open(t, config)
	runs := behind(t, l, 12, 1_000_000) // one an extent
	a := l.ahead
	load := func(i int) {
		pos := runs[i].info.Position
		e, left := a.begin(pos, pos+record.Position(segment.Padded(segment.HeaderBytes+int64(runs[i].info.Bytes))), 0)
		a.load(e, left)
	}
	here := func(wanted ...int) {
		t.Helper()
		checkBounds(t, l)
		for i := range runs {
			a.mu.Lock()
			if found := a.find(runs[i].info.Position) != nil; found != slices.Contains(wanted, i) {
				t.Errorf("extent %d is here: %v, wanted %d", i, found, wanted)
			}
			a.mu.Unlock()
		}
	}
	for _, i := range []int{0, 2, 4} {
		load(i)
	}
	here(0, 2, 4)
	if _, known := a.follow(runs[0].info.Position, 1); !known {
		t.Error("extent 0 is not known")
	}
	load(6)
	here(0, 4, 6)
	a.mu.Lock()
	a.touch(a.find(runs[4].info.Position))
	a.mu.Unlock()
	load(8)
	here(4, 6, 8)
	load(10)
	here(4, 8, 10)
}

// When extents go before anything of them was wanted, runs are read one by one, until extents are worth it again.
func TestThrashing(t *testing.T) {
	config := testConfig(vfs.NewMem())
	config.SegmentBytes, config.ReadBytes = 1<<20, 2<<20
	l := open(t, config)
	runs := behind(t, l, 3000, 3000)
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		runs[random.IntN(len(runs))].want(t)
	}
	before := l.Stats()
	for range 160 {
		runs[random.IntN(len(runs))].want(t)
	}
	after := l.Stats()
	if loaded, alone := after.Extents.Loaded-before.Extents.Loaded, after.DiskReads-before.DiskReads; loaded > 12 || alone < 100 {
		t.Errorf("%d extents for 160 readers of one run each, %d runs alone", loaded, alone)
	}
	for range 10 {
		for i := range runs {
			runs[i].want(t)
		}
	}
	before = l.Stats()
	for i := range runs {
		runs[i].want(t)
	}
	if after := l.Stats(); after.DiskReads != before.DiskReads {
		t.Errorf("%d of %d runs were read alone by who reads all", after.DiskReads-before.DiskReads, len(runs))
	}
}

// What is queued and not yet synced is never in an extent, however small the memory.
func TestExtentsAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig(vfs.NewMem())
		config.SegmentBytes = 4 << 20
		l, hold, release := held(t, config)
		runs := behind(t, l, 10, 3000)
		hold()
		for range 10 {
			runs = append(runs, wanted(t, l.Shard(1), 3000))
			synctest.Wait()
		}
		for i := range runs {
			runs[i].want(t)
			checkBounds(t, l)
		}
		if stats := l.Stats(); stats.Extents.Hits != 10 || stats.DiskReads != 0 {
			t.Errorf("%d reads of single entries, %+v", stats.DiskReads, stats.Extents)
		}
		release()
		release()
		settle(t, l)
		for i := range runs {
			runs[i].want(t)
			checkBounds(t, l)
		}
	})
}

// The memory is given back when nobody is behind any more.
func TestIdleExtentsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, testConfig(vfs.NewMem()))
		runs := behind(t, l, 400, 3000)
		for range 10 {
			runs[0].want(t)
			time.Sleep(aheadIdle / 2)
		}
		if stats := l.Stats().Extents; stats.Loaded != 1+extentsAhead || stats.Memory == 0 {
			t.Errorf("while somebody reads: %+v", stats)
		}
		time.Sleep(aheadIdle)
		if stats := l.Stats().Extents; stats.Memory != 0 {
			t.Errorf("when nobody does: %+v", stats)
		}
		runs[0].want(t)
		time.Sleep(2 * aheadIdle)
		if stats := l.Stats().Extents; stats.Memory != 0 || stats.Loaded != 2*(1+extentsAhead) {
			t.Errorf("the second time: %+v", stats)
		}
	})
}

// Close waits for what is being read, unless the disk hangs.
func TestCloseDuringALoad(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprint("hangs=", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var slow atomic.Bool
				stop := make(chan struct{})
				fs, _ := slowReads(func(errorfs.Op) {
					if slow.Load() {
						<-stop
					}
				})
				l := open(t, testConfig(fs))
				runs := behind(t, l, 100, 3000)
				slow.Store(true)
				read, closed := make(chan error), make(chan error, 1)
				go func() {
					_, f, err := runs[0].read()
					if err == nil {
						f.Release()
					}
					read <- err
				}()
				synctest.Wait()
				began := time.Now()
				go func() { closed <- l.Close() }()
				synctest.Wait()
				if len(closed) != 0 {
					t.Error("the log was closed while its file was read")
				}
				if !hangs {
					close(stop)
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
				if took := time.Since(began); hangs != (took == defaultHangTimeout) {
					t.Errorf("closing took %s", took)
				}
				if hangs {
					close(stop)
				}
				if err := <-read; !errors.Is(err, ErrClosed) {
					t.Errorf("a reader of a closed log: %v", err)
				}
				synctest.Wait()
				if memory := l.Stats().Extents.Memory; memory != 0 {
					t.Errorf("%d bytes are left", memory)
				}
			})
		})
	}
}

// A removed segment's entries are not found, also if they were read before.
func TestRemovedExtents(t *testing.T) {
	l := open(t, testConfig(vfs.NewMem()))
	runs := behind(t, l, 100, 3000)
	runs[0].want(t)
	if err := l.Shard(1).Forget(99); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runs[0].read(); !errors.Is(err, ErrNotFound) {
		t.Errorf("an entry of a removed segment: %v", err)
	}
	runs[99].want(t)
}

// Who wants no memory used for this gets none used.
func TestNoExtents(t *testing.T) {
	config := testConfig(vfs.NewMem())
	config.ReadBytes = -1
	l := open(t, config)
	runs := behind(t, l, 50, 3000)
	for i := range runs {
		runs[i].want(t)
	}
	if stats := l.Stats(); stats.Extents != (ExtentStats{}) || stats.DiskReads != 50 {
		t.Errorf("%+v", stats)
	}
	config.Dir, config.ReadBytes = "other", 1<<20-1
	if _, err := Open(config); err == nil {
		t.Error("less than an extent was accepted")
	}
}

// A log that is written past the page cache is read past it, and through it where the file system refuses.
func TestExtentsPastThePageCache(t *testing.T) {
	for name, refuse := range map[string]func(*strictDisk){
		"allowed":                    func(*strictDisk) {},
		"refused for a file":         func(d *strictDisk) { d.refuseOpen.Store(true) },
		"refused when it is read":    func(d *strictDisk) { d.refuseRead.Store(true) },
		"refused when it is written": func(d *strictDisk) { d.refuseWrite.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			config, disk := directConfig(vfs.NewMem())
			config.SegmentBytes = 8 << 20
			refuse(disk)
			l := open(t, config)
			var runs []run
			for _, n := range []int{100, 700_000, 700_000, 3_000_000, 10, 2_000_000} {
				runs = append(runs, wanted(t, l.Shard(1), n))
			}
			settle(t, l)
			for i := range runs {
				runs[i].want(t)
			}
			if direct := disk.reads.Load() > 0; direct != (name == "allowed") || l.Stats().Extents.Hits != int64(len(runs)) {
				t.Errorf("%d reads past the page cache, %+v", disk.reads.Load(), l.Stats().Extents)
			}
		})
	}
}

// The same on the disk of this machine.
func TestExtentsOnRealDisk(t *testing.T) {
	config := testConfig(OSFS())
	config.Dir, config.SegmentBytes, config.Direct = t.TempDir(), 2<<20, true
	l := open(t, config)
	var runs []run
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		runs = append(runs, wanted(t, l.Shard(1), random.IntN(1<<(7+random.IntN(12)))))
	}
	settle(t, l)
	for i := range runs {
		runs[i].want(t)
	}
	if stats := l.Stats(); stats.DiskReads != 0 || stats.Extents.Hits != int64(len(runs)) {
		t.Errorf("%d reads of single entries, %+v", stats.DiskReads, stats.Extents)
	}
	if !l.direct.Load() || l.ahead.refused.Load() {
		text := "\n*** NOT TESTED: READING PAST THE PAGE CACHE; this file system has no O_DIRECT: set TMPDIR to one that has ***\n"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		fmt.Fprint(os.Stderr, text)
		t.Skip(text)
	}
}
