package log

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// modelShard is what a shard should hold: Raft's window, and what Scan should find.
type modelShard struct {
	first, last record.Index // 0 when empty
	entries     map[record.Index]Entry
	backfilled  map[record.Index]bool // final, whatever Raft does at their places meanwhile
	applied     record.Index
	told        bool
}

func (m *modelShard) clone() *modelShard {
	c := *m
	c.entries, c.backfilled = maps.Clone(m.entries), maps.Clone(m.backfilled)
	return &c
}

// drop takes back the entries in [from, last].
func (m *modelShard) drop(from, last record.Index) {
	for i := from; i <= last; i++ {
		if !m.backfilled[i] {
			delete(m.entries, i)
		}
	}
}

// model drives a log and remembers, after every record that it queued, what a log that
// ends there must hold.
type model struct {
	log    *Log
	random *rand.Rand
	term   record.Term
	large  bool // some entries are as large as a segment lets them be
	now    map[record.Shard]*modelShard
	states []map[record.Shard]*modelShard        // after 0, 1, 2 ... records
	upTo   map[record.Shard]map[record.Index]int // the state that an entry led to
	gone   map[goneEntry]bool                    // what was in segments that were removed
}

// goneEntry names an entry that may be missing since its segment was removed.
type goneEntry struct {
	shard record.Shard
	index record.Index
	term  record.Term
}

var modelShards = []record.Shard{0, 1}

func newModel(l *Log, seed uint64) *model {
	m := &model{log: l, random: rand.New(rand.NewPCG(seed, 7)), term: 1, now: map[record.Shard]*modelShard{}, upTo: newUpTo(), gone: map[goneEntry]bool{}}
	for _, s := range modelShards {
		m.now[s] = &modelShard{entries: map[record.Index]Entry{}, backfilled: map[record.Index]bool{}}
	}
	m.note()
	return m
}

func newUpTo() map[record.Shard]map[record.Index]int {
	upTo := map[record.Shard]map[record.Index]int{}
	for _, s := range modelShards {
		upTo[s] = map[record.Index]int{}
	}
	return upTo
}

// note remembers the present as what the next queued record leads to.
func (m *model) note() {
	state := map[record.Shard]*modelShard{}
	for number, s := range m.now {
		state[number] = s.clone()
	}
	m.states = append(m.states, state)
}

func (m *model) add(number record.Shard, e Entry) {
	s := m.now[number]
	s.entries[e.Index] = e
	if s.first == 0 {
		s.first = e.Index
	}
	s.last = e.Index
	m.note()
	m.upTo[number][e.Index] = len(m.states) - 1
}

// append appends a few entries, sometimes after a gap.
func (m *model) append(t testing.TB, number record.Shard) {
	s := m.now[number]
	next := s.last + 1
	if s.last == 0 {
		next = 1
		for i := range s.entries {
			next = max(next, i+1)
		}
	}
	if m.random.IntN(25) == 0 {
		m.forgetAll(number)
		next += record.Index(1 + m.random.IntN(5))
	}
	var entries []Entry
	for range 1 + m.random.IntN(4) {
		if m.random.IntN(10) == 0 {
			m.term++
		}
		e := entry(next, m.term, m.random.IntN(6000))
		if m.random.IntN(8) == 0 {
			e = Entry{Index: next, Term: m.term, Kind: 1, Payload: bytes.Repeat([]byte{byte(next)}, m.random.IntN(100))}
		}
		if m.large && m.random.IntN(6) == 0 {
			e = entry(next, m.term, 33_000+m.random.IntN(8000))
		}
		if again, ok := s.entries[next]; ok {
			e = again // was backfilled before a crash, and now Raft brings the same
		}
		entries = append(entries, e)
		next++
	}
	for _, e := range entries {
		m.add(number, e)
	}
	if err := m.log.Shard(number).Append(entries); err != nil {
		t.Fatal(err)
	}
}

// forgetAll does to the model what forgetting the whole window does.
func (m *model) forgetAll(number record.Shard) {
	s := m.now[number]
	if s.last == 0 {
		return
	}
	if s.told {
		s.drop(max(s.applied+1, s.first), s.last)
	}
	s.first, s.last = 0, 0
	m.note()
}

func (m *model) truncate(t testing.TB, number record.Shard) {
	s := m.now[number]
	if s.last == 0 || s.applied >= s.last {
		return
	}
	from := max(s.applied+1, s.first, s.last-min(s.last, record.Index(m.random.IntN(6))))
	s.drop(from, s.last)
	if s.last = from - 1; s.last < s.first {
		s.first, s.last = 0, 0
	}
	m.note()
	m.term++
	if err := m.log.Shard(number).Truncate(from); err != nil {
		t.Fatal(err)
	}
}

func (m *model) forget(t testing.TB, number record.Shard) {
	s := m.now[number]
	if s.last == 0 || s.applied < s.first {
		return
	}
	through := s.first + record.Index(m.random.Uint64N(uint64(s.applied-s.first+1)))
	if through >= s.last {
		m.forgetAll(number)
	} else {
		s.first = through + 1
		m.note()
	}
	if err := m.log.Shard(number).Forget(through); err != nil {
		t.Fatal(err)
	}
}

func (m *model) apply(number record.Shard) {
	s := m.now[number]
	if s.last > s.applied {
		s.applied += record.Index(m.random.Uint64N(uint64(s.last-s.applied) + 1))
		s.told = true
		m.log.Shard(number).SetApplied(s.applied)
	}
}

// install does what a follower does that was too far behind: it drops what it had not applied,
// backfills what a peer has, and begins a new window after that. It returns the durable state.
func (m *model) install(t testing.TB, number record.Shard) int {
	s, shard := m.now[number], m.log.Shard(number)
	if s.last > s.applied {
		from := max(s.applied+1, s.first)
		s.drop(from, s.last)
		if s.last = from - 1; s.last < s.first {
			s.first, s.last = 0, 0
		}
		m.note()
		if err := shard.Truncate(from); err != nil {
			t.Fatal(err)
		}
	}
	m.term++
	next := s.applied + 1
	for range 1 + m.random.IntN(4) {
		var batch []Entry
		for range 1 + m.random.IntN(3) {
			e := entry(next, m.term, m.random.IntN(3000))
			batch = append(batch, e)
			s.entries[e.Index], s.backfilled[e.Index] = e, true
			m.note()
			next++
		}
		if err := shard.Backfill(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := shard.WaitBackfill(); err != nil {
		t.Fatal(err)
	}
	s.applied, s.told = next-1, true
	shard.SetApplied(s.applied)
	if s.last != 0 {
		s.first, s.last = 0, 0
		m.note()
		if err := shard.Forget(1 << 40); err != nil {
			t.Fatal(err)
		}
	}
	return len(m.states) - 1
}

// remove removes an old segment, if the log lets it.
func (m *model) remove(t testing.TB) {
	segments := m.log.Segments()
	if len(segments) < 3 {
		return
	}
	number := segments[m.random.IntN(len(segments)-1)].Number
	var inside []goneEntry
	for _, shard := range modelShards {
		if err := m.log.Shard(shard).Scan(0, 1<<40, func(info EntryInfo, _ []byte) error {
			if n, _ := segment.Split(info.Position); n == number {
				inside = append(inside, goneEntry{shard: shard, index: info.Index, term: info.Term})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range inside {
		m.gone[e] = true
	}
	if err := m.log.Remove(number); errors.Is(err, ErrNeeded) {
		for _, e := range inside {
			delete(m.gone, e)
		}
	} else if err != nil {
		t.Fatal(err)
	}
}

// wait waits for a shard's newest entry and returns the state that is then durable.
func (m *model) wait(t testing.TB, number record.Shard) int {
	s := m.now[number]
	if s.last == 0 {
		return 0
	}
	if err := m.log.Shard(number).WaitDurable(s.last); err != nil {
		t.Fatal(err)
	}
	return m.upTo[number][s.last]
}

// step does something, and returns the state that is known to be durable after it.
func (m *model) step(t testing.TB) int {
	number := modelShards[m.random.IntN(len(modelShards))]
	switch m.random.IntN(25) {
	case 22:
		if m.random.IntN(4) == 0 {
			return m.install(t, number)
		}
	case 23, 24:
		m.log.writer.note() // as if the log had been idle
	case 20:
		m.remove(t)
	case 21:
		for s := range m.now {
			m.apply(s)
			m.forget(t, s)
		}
	case 0:
		m.truncate(t, number)
	case 1:
		m.forget(t, number)
	case 2, 3, 4:
		m.apply(number)
	case 5, 6, 7, 8:
		return m.wait(t, number)
	default:
		m.append(t, number)
	}
	return 0
}

// matches tells how a log differs from a state; empty when it does not.
func matches(l *Log, state map[record.Shard]*modelShard, gone map[goneEntry]bool) string {
	for _, number := range modelShards {
		want, s := state[number], l.Shard(number)
		if s.First() != want.first || s.Last() != want.last {
			return fmt.Sprintf("shard %d: window %d to %d, wanted %d to %d", number, s.First(), s.Last(), want.first, want.last)
		}
		var found []record.Index
		if err := s.Scan(0, 1<<40, func(info EntryInfo, _ []byte) error {
			found = append(found, info.Index)
			if term := want.entries[info.Index].Term; term != info.Term {
				return fmt.Errorf("entry %d has term %d, wanted %d", info.Index, info.Term, term)
			}
			return nil
		}); err != nil {
			return fmt.Sprintf("shard %d: %v", number, err)
		}
		if wanted := without(want, number, gone, found); !slices.Equal(found, wanted) {
			return fmt.Sprintf("shard %d: scan found %v, wanted %v", number, found, wanted)
		}
		for i := want.first; i <= want.last && i > 0; i++ {
			if info, err := s.Info(i); err != nil || info.Term != want.entries[i].Term {
				return fmt.Sprintf("shard %d: entry %d has term %d, wanted %d (%v)", number, i, info.Term, want.entries[i].Term, err)
			}
		}
	}
	return ""
}

// check compares everything that can be read of a log with a state.
func check(t testing.TB, l *Log, state map[record.Shard]*modelShard, gone map[goneEntry]bool) {
	t.Helper()
	for _, number := range modelShards {
		want, s := state[number], l.Shard(number)
		for i := want.first; i <= want.last && i > 0; i++ {
			wantPin(t, s, want.entries[i])
		}
		var found []record.Index
		if err := s.Scan(0, 1<<40, func(info EntryInfo, tail []byte) error {
			found = append(found, info.Index)
			e := want.entries[info.Index]
			payload, f, err := s.PinAt(info)
			if err != nil {
				return err
			}
			defer f.Release()
			if !bytes.Equal(payload, e.Payload) || !bytes.HasSuffix(payload, tail) || info.Term != e.Term || info.Kind != e.Kind {
				return fmt.Errorf("entry %d is not what was appended", info.Index)
			}
			return nil
		}); err != nil {
			t.Fatalf("shard %d: %v", number, err)
		}
		wanted := without(want, number, gone, found)
		if !slices.Equal(found, wanted) {
			t.Fatalf("shard %d: scan found %v, wanted %v", number, found, wanted)
		}
		if len(wanted) > 0 && s.RetainedFirst() > wanted[0] {
			t.Fatalf("shard %d: retained from %d, wanted %d", number, s.RetainedFirst(), wanted[0])
		}
	}
}

func cloneState(state map[record.Shard]*modelShard) map[record.Shard]*modelShard {
	c := map[record.Shard]*modelShard{}
	for number, s := range state {
		c[number] = s.clone()
	}
	return c
}

// without returns the indexes that a scan must find: all of the state, except those in
// removed segments that it did not find.
func without(want *modelShard, shard record.Shard, gone map[goneEntry]bool, found []record.Index) []record.Index {
	wanted := slices.Sorted(maps.Keys(want.entries))
	return slices.DeleteFunc(wanted, func(i record.Index) bool {
		return gone[goneEntry{shard: shard, index: i, term: want.entries[i].Term}] && !slices.Contains(found, i)
	})
}
