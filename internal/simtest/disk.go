package simtest

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/internal/directdisk"
)

var (
	errPowerless = errors.New("the simulated machine has no power")
	errDiskFault = errors.New("simulated input/output error")
)

// retryPause lets time pass for those who try again at once, as Pebble does with a
// flush: in virtual time nothing else would ever happen.
const retryPause = time.Millisecond

// Disk is one machine's disk: it keeps what was synced through a loss of power
// and, at the choice of the seed, some of what was not.
type Disk struct {
	mu   sync.Mutex // guards all below
	mem  *vfs.MemFS
	boot *boot

	direct bool // it takes writes past the page cache; set before it is used
}

// boot is the disk as one life of the machine sees it. After a crash that life's
// goroutines may still run for a while; their disk answers with errors only.
type boot struct {
	powerless atomic.Bool
	failing   atomic.Bool  // every sync fails
	slowNanos atomic.Int64 // every sync takes that much longer
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{mem: vfs.NewCrashableMem()} }

// Boot returns the file system for a new life of the machine.
func (d *Disk) Boot() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := &boot{}
	d.boot = b
	fs := errorfs.Wrap(d.mem, errorfs.InjectorFunc(b.inject))
	if d.direct {
		return &directdisk.Disk{FS: fs}
	}
	return fs
}

func (b *boot) inject(op errorfs.Op) error {
	if b.powerless.Load() {
		if op.Kind == errorfs.OpCreate {
			time.Sleep(retryPause)
		}
		return errPowerless
	}
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if slow := time.Duration(b.slowNanos.Load()); slow > 0 {
			time.Sleep(slow)
		}
		if b.powerless.Load() {
			return errPowerless
		}
		if b.failing.Load() {
			time.Sleep(retryPause)
			return errDiskFault
		}
	default:
	}
	return nil
}

// Crash cuts the power: the running life gets errors from now on, the next one
// finds what was synced and about percent of the rest.
func (d *Disk) Crash(random *rand.Rand, percent int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot != nil {
		d.boot.powerless.Store(true)
	}
	d.mem = d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
}

// Detach ends the running life without a crash: what it wrote stays.
func (d *Disk) Detach() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot != nil {
		d.boot.powerless.Store(true)
	}
	return d.mem
}

// Wipe replaces the disk by an empty one.
func (d *Disk) Wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot != nil {
		d.boot.powerless.Store(true)
	}
	d.mem = vfs.NewCrashableMem()
}

// Slow makes every sync take that much longer, 0 for as usual.
func (d *Disk) Slow(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot != nil {
		d.boot.slowNanos.Store(int64(by))
	}
}

// Fail makes every sync of the running life fail.
func (d *Disk) Fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot != nil {
		d.boot.failing.Store(true)
	}
}

// RemoveFolders removes folders with that name wherever they are; the machine must be off.
func (d *Disk) RemoveFolders(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return removeNamed(d.mem, "", name)
}

func removeNamed(fs vfs.FS, dir, name string) error {
	entries, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := strings.TrimPrefix(fs.PathJoin(dir, entry), "/")
		stat, err := fs.Stat(path)
		if err != nil {
			return err
		}
		switch {
		case !stat.IsDir():
		case entry == name:
			if err := fs.RemoveAll(path); err != nil {
				return err
			}
		default:
			if err := removeNamed(fs, path, name); err != nil {
				return err
			}
		}
	}
	return nil
}
