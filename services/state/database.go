package state

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system that a database lives on.
type FS = vfs.FS

// OSFS returns the operating system's file system.
func OSFS() FS { return vfs.Default }

const (
	liveName = "state"
	nextName = "state.next"
	oldName  = "state.old"
	// readyName is a file in state.next that says: complete, take me.
	readyName = "SWITCH"

	defaultCacheBytes = 8 << 20
	memTableBytes     = 4 << 20
	maxOpenFiles      = 256
)

// ErrInUse is wrapped when another process, or another service of this one, has the
// database open.
var ErrInUse = errors.New("database is in use")

// Config says where a database lives.
type Config struct {
	// FS is the file system. Default: the operating system's.
	FS FS
	// Dir is the service's folder; the database is a folder in it.
	Dir string
	// CacheBytes bounds Pebble's block cache. Default 8 MiB.
	CacheBytes int64
	// Logger gets warnings. Default: nothing is logged.
	Logger *slog.Logger
	// Fatal is called once when the database cannot be written any more.
	Fatal func(error)
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = OSFS()
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
	return c
}

// A Database is one service's rows and checkpoints.
type Database struct {
	config Config
	pebble *pebble.DB
	path   string
	lock   *pebble.Lock
}

// Open opens the live database of config.Dir, making an empty one when there is none.
// It first finishes a Switch that a crash interrupted.
func Open(config Config) (*Database, error) {
	config = config.withDefaults()
	if err := finishSwitch(config.FS, config.Dir); err != nil {
		return nil, err
	}
	return open(config, liveName)
}

// OpenNext empties Dir/state.next and opens it, to be filled by a rebuild.
func OpenNext(config Config) (*Database, error) {
	config = config.withDefaults()
	path := config.FS.PathJoin(config.Dir, nextName)
	if err := config.FS.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("empty %s: %w", path, err)
	}
	return open(config, nextName)
}

// Exists reports whether Dir has a live database.
func Exists(fs FS, dir string) bool {
	_, err := fs.Stat(fs.PathJoin(dir, liveName))
	return err == nil
}

func open(config Config, name string) (*Database, error) {
	path := config.FS.PathJoin(config.Dir, name)
	if err := makeFolder(config.FS, path); err != nil {
		return nil, fmt.Errorf("make folder %s: %w", path, err)
	}
	lock, err := pebble.LockDirectory(path, config.FS)
	if err != nil {
		return nil, fmt.Errorf("open state database %s: %w: %w", path, ErrInUse, err)
	}
	db, err := pebble.Open(path, &pebble.Options{
		FS:                 config.FS,
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          config.CacheBytes,
		MemTableSize:       memTableBytes,
		MaxOpenFiles:       maxOpenFiles,
		Lock:               lock,
		Logger:             &pebbleLogger{logger: config.Logger, path: path, fatal: config.Fatal},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open state database %s: %w", path, err), lock.Close())
	}
	return &Database{config: config, pebble: db, path: path, lock: lock}, nil
}

// makeFolder makes a folder and those above it, and makes their names durable: what is
// synced in a folder is lost when its own name is.
func makeFolder(fs FS, path string) error {
	var parents []string
	for p := path; ; p = fs.PathDir(p) {
		if _, err := fs.Stat(p); err == nil || fs.PathDir(p) == p {
			break
		}
		parents = append(parents, fs.PathDir(p))
	}
	if err := fs.MkdirAll(path, 0o750); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(fs, parent); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the database's folder.
func (d *Database) Path() string { return d.path }

// Sync makes everything committed so far durable.
func (d *Database) Sync() error {
	if err := d.pebble.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("sync state database %s: %w", d.path, err)
	}
	return nil
}

// Close closes the database. All its transactions must have ended.
func (d *Database) Close() error {
	if err := errors.Join(d.pebble.Close(), d.lock.Close()); err != nil {
		return fmt.Errorf("close state database %s: %w", d.path, err)
	}
	return nil
}

// Switch makes the closed, complete database in Dir/state.next the live one and keeps
// the previous one as Dir/state.old. Both must be closed. After a crash at any point
// either the old or the new one is live, never none.
func Switch(fs FS, dir string) error {
	next := fs.PathJoin(dir, nextName)
	file, err := fs.Create(fs.PathJoin(next, readyName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("mark %s complete: %w", next, err)
	}
	if err := errors.Join(file.Sync(), file.Close(), syncDir(fs, next)); err != nil {
		return fmt.Errorf("mark %s complete: %w", next, err)
	}
	return finishSwitch(fs, dir)
}

// TakeOver makes the closed database in Dir/state.next the live one, after copying into
// it what a rebuild cannot derive from a live database, if there is one. See Switch.
func TakeOver(config Config) error {
	config = config.withDefaults()
	if Exists(config.FS, config.Dir) {
		if err := copyUnderivable(config); err != nil {
			return err
		}
	}
	return Switch(config.FS, config.Dir)
}

func copyUnderivable(config Config) error {
	live, err := open(config, liveName)
	if err != nil {
		return err
	}
	next, err := open(config, nextName)
	if err != nil {
		return errors.Join(err, live.Close())
	}
	from, to := live.Begin(), next.Begin()
	err = to.CopyUnderivable(from)
	if err == nil {
		err = to.Commit()
	}
	if err == nil {
		err = next.Sync()
	}
	from.Discard()
	to.Discard()
	return errors.Join(err, next.Close(), live.Close())
}

// finishSwitch puts a complete state.next in place, if there is one.
func finishSwitch(fs FS, dir string) error {
	live, next, old := fs.PathJoin(dir, liveName), fs.PathJoin(dir, nextName), fs.PathJoin(dir, oldName)
	if _, err := fs.Stat(fs.PathJoin(next, readyName)); err != nil {
		// No complete next: nothing to finish, unless the mark itself already moved.
		return clearMark(fs, live)
	}
	if _, err := fs.Stat(live); err == nil {
		if err := fs.RemoveAll(old); err != nil {
			return fmt.Errorf("remove %s: %w", old, err)
		}
		if err := fs.Rename(live, old); err != nil {
			return fmt.Errorf("set %s aside: %w", live, err)
		}
	}
	if err := fs.Rename(next, live); err != nil {
		return fmt.Errorf("put %s in place: %w", next, err)
	}
	if err := syncDir(fs, dir); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return clearMark(fs, live)
}

func clearMark(fs FS, live string) error {
	mark := fs.PathJoin(live, readyName)
	if _, err := fs.Stat(mark); err != nil {
		return nil //nolint:nilerr // no mark to clear
	}
	if err := fs.Remove(mark); err != nil {
		return fmt.Errorf("clear mark of %s: %w", live, err)
	}
	return nil
}

func syncDir(fs FS, path string) error {
	dir, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// pebbleLogger hands Pebble's troubles on.
type pebbleLogger struct {
	logger *slog.Logger
	path   string
	once   sync.Once // of fatal
	fatal  func(error)
}

// Infof implements pebble.Logger: Pebble's housekeeping is of no interest to a user.
func (l *pebbleLogger) Infof(format string, args ...any) {}

// Errorf implements pebble.Logger.
func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Warn("state database", "folder", l.path, "message", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger, which may not return: the goroutine ends here and
// the owner ends the rest.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	cause, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n") // what follows is a stack
	l.once.Do(func() { l.fatal(fmt.Errorf("state database %s: %s", l.path, cause)) })
	runtime.Goexit()
}
