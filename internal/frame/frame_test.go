package frame_test

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/stela-db/stela/internal/frame"
)

// both are a pool of each kind.
func both(keep int64) map[string]*frame.Pool {
	return map[string]*frame.Pool{"heap": frame.NewPool(keep), "mapped": frame.NewMappedPool(keep)}
}

func TestGetAndRoom(t *testing.T) {
	for name, p := range both(1 << 20) {
		t.Run(name, func(t *testing.T) { getAndRoom(t, p) })
	}
}

func getAndRoom(t *testing.T, p *frame.Pool) {
	for _, n := range []int{0, 1, 3583, 3584, 3585, 65_024, 65_025, 1 << 20} {
		f := p.Get(n)
		if len(f.Bytes()) != n || f.Cap() < n || len(f.WithRoom(frame.Room)) != frame.Room+n {
			t.Errorf("%d bytes: %d usable, capacity %d", n, len(f.Bytes()), f.Cap())
		}
		copy(f.WithRoom(64), strings.Repeat("h", 64))
		for i := range f.Bytes() {
			f.Bytes()[i] = 'b'
		}
		if room := f.WithRoom(64); string(room[:64]) != strings.Repeat("h", 64) || strings.ContainsFunc(string(room[64:]), func(r rune) bool { return r != 'b' }) {
			t.Errorf("%d bytes: room and bytes lie over each other", n)
		}
		if p.Find(f.Tag()) != f {
			t.Errorf("%d bytes: the tag does not lead back", n)
		}
		f.Resize(f.Cap())
		if len(f.Bytes()) != f.Cap() {
			t.Errorf("resized to %d", len(f.Bytes()))
		}
		f.Release()
	}
}

// What is written to a disk as it lies, a header before the bytes included, begins at a multiple of Prefix in memory.
func TestAlignment(t *testing.T) {
	for name, p := range both(1 << 20) {
		t.Run(name, func(t *testing.T) { alignment(t, p) })
	}
}

func alignment(t *testing.T, p *frame.Pool) {
	aligned := func(b []byte) bool { return reflect.ValueOf(b).Pointer()%frame.Prefix == 0 }
	for _, n := range []int{1, 100, 4000, 5000, 9000, 33_000, 70_000, 500_000, 3 << 20} {
		for range 3 {
			f, after := p.Get(n), p.GetAfter(64, n)
			if !aligned(f.Bytes()) || !aligned(after.WithRoom(64)) {
				t.Errorf("%d bytes are not aligned", n)
			}
			if len(after.Bytes()) != n || after.Cap() < n || after.Memory() < n+frame.Prefix+64 || p.Find(after.Tag()) != after {
				t.Errorf("%d bytes after room: %d, capacity %d, memory %d", n, len(after.Bytes()), after.Cap(), after.Memory())
			}
			f.Release()
			after.Release() // and used again by the other kind
		}
	}
}

func TestFindKnowsItsOwn(t *testing.T) {
	p, other := frame.NewPool(0), frame.NewPool(0)
	f, g := p.Get(10), other.Get(10)
	copied := append([]byte(nil), f.Tag()...)
	for name, tag := range map[string][]byte{"nil": nil, "short": f.Tag()[:7], "long": append(copied, 0), "a copy": copied, "another pool's": g.Tag()} {
		if p.Find(tag) != nil {
			t.Errorf("%s tag was found", name)
		}
	}
	f.Release()
	g.Release()
}

// What one holder writes stays until its last reference goes, whoever else gets and releases frames.
func TestReferences(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.Int64Range(0, 1<<20).Draw(rt, "keep")
		p := both(keep)[rapid.SampledFrom([]string{"heap", "mapped"}).Draw(rt, "kind")]
		type holding struct {
			frame *frame.Frame
			refs  int
			mark  byte
		}
		var all []holding
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			i := 0
			if len(all) > 0 {
				i = rapid.IntRange(0, len(all)-1).Draw(rt, "which")
			}
			switch action := rapid.IntRange(0, 3).Draw(rt, "action"); {
			case action < 2 || len(all) == 0:
				f := p.Get(rapid.IntRange(1, 100_000).Draw(rt, "size"))
				mark := rapid.Byte().Draw(rt, "mark")
				f.Bytes()[0], f.Bytes()[len(f.Bytes())-1] = mark, mark
				all = append(all, holding{frame: f, refs: 1, mark: mark})
			case action == 2:
				all[i].frame.Retain()
				all[i].refs++
			default:
				all[i].frame.Release()
				if all[i].refs--; all[i].refs == 0 {
					all = append(all[:i], all[i+1:]...)
				}
			}
			for _, h := range all {
				if b := h.frame.Bytes(); b[0] != h.mark || b[len(b)-1] != h.mark {
					rt.Fatal("a frame that is held was handed out")
				}
				if p.Find(h.frame.Tag()) != h.frame {
					rt.Fatal("a frame that is held is not found")
				}
			}
		}
		for _, h := range all {
			for range h.refs {
				h.frame.Release()
			}
		}
		if held := p.Bytes(); held > keep {
			rt.Fatalf("%d bytes are kept, limit %d", held, keep)
		}
		if p.Trim(); p.Bytes() != 0 {
			rt.Fatalf("%d bytes are kept after Trim", p.Bytes())
		}
	})
}

func TestMisuseIsABug(t *testing.T) {
	p := frame.NewPool(0)
	mustPanic := func(what string, f func()) {
		t.Helper()
		defer func() {
			if r, _ := recover().(string); !strings.HasPrefix(r, "BUG: ") {
				t.Errorf("%s: %q", what, r)
			}
		}()
		f()
	}
	mustPanic("negative size", func() { p.Get(-1) })
	mustPanic("too large", func() { p.Get(frame.MaxBytes + 1) })
	f := p.Get(1)
	mustPanic("too much room", func() { f.WithRoom(frame.Room + 1) })
	mustPanic("resize", func() { f.Resize(f.Cap() + 1) })
	f.Release()
	mustPanic("released twice", func() { f.Release() })
	g := p.Get(1)
	g.Release()
	mustPanic("retained after release", func() { g.Retain() })
}

func TestPoolFromManyGoroutines(t *testing.T) {
	p := frame.NewPool(1 << 20)
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			for range 500 {
				f := p.Get(1 + random.IntN(200_000))
				f.Bytes()[0] = byte(seed)
				f.Retain()
				done := make(chan struct{})
				go func() {
					defer close(done)
					if f.Bytes()[0] != byte(seed) || p.Find(f.Tag()) != f {
						t.Error("the frame is another's")
					}
					f.Release()
				}()
				<-done
				f.Release()
			}
		})
	}
	all.Wait()
}
