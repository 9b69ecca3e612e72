package state_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/state"
)

type row struct {
	N int `json:"n"`
}

var table = state.NewTable[row]("t")

func open(t testing.TB, fs state.FS) *state.Database {
	t.Helper()
	database, err := state.Open(state.Config{FS: fs, Dir: "svc"})
	if err != nil {
		t.Fatal(err)
	}
	return database
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, database *state.Database, rows map[string]int) {
	t.Helper()
	tx := database.Begin()
	for key, n := range rows {
		table.Put(tx, row{n}, key)
	}
	check(t, tx.Commit())
}

func scan(tx *state.Tx, prefix ...string) []string {
	var list []string
	for key, r := range table.Scan(tx, prefix...) {
		list = append(list, fmt.Sprintf("%q=%d", key, r.N))
	}
	return list
}

// A transaction behaves as a map with its own changes on top, sorted by the parts of the
// keys, whatever bytes these hold.
func TestTransactionIsAMap(t *testing.T) {
	database := open(t, vfs.NewMem())
	defer func() { check(t, database.Close()) }()
	key := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "ab", "\x00", "\x00\xff", "\x00\x01", "a\x00", "\xff"}), 1, 2)
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringMatching(`[a-z]{8}`).Draw(rt, "table")
		own := state.NewTable[row](name)
		want := map[string]int{} // by quoted key
		for round := range 3 {
			tx := database.Begin()
			for n := range rapid.IntRange(0, 12).Draw(rt, "writes") {
				k := key.Draw(rt, "key")
				if rapid.Bool().Draw(rt, "delete") {
					own.Delete(tx, k...)
					delete(want, fmt.Sprintf("%q", k))
				} else {
					own.Put(tx, row{100*round + n}, k...)
					want[fmt.Sprintf("%q", k)] = 100*round + n
				}
				if got, found := own.Get(tx, k...); found != (want[fmt.Sprintf("%q", k)] != 0 || mapHas(want, k)) || got.N != want[fmt.Sprintf("%q", k)] {
					rt.Fatalf("get %q: %v %v", k, got, found)
				}
			}
			compare(rt, own, tx, want)
			check(t, tx.Commit())
		}
		tx := database.Begin()
		defer tx.Discard()
		compare(rt, own, tx, want)
	})
}

func mapHas(m map[string]int, k []string) bool {
	_, ok := m[fmt.Sprintf("%q", k)]
	return ok
}

func compare(t *rapid.T, own state.Table[row], tx *state.Tx, want map[string]int) {
	got := map[string]int{}
	var order [][]string
	for k, r := range own.Scan(tx) {
		got[fmt.Sprintf("%q", k)] = r.N
		order = append(order, k)
	}
	if tx.Err() != nil || !maps.Equal(got, want) {
		t.Fatalf("scan gave %v, wanted %v, error %v", got, want, tx.Err())
	}
	if !slices.IsSortedFunc(order, slices.Compare) {
		t.Fatalf("scan is not in order: %q", order)
	}
	for i, k := range order {
		var rest [][]string
		for later := range own.ScanAfter(tx, nil, k) {
			rest = append(rest, later)
		}
		// Longer keys that begin with k belong to it.
		want := slices.DeleteFunc(slices.Clone(order[i+1:]), func(l []string) bool { return len(l) > len(k) && slices.Equal(l[:len(k)], k) })
		if !slices.EqualFunc(rest, want, slices.Equal) {
			t.Fatalf("after %q came %q, wanted %q", k, rest, want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	database := open(t, vfs.NewMem())
	defer func() { check(t, database.Close()) }()
	put(t, database, map[string]int{"a": 1})
	before := database.Begin()
	defer before.Discard()
	put(t, database, map[string]int{"a": 2, "b": 3})
	if got := scan(before); !slices.Equal(got, []string{`["a"]=1`}) {
		t.Errorf("an older transaction sees %v", got)
	}
	draft := database.Begin()
	table.Put(draft, row{9}, "a")
	draft.Discard()
	after := database.Begin()
	defer after.Discard()
	if got := scan(after); !slices.Equal(got, []string{`["a"]=2`, `["b"]=3`}) {
		t.Errorf("after a discarded transaction: %v", got)
	}
}

func TestDigest(t *testing.T) {
	fill := func(steps ...map[string]int) state.Digest {
		database := open(t, vfs.NewMem())
		defer func() { check(t, database.Close()) }()
		for _, step := range steps {
			put(t, database, step)
		}
		tx := database.Begin()
		tx.SetFolded("topic", 2, 17)
		tx.SetInput("other", 0, 5)
		tx.PutAside(state.Aside{Topic: "other", Offset: 4, Reason: "r"})
		check(t, tx.Commit())
		tx = database.Begin()
		defer tx.Discard()
		digest, err := tx.Digest()
		check(t, err)
		return digest
	}
	one := fill(map[string]int{"a": 1, "b": 2})
	if two := fill(map[string]int{"b": 2}, map[string]int{"a": 7}, map[string]int{"a": 1}); one.Sum != two.Sum {
		t.Error("the way there changes the digest")
	}
	if one.Keys != 2 || one.Cut.String() != "topic:0,0,17" {
		t.Errorf("keys %d, cut %s", one.Keys, one.Cut)
	}
	for name, other := range map[string]map[string]int{"value": {"a": 1, "b": 3}, "key": {"a": 1, "c": 2}, "fewer": {"a": 1}, "more": {"a": 1, "b": 2, "c": 3}} {
		if fill(other).Sum == one.Sum {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestCompare(t *testing.T) {
	left, right := open(t, vfs.NewMem()), open(t, vfs.NewMem())
	defer func() { check(t, errors.Join(left.Close(), right.Close())) }()
	difference := func() string {
		a, b := left.Begin(), right.Begin()
		defer a.Discard()
		defer b.Discard()
		d, err := state.Compare(a, b)
		check(t, err)
		if d == nil {
			return ""
		}
		return d.Key + " " + d.Left + " " + d.Right
	}
	put(t, left, map[string]int{"a": 1, "b": 2, "d": 4})
	put(t, right, map[string]int{"a": 1, "b": 2, "d": 4})
	if got := difference(); got != "" {
		t.Errorf("equal states differ: %s", got)
	}
	put(t, right, map[string]int{"d": 5})
	if got := difference(); got != `t/d {"n":4} {"n":5}` {
		t.Error(got)
	}
	put(t, left, map[string]int{"c": 3})
	if got := difference(); got != `t/c {"n":3} ` {
		t.Error(got)
	}
	put(t, right, map[string]int{"bb": 3})
	if got := difference(); got != `t/bb  {"n":3}` {
		t.Error(got)
	}
}

func TestCheckpointsAndAsides(t *testing.T) {
	fs := vfs.NewMem()
	database := open(t, fs)
	tx := database.Begin()
	tx.SetFolded("b", 1, 7)
	tx.SetFolded("a", 0, 3)
	tx.SetInput("b", 0, 9)
	tx.PutAside(state.Aside{Topic: "b", Partition: 1, Offset: 5, Reason: "second", Preview: strings.Repeat("x", 1000)})
	tx.PutAside(state.Aside{Topic: "b", Partition: 0, Offset: 6, Reason: "first"})
	tx.PutAside(state.Aside{Topic: "b", Partition: 0, Offset: 6, Reason: "first"})
	check(t, tx.Commit())
	check(t, database.Close())
	database = open(t, fs)
	defer func() { check(t, database.Close()) }()
	tx = database.Begin()
	defer tx.Discard()
	if got := tx.Folded().String() + " / " + tx.Inputs().String(); got != "a:3 b:0,7 / b:9" {
		t.Error(got)
	}
	asides, count := tx.Asides(1)
	if count != 2 || len(asides) != 1 || asides[0].Reason != "first" {
		t.Errorf("%d asides, %+v", count, asides)
	}
	if asides, _ = tx.Asides(10); len(asides[1].Preview) > 300 {
		t.Errorf("preview of %d bytes", len(asides[1].Preview))
	}
}

// Whatever a crash leaves, it is the state after some number of transactions, never a part
// of one, and at least all up to the last sync.
func TestCrashAtEveryBatch(t *testing.T) {
	const batches = 40
	for _, percent := range []int{0, 50, 100} {
		fs := vfs.NewCrashableMem()
		database := open(t, fs)
		synced := 0
		for n := 1; n <= batches; n++ {
			tx := database.Begin()
			table.Put(tx, row{n}, "a")
			table.Put(tx, row{n}, "b", fmt.Sprint(n))
			tx.SetFolded("topic", 0, int64(n))
			check(t, tx.Commit())
			if n%7 == 0 {
				check(t, database.Sync())
				synced = n
			}
			crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(n), 1))}))
			view := crashed.Begin()
			at := int(view.Folded().Offset("topic", 0))
			a, _ := table.Get(view, "a")
			if at < synced || at > n || a.N != at || len(scan(view, "b")) != at {
				t.Errorf("after %d batches, %d synced: checkpoint %d, row %d, rows %d", n, synced, at, a.N, len(scan(view, "b")))
			}
			view.Discard()
			check(t, crashed.Close())
		}
		check(t, database.Close())
	}
}

func rebuilt(t testing.TB, fs state.FS, n int) {
	t.Helper()
	next, err := state.OpenNext(state.Config{FS: fs, Dir: "svc"})
	check(t, err)
	put(t, next, map[string]int{"a": n})
	check(t, next.Close())
}

func TestTakeOver(t *testing.T) {
	fs := vfs.NewMem()
	live := open(t, fs)
	put(t, live, map[string]int{"a": 1})
	tx := live.Begin()
	tx.SetInput("in", 0, 42)
	tx.PutAside(state.Aside{Topic: "in", Offset: 3})
	check(t, tx.Commit())
	check(t, live.Close())
	rebuilt(t, fs, 2)
	check(t, state.TakeOver(state.Config{FS: fs, Dir: "svc"}))
	live = open(t, fs)
	defer func() { check(t, live.Close()) }()
	tx = live.Begin()
	defer tx.Discard()
	if got := scan(tx); !slices.Equal(got, []string{`["a"]=2`}) {
		t.Errorf("live has %v", got)
	}
	if _, asides := tx.Asides(0); tx.Inputs().String() != "in:42" || asides != 1 {
		t.Errorf("inputs %s, asides %d", tx.Inputs(), asides)
	}
	if _, err := fs.Stat("svc/state.old"); err != nil {
		t.Errorf("the old state is gone: %v", err)
	}
}

func TestTakeOverWithoutLive(t *testing.T) {
	fs := vfs.NewMem()
	rebuilt(t, fs, 2)
	check(t, state.TakeOver(state.Config{FS: fs, Dir: "svc"}))
	live := open(t, fs)
	defer func() { check(t, live.Close()) }()
	tx := live.Begin()
	defer tx.Discard()
	if got := scan(tx); !slices.Equal(got, []string{`["a"]=2`}) {
		t.Errorf("live has %v", got)
	}
}

// stopAfter fails the n-th change to names of files, and all after it: a crash in the
// middle of a switch.
type stopAfter struct {
	state.FS
	left int
}

var errStopped = errors.New("stopped")

func (s *stopAfter) spend() error {
	if s.left--; s.left < 0 {
		return errStopped
	}
	return nil
}

// Rename implements vfs.FS.
func (s *stopAfter) Rename(from, to string) error {
	if err := s.spend(); err != nil {
		return err
	}
	return s.FS.Rename(from, to)
}

// Remove implements vfs.FS.
func (s *stopAfter) Remove(name string) error {
	if err := s.spend(); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (s *stopAfter) RemoveAll(name string) error {
	if err := s.spend(); err != nil {
		return err
	}
	return s.FS.RemoveAll(name)
}

// Create implements vfs.FS.
func (s *stopAfter) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.spend(); err != nil {
		return nil, err
	}
	return s.FS.Create(name, category)
}

func TestSwitchIsFinishedAfterACrash(t *testing.T) {
	for steps := range 6 {
		fs := vfs.NewMem()
		live := open(t, fs)
		put(t, live, map[string]int{"a": 1})
		check(t, live.Close())
		rebuilt(t, fs, 2)
		err := state.Switch(&stopAfter{FS: fs, left: steps}, "svc")
		live = open(t, fs)
		tx := live.Begin()
		got, found := table.Get(tx, "a")
		if !found || (err == nil && got.N != 2) || (steps == 0 && got.N != 1) || (steps > 0 && got.N != 2) {
			t.Errorf("stopped after %d steps (%v): live has %d", steps, err, got.N)
		}
		tx.Discard()
		check(t, live.Close())
		if _, err := fs.Stat("svc/state/SWITCH"); err == nil {
			t.Errorf("stopped after %d steps: the mark is still there", steps)
		}
	}
}

func TestUnreadableRowVoidsTheTransaction(t *testing.T) {
	database := open(t, vfs.NewMem())
	defer func() { check(t, database.Close()) }()
	tx := database.Begin()
	state.NewTable[string]("t").Put(tx, "not a row", "a")
	check(t, tx.Commit())
	tx = database.Begin()
	table.Put(tx, row{1}, "b")
	if _, found := table.Get(tx, "a"); found || tx.Err() == nil {
		t.Fatal("the row was read")
	}
	if err := tx.Commit(); err == nil || !strings.Contains(err.Error(), `["a"] of table t`) {
		t.Errorf("commit: %v", err)
	}
	tx = database.Begin()
	defer tx.Discard()
	if _, found := table.Get(tx, "b"); found {
		t.Error("a void transaction wrote something")
	}
}

func TestCut(t *testing.T) {
	cut := client.Cut{"b": {1, 2}, "a": {0}}
	if cut.String() != "a:0 b:1,2" {
		t.Error(cut)
	}
}
