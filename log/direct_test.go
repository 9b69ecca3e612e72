package log

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

var errMisaligned = errors.New("misaligned write past the page cache")

// strictDisk takes vectors, past the page cache only what is aligned to sectors; it can refuse to
// do so when a file is opened or when it is written.
type strictDisk struct {
	FS
	refuseOpen, refuseWrite, refuseRead atomic.Bool
	direct, buffers, reads              atomic.Int64 // writes past the page cache, and their buffers, and reads
}

func (d *strictDisk) Vector(file vfs.File) VectorFile {
	return &strictFile{plainFile: plainFile{file}, disk: d}
}

type strictFile struct {
	plainFile
	disk   *strictDisk
	direct bool
}

func (f *strictFile) SetDirect(on bool) (int, error) {
	if on && f.disk.refuseOpen.Load() {
		return 1, fmt.Errorf("strict disk: %w", errors.ErrUnsupported)
	}
	f.direct = on
	return segment.Align, nil
}

func (f *strictFile) WriteVector(buffers [][]byte, offset int64) error {
	if f.direct {
		if f.disk.refuseWrite.Load() {
			return fmt.Errorf("strict disk: %w", syscall.EINVAL)
		}
		at := offset
		for i, b := range buffers {
			if at%segment.Align != 0 || len(b)%segment.Align != 0 || len(b) == 0 || address(b)%segment.Align != 0 {
				return fmt.Errorf("buffer %d of %d bytes at %x for offset %d: %w", i, len(b), address(b), at, errMisaligned)
			}
			at += int64(len(b))
		}
		f.disk.direct.Add(1)
		f.disk.buffers.Add(int64(len(buffers)))
	}
	return f.plainFile.WriteVector(buffers, offset)
}

func (f *strictFile) ReadAt(b []byte, offset int64) (int, error) {
	if f.direct {
		if f.disk.refuseRead.Load() {
			return 0, fmt.Errorf("strict disk: %w", syscall.EINVAL)
		}
		if offset%segment.Align != 0 || len(b)%segment.Align != 0 || address(b)%segment.Align != 0 {
			return 0, fmt.Errorf("%d bytes to %x from %d: %w", len(b), address(b), offset, errMisaligned)
		}
		f.disk.reads.Add(1)
	}
	return f.plainFile.ReadAt(b, offset)
}

// directConfig is testConfig of a log that writes past the page cache of a strict disk.
func directConfig(fs FS) (Config, *strictDisk) {
	disk := &strictDisk{FS: fs}
	config := testConfig(disk)
	config.Direct = true
	return config, disk
}

// What is gathered is the records and zeros between them, in order, as the file wants it aligned, and large records
// that lie well are not copied.
func TestGather(t *testing.T) {
	pool := frame.NewPool(1 << 20)
	memory := pool.Get(4 << 20)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range memory.Bytes() {
		memory.Bytes()[i] = byte(1 + random.IntN(255))
	}
	g := newGatherer(scratchBytes)
	rapid.Check(t, func(rt *rapid.T) {
		alignment := rapid.SampledFrom([]int{1, 4, segment.Align}).Draw(rt, "alignment")
		var wanted, written []byte
		flush := func() {
			at := g.offset
			for i, b := range g.buffers {
				if at%int64(alignment) != 0 || len(b)%alignment != 0 || address(b)%uintptr(alignment) != 0 || len(b) == 0 {
					rt.Fatalf("buffer %d of %d bytes for offset %d, alignment %d", i, len(b), at, alignment)
				}
				at += int64(len(b))
				written = append(written, b...)
			}
			if at != g.offset+g.bytes || len(g.buffers) > maxBuffers {
				rt.Fatalf("%d bytes in %d buffers, said to be %d", at-g.offset, len(g.buffers), g.bytes)
			}
			g.reset(at)
		}
		g.reset(segment.Align * rapid.Int64Range(0, 100).Draw(rt, "offset"))
		for range rapid.IntRange(1, 20).Draw(rt, "records") {
			n := rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(smallRecord, 600<<10)).Draw(rt, "bytes")
			from := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 5000)).Draw(rt, "from")
			data, size := memory.Bytes()[from:from+n], segment.Padded(int64(n))
			wanted = append(append(wanted, data...), make([]byte, size-int64(n))...)
			used := g.used
			for data, size = g.add(data, size, alignment); size > 0; data, size = g.add(data, size, alignment) {
				flush()
				used = 0
			}
			if from == 0 && n > smallRecord && g.used-used > segment.Align {
				rt.Fatalf("%d of %d bytes were copied", g.used-used, n)
			}
		}
		flush()
		if !bytes.Equal(written, wanted) {
			rt.Fatal("what was gathered is not what was given")
		}
	})
}

// All that is queued is one write, however many records it is, and one sync.
func TestOneWriteForAllThatIsQueued(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprint("direct=", direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config, _ := directConfig(vfs.NewMem())
				config.Direct, config.SegmentBytes = direct, 4<<20
				l, hold, release := held(t, config)
				s := l.Shard(1)
				appendAll(t, s, entry(1, 1, 10))
				hold()
				appendAll := func(entries ...Entry) {
					if err := s.Append(entries); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				appendAll(entry(2, 1, 10)) // its sync is waited for
				for i := record.Index(3); i < 12; i++ {
					appendAll(entry(i, 1, 50_000*int(i%3)+100))
				}
				before := l.Stats()
				release()
				release()
				after := l.Stats()
				if after.Writes != before.Writes+1 || after.Records != before.Records+9 || s.Durable() != 11 {
					t.Errorf("%d writes of %d records, durable %d", after.Writes-before.Writes, after.Records-before.Records, s.Durable())
				}
			})
		})
	}
}

// warnings counts what a logger was told.
type warnings struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (w *warnings) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, string(b))
	return len(b), nil
}

func (w *warnings) about(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, line := range w.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// A file system that will not have writes past the page cache gets them through it, which is told once.
func TestRefusedDirectWrites(t *testing.T) {
	for name, refuse := range map[string]func(*strictDisk){
		"when a file is opened":  func(d *strictDisk) { d.refuseOpen.Store(true) },
		"when a file is written": func(d *strictDisk) { d.refuseWrite.Store(true) },
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late=%v", name, late), func(t *testing.T) {
				config, disk := directConfig(vfs.NewMem())
				told := &warnings{}
				config.Logger = slog.New(slog.NewTextHandler(told, nil))
				if !late {
					refuse(disk)
				}
				l := open(t, config)
				s := l.Shard(1)
				var entries []Entry
				for i := range record.Index(80) {
					if i == 40 {
						refuse(disk)
					}
					entries = append(entries, entry(i+1, 1, int(i)*500))
					appendAll(t, s, entries[i])
				}
				if l.Stats().Direct || told.about("refuses") != 1 {
					t.Errorf("direct %v, told %d times", l.Stats().Direct, told.about("refuses"))
				}
				if direct := disk.direct.Load() > 0; direct != late {
					t.Errorf("writes past the page cache: %d", disk.direct.Load())
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = open(t, config)
				for _, e := range entries {
					wantPin(t, l.Shard(1), e)
				}
			})
		}
	}
}

// Small groups have the next segment zeroed for them, a step at a time; the page cache needs none of this.
func TestZeroing(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprint("direct=", direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config, _ := directConfig(vfs.NewMem())
				config.Direct, config.SegmentBytes = direct, 3<<20
				l := open(t, config)
				for i := range record.Index(100) {
					appendAll(t, l.Shard(1), entry(i+1, 1, 10))
					synctest.Wait()
					wanted := int64(0)
					if direct {
						wanted = min(3<<20, (int64(i)+1)*zeroEarned/zeroStep*zeroStep)
					}
					if zeroed := l.Stats().BytesZeroed; zeroed != wanted {
						t.Fatalf("after %d syncs %d bytes were zeroed, wanted %d", i+1, zeroed, wanted)
					}
				}
			})
		})
	}
}

// The real disk, which may refuse, with frames as the sequencer and the transport make them.
func TestDirectOnRealDisk(t *testing.T) {
	pool := frame.NewPool(1 << 20)
	config := testConfig(OSFS())
	config.Dir, config.Pool, config.SegmentBytes, config.Direct = t.TempDir(), pool, 2<<20, true
	l := open(t, config)
	var all []Entry
	random := rand.New(rand.NewPCG(1, 1))
	for i := record.Index(1); i < 200; {
		var group []Entry
		for range 1 + random.IntN(5) {
			e := entry(i, 1, random.IntN(1<<(7+random.IntN(12))))
			all = append(all, e)
			var f *frame.Frame
			if room := roomOf(random); room == 0 {
				f = pool.GetAfter(HeaderBytes, len(e.Payload))
				e.Payload = f.Bytes()[:copy(f.Bytes(), e.Payload)]
			} else { // one of several in a message
				f = pool.Get(room + len(e.Payload))
				e.Payload = f.Bytes()[room:][:copy(f.Bytes()[room:], e.Payload)]
			}
			e.Frame = f
			group = append(group, e)
			i++
		}
		appendAll(t, l.Shard(1), group...)
		for _, e := range group {
			e.Frame.Release()
		}
	}
	t.Logf("%+v", l.Stats())
	for range 2 {
		for _, e := range all {
			wantPin(t, l.Shard(1), e)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		config.Direct = !config.Direct
		l = open(t, config)
	}
}

// roomOf returns where in a frame an entry's payload begins: 0 for a frame of its own.
func roomOf(random *rand.Rand) int { return []int{0, 64, 700}[random.IntN(3)] }

// Why removed segments are not used again as they are: a batch of another partition that lay at the same place passes every
// check of a record whose own batch did not reach the disk. Where zeros are instead, nothing passes.
func TestWhatLayThereBeforeWouldPass(t *testing.T) {
	mine, other := command(7, 1, 3000, 1), command(7, 1, 3000, 2) // the same offset of two partitions
	torn := bytes.Clone(mine)
	copy(torn, other[:len(other)-record.TailBytes(1, 0)])
	if err := record.CheckEntry(torn); err != nil {
		t.Fatalf("recovery would notice, so segments could be used again without zeroing them: %v", err)
	}
	clear(torn[:512])
	if err := record.CheckEntry(torn); err == nil {
		t.Fatal("zeros pass for a batch")
	}
}
