package log

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
)

// frozenBlock is how much of a file that was written to is kept in memory at a time, in bytes.
const frozenBlock = 4 << 10

// Frozen returns a view of fs in which the log and the index of a node that does not run
// can be opened as if the node started, while nothing in fs changes: what is written, made,
// renamed or removed is so in the view only and is held in memory. Folders of fs must
// not be changed by others meanwhile. Locks are the view's own.
func Frozen(fs FS) FS {
	return &frozen{FS: fs, memory: vfs.NewMem(), gone: map[string]bool{}, written: map[string]*frozenWrites{}}
}

type frozen struct {
	FS                   // what is not overridden only reads, or works on names
	memory  *vfs.MemFS   // files that were made in the view
	mu      sync.RWMutex // guards gone and written
	gone    map[string]bool
	written map[string]*frozenWrites // files of fs that were written to
}

// frozenWrites is what was written to a file of fs.
type frozenWrites struct {
	mu     sync.RWMutex // guards the rest
	blocks map[int64][]byte
	size   int64 // of the file, if that grew
}

// has reports whether the name is a file or folder that was made in the view.
func (f *frozen) has(name string) bool {
	_, err := f.memory.Stat(name)
	return err == nil
}

func (f *frozen) isGone(name string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.gone[name]
}

func (f *frozen) setGone(name string, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[name] = gone
	delete(f.written, name)
}

func (f *frozen) overlay(name string) *frozenWrites {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.written[name]
	if w == nil {
		w = &frozenWrites{blocks: map[int64][]byte{}}
		f.written[name] = w
	}
	return w
}

// Create implements vfs.FS.
func (f *frozen) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.memory.MkdirAll(f.PathDir(name), 0o755); err != nil {
		return nil, err
	}
	f.setGone(name, true) // the file of fs, if there is one
	return f.memory.Create(name, category)
}

// Open implements vfs.FS.
func (f *frozen) Open(name string, options ...vfs.OpenOption) (vfs.File, error) {
	if f.has(name) {
		return f.memory.Open(name, options...)
	}
	if f.isGone(name) {
		return nil, &os.PathError{Op: "open", Path: name, Err: iofs.ErrNotExist}
	}
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &frozenFile{File: file, written: f.overlay(name)}, nil
}

// OpenReadWrite implements vfs.FS.
func (f *frozen) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	if !f.has(name) && !f.isGone(name) {
		file, err := f.Open(name, options...)
		if !errors.Is(err, iofs.ErrNotExist) {
			return file, err
		}
	}
	if err := f.memory.MkdirAll(f.PathDir(name), 0o755); err != nil {
		return nil, err
	}
	return f.memory.OpenReadWrite(name, category, options...)
}

// OpenDir implements vfs.FS. The folder can be synced, which does nothing.
func (f *frozen) OpenDir(name string) (vfs.File, error) {
	if err := f.memory.MkdirAll(name, 0o755); err != nil {
		return nil, err
	}
	return f.memory.OpenDir(name)
}

// MkdirAll implements vfs.FS.
func (f *frozen) MkdirAll(dir string, mode os.FileMode) error { return f.memory.MkdirAll(dir, mode) }

// Remove implements vfs.FS.
func (f *frozen) Remove(name string) error {
	if _, err := f.Stat(name); err != nil {
		return err
	}
	var err error
	if f.has(name) {
		err = f.memory.Remove(name)
	}
	f.setGone(name, true)
	return err
}

// RemoveAll implements vfs.FS. Folders stay; what is in them goes.
func (f *frozen) RemoveAll(name string) error {
	names, err := f.List(name)
	if err != nil { // a file, or nothing
		if err := f.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
		return nil
	}
	for _, inside := range names {
		if err := f.RemoveAll(f.PathJoin(name, inside)); err != nil {
			return err
		}
	}
	return nil
}

// Link implements vfs.FS, by copying.
func (f *frozen) Link(from, to string) error {
	in, err := f.Open(from)
	if err != nil {
		return err
	}
	out, err := f.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), in.Close())
}

// Rename implements vfs.FS.
func (f *frozen) Rename(from, to string) error {
	if !f.has(from) {
		if err := f.Link(from, to); err != nil {
			return err
		}
		return f.Remove(from)
	}
	if err := f.memory.MkdirAll(f.PathDir(to), 0o755); err != nil {
		return err
	}
	f.setGone(to, true)
	return f.memory.Rename(from, to)
}

// ReuseForWrite implements vfs.FS.
func (f *frozen) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Remove(from); err != nil {
		return nil, err
	}
	return f.Create(to, category)
}

// Lock implements vfs.FS.
func (f *frozen) Lock(name string) (io.Closer, error) {
	if err := f.memory.MkdirAll(f.PathDir(name), 0o755); err != nil {
		return nil, err
	}
	return f.memory.Lock(name)
}

// List implements vfs.FS.
func (f *frozen) List(dir string) ([]string, error) {
	made, madeErr := f.memory.List(dir)
	names, err := f.FS.List(dir)
	if err != nil && madeErr != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return f.isGone(f.PathJoin(dir, name)) })
	names = append(names, made...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Stat implements vfs.FS.
func (f *frozen) Stat(name string) (vfs.FileInfo, error) {
	if info, err := f.memory.Stat(name); err == nil && !info.IsDir() {
		return info, nil
	}
	if f.isGone(name) {
		return nil, &os.PathError{Op: "stat", Path: name, Err: iofs.ErrNotExist}
	}
	info, err := f.FS.Stat(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return f.memory.Stat(name)
	}
	return info, err
}

// GetDiskUsage implements vfs.FS: what is written takes no room on a disk.
func (f *frozen) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// Unwrap implements vfs.FS: there is nothing that may go around the view.
func (f *frozen) Unwrap() vfs.FS { return nil }

// A frozenFile is a file of fs, with what was written to it in the view.
type frozenFile struct {
	vfs.File
	written *frozenWrites

	mu sync.Mutex // guards at
	at int64      // where Read goes on
}

// Fd implements vfs.File: nobody may write past the view.
func (f *frozenFile) Fd() uintptr { return vfs.InvalidFd }

// Read implements io.Reader.
func (f *frozenFile) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (f *frozenFile) ReadAt(b []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(b, offset)
	w := f.written
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.blocks) == 0 || (err != nil && !errors.Is(err, io.EOF)) {
		return n, err
	}
	end := min(offset+int64(len(b)), max(w.size, offset+int64(n)))
	clear(b[n:max(int64(n), end-offset)])
	n = int(max(int64(n), end-offset))
	for at := offset; at < end; {
		number, from := at/frozenBlock, at%frozenBlock
		size := min(frozenBlock-from, end-at)
		if block := w.blocks[number]; block != nil {
			copy(b[at-offset:][:size], block[from:])
		}
		at += size
	}
	if n == len(b) {
		return n, nil
	}
	return n, io.EOF
}

// Write implements io.Writer: files of fs are written at a place only.
func (f *frozenFile) Write([]byte) (int, error) { return 0, iofs.ErrPermission }

// WriteAt implements io.WriterAt.
func (f *frozenFile) WriteAt(b []byte, offset int64) (int, error) {
	w := f.written
	for done := 0; done < len(b); {
		at := offset + int64(done)
		number, from := at/frozenBlock, at%frozenBlock
		size := min(int(frozenBlock-from), len(b)-done)
		if err := w.fill(f.File, number); err != nil {
			return done, err
		}
		w.mu.Lock()
		copy(w.blocks[number][from:], b[done:done+size])
		w.size = max(w.size, at+int64(size))
		w.mu.Unlock()
		done += size
	}
	return len(b), nil
}

// fill brings a block into memory.
func (w *frozenWrites) fill(file vfs.File, number int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocks[number] != nil {
		return nil
	}
	block := make([]byte, frozenBlock)
	if _, err := file.ReadAt(block, number*frozenBlock); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	w.blocks[number] = block
	return nil
}

// Preallocate implements vfs.File.
func (f *frozenFile) Preallocate(int64, int64) error { return nil }

// Sync implements vfs.File.
func (f *frozenFile) Sync() error { return nil }

// SyncData implements vfs.File.
func (f *frozenFile) SyncData() error { return nil }

// SyncTo implements vfs.File.
func (f *frozenFile) SyncTo(int64) (bool, error) { return true, nil }

// Applied returns the highest index that the shard's state machine is known to have
// applied: what SetApplied said, or after Open what the records say.
func (s *Shard) Applied() record.Index { return record.Index(s.applied.Load()) }
