package log

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/log/record"
)

func TestWindowLikeASlice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var w window
		var want []record.Index // positions stand for the entries
		first := record.Index(0)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "action") {
			default:
				for range rapid.IntRange(1, 900).Draw(rt, "entries") {
					if len(want) == 0 {
						first = record.Index(rapid.IntRange(1, 5000).Draw(rt, "first"))
					}
					i := first + record.Index(len(want))
					w.push(i, slot{position: record.Position(i * 3)})
					want = append(want, i*3)
				}
			case 0:
				from := record.Index(rapid.IntRange(0, 8000).Draw(rt, "from"))
				w.truncate(from)
				switch {
				case from <= first:
					want = nil
				case from < first+record.Index(len(want)):
					want = want[:from-first]
				}
			case 1:
				through := record.Index(rapid.IntRange(0, 8000).Draw(rt, "through"))
				w.forget(through)
				if through >= first+record.Index(len(want)) {
					want = nil
				} else if through >= first {
					want = want[through-first+1:]
					first = through + 1
				}
			}
			if len(want) == 0 {
				if w.begin() != 0 || w.last() != 0 || w.at(first) != nil {
					rt.Fatalf("empty, but %d to %d", w.begin(), w.last())
				}
				continue
			}
			if w.begin() != first || w.last() != first+record.Index(len(want))-1 {
				rt.Fatalf("%d to %d, wanted %d and %d more", w.begin(), w.last(), first, len(want))
			}
			for n := range want {
				if at := w.at(first + record.Index(n)); at == nil || at.position != record.Position(want[n]) {
					rt.Fatalf("entry %d: %+v", first+record.Index(n), at)
				}
			}
			if w.at(first-1) != nil || w.at(w.last()+1) != nil {
				rt.Fatal("there is something beyond the window")
			}
			if len(w.chunks) > (len(want)+2*slotsPerChunk)/slotsPerChunk+1 {
				rt.Fatalf("%d chunks for %d entries", len(w.chunks), len(want))
			}
		}
	})
}

// The log against a model that keeps entries in a map, through clean restarts, with and without room for frames.
func TestLogLikeAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		config := testConfig(vfs.NewMem())
		config.TailBytes = rapid.SampledFrom([]int64{1, 20 << 10, 1 << 30}).Draw(rt, "tail")
		config.SegmentBytes = rapid.SampledFrom([]int64{64 << 10, 100 << 10, 1 << 20}).Draw(rt, "segment")
		m := newModel(nil, rapid.Uint64().Draw(rt, "seed"))
		for range rapid.IntRange(1, 4).Draw(rt, "starts") {
			l, err := Open(config)
			if err != nil {
				rt.Fatal(err)
			}
			m.log = l
			for number, s := range m.now {
				s.told = true
				l.Shard(number).SetApplied(s.applied)
			}
			if differs := matches(l, m.now, m.gone); differs != "" {
				rt.Fatal(differs)
			}
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				m.step(t)
			}
			for _, number := range modelShards {
				m.wait(t, number)
			}
			check(t, l, m.now, m.gone)
			if err := l.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}
