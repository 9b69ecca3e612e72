package log

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

// crashed is what a loss of power left at some moment.
type crashed struct {
	fs      *vfs.MemFS
	percent int
	op      int
	acked   int // at least this state survived
	direct  bool
}

// config is how the log is opened: past the page cache the disk is strict.
func (c *crashed) config() Config { return modeConfig(c.fs, c.direct) }

func modeConfig(fs FS, direct bool) Config {
	config := testConfig(fs)
	if direct {
		config, _ = directConfig(fs)
	}
	return config
}

// crashes runs f on a disk whose possible contents after a loss of power are taken
// before each operation that changes it. acked tells the state that is known to be durable.
func crashes(seed uint64, acked *atomic.Int64, f func(fs FS)) []crashed {
	return crashesOf(vfs.NewCrashableMem(), seed, acked, f)
}

func crashesOf(disk *vfs.MemFS, seed uint64, acked *atomic.Int64, f func(fs FS)) []crashed {
	var all []crashed
	random := rand.New(rand.NewPCG(seed, 3))
	turn := make(chan struct{}, 1) // one operation at a time is looked at
	ops := 0
	f(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		turn <- struct{}{}
		ops++
		for _, percent := range []int{0, 50, 100} {
			c := crashed{percent: percent, op: ops, acked: int(acked.Load())}
			c.fs = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
			all = append(all, c)
		}
		<-turn
		return nil
	})))
	return all
}

// recoverAndCheck opens what a crash left, compares it with the states, and goes on with it.
func recoverAndCheck(t *testing.T, m *model, c crashed) {
	t.Helper()
	config := c.config()
	l, err := Open(config)
	if err != nil {
		t.Fatalf("operation %d, %d %% of unsynced data: %v", c.op, c.percent, err)
	}
	found := -1
	last := ""
	for i := len(m.states) - 1; i >= c.acked && found < 0; i-- {
		if differs := matches(l, m.states[i], m.gone); differs == "" {
			found = i
		} else {
			last = differs
		}
	}
	if found < 0 {
		t.Fatalf("operation %d, %d %%: the log is at none of the states %d to %d: %s", c.op, c.percent, c.acked, len(m.states)-1, last)
	}
	state := m.states[found]
	check(t, l, state, m.gone)
	// It must be possible to go on, and what is then acknowledged must be there after the next start.
	next := &model{log: l, random: rand.New(rand.NewPCG(uint64(c.op), 1)), term: m.term + 1, now: cloneState(state), upTo: newUpTo(), gone: m.gone}
	for _, number := range modelShards {
		next.now[number].told = true
		// The newest head may tell of more than the newest record.
		next.now[number].applied = max(next.now[number].applied, record.Index(l.Shard(number).applied.Load()))
		l.Shard(number).SetApplied(next.now[number].applied)
		next.append(t, number)
		next.wait(t, number)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, config)
	if differs := matches(l, next.now, m.gone); differs != "" {
		t.Fatalf("operation %d, %d %%: after going on: %s", c.op, c.percent, differs)
	}
	check(t, l, next.now, m.gone)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// crashWhileRecovering takes the power away at every operation of a start, and starts again.
func crashWhileRecovering(t *testing.T, m *model, c crashed) {
	t.Helper()
	var acked atomic.Int64
	acked.Store(int64(c.acked))
	disk := c.fs.CrashClone(vfs.CrashCloneCfg{})
	again := crashesOf(disk, uint64(c.op), &acked, func(fs FS) {
		l, err := Open(modeConfig(fs, c.direct))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	for _, again := range again {
		again.direct = c.direct
		recoverAndCheck(t, m, again)
	}
}

func TestCrashAtEveryOperation(t *testing.T) {
	for name, direct := range map[string]bool{"page cache": false, "direct": true} {
		seeds := uint64(4)
		if direct {
			seeds = 2 // which take longer
		}
		if raceDetected {
			seeds = 1
		}
		images := 0
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) { images += crashAtEveryOperation(t, seed, direct) })
		}
		if images < 200*int(seeds) {
			t.Errorf("%s: only %d crash images were looked at", name, images)
		}
	}
}

func crashAtEveryOperation(t *testing.T, seed uint64, direct bool) int {
	var acked atomic.Int64
	var m *model
	all := crashes(seed, &acked, func(fs FS) {
		config := modeConfig(fs, direct)
		l, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		m = newModel(l, seed)
		m.large = true
		steps := 150
		if raceDetected {
			steps = 70 // it makes each ten times as long
		}
		for range steps {
			if durable := m.step(t); durable > int(acked.Load()) {
				acked.Store(int64(durable))
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if disk, ok := config.FS.(*strictDisk); ok && disk.buffers.Load() == disk.direct.Load() {
			t.Error("no write had more than one buffer")
		}
	})
	for i, c := range all {
		if raceDetected && i%4 != 0 {
			continue
		}
		c.direct = direct
		if i%40 == 0 {
			crashWhileRecovering(t, m, c)
		}
		recoverAndCheck(t, m, c)
	}
	t.Logf("%d crash images of %d records", len(all), len(m.states))
	return len(all)
}
