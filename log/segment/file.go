package segment

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrSync is wrapped when a sync failed: nobody knows what the disk holds then, and the next sync may say that all is well.
var ErrSync = errors.New("sync failed")

func badf(format string, args ...any) error {
	wanted, found, _ := strings.Cut(fmt.Sprintf(format, args...), "|")
	return &mismatch{wanted: wanted, found: found}
}

// corrupt turns a mismatch into a *CorruptError of this place; other errors stay as they are.
func corrupt(file string, offset int64, err error) error {
	if m, ok := errors.AsType[*mismatch](err); ok {
		return &CorruptError{File: file, Offset: offset, Wanted: m.wanted, Found: m.found}
	}
	return err
}

// Prepare creates the file of a segment with room for size bytes, all zero, opened for
// writing. When it returns, the file and its name in dir survive a loss of power. A file that is there
// already must be all zero; that is the caller's to know. The error wraps ErrSync when it must not be tried again.
func Prepare(fs vfs.FS, dir string, number, size int64) (vfs.File, error) {
	name := fs.PathJoin(dir, Name(number))
	file, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create segment %s: %w", name, err)
	}
	if err := extend(file, size); err != nil {
		return nil, errors.Join(fmt.Errorf("reserve %d bytes for segment %s: %w", size, name, err), file.Close())
	}
	if err := file.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: segment %s: %w", ErrSync, name, err), file.Close())
	}
	if err := SyncDir(fs, dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// SyncDir makes the names in dir durable.
func SyncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", dir, err)
	}
	if err := d.Sync(); err != nil {
		return errors.Join(fmt.Errorf("%w: folder %s: %w", ErrSync, dir, err), d.Close())
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("close folder %s: %w", dir, err)
	}
	return nil
}

// readAvailable fills b from offset as far as the file goes.
func readAvailable(source io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := source.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
