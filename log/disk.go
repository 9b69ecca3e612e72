package log

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system that everything here goes through. One that is a VectorFS too is
// written many buffers at a time; any other a buffer at a time, by the same code.
type FS = vfs.FS

// A VectorFS is an FS whose files take many buffers in one call, past the system's page cache if asked.
type VectorFS interface {
	FS
	// Vector returns a file that this FS opened as one that takes vectors; it is closed through either.
	Vector(file vfs.File) VectorFile
}

// A VectorFile is a file that is written many buffers at a time, or read. One goroutine writes.
type VectorFile interface {
	vfs.File
	// WriteVector writes the buffers one after the other from offset on. It may change the slice, not the bytes.
	// Past the page cache it may answer with syscall.EINVAL that the file system refuses this; nothing is written then.
	WriteVector(buffers [][]byte, offset int64) error
	// SetDirect has writes and ReadAt go past the page cache, or not. Then offset, and address and length of each
	// buffer, must be multiples of the alignment, which is returned. The error wraps errors.ErrUnsupported when
	// the file system refuses; ReadAt may do so with syscall.EINVAL.
	SetDirect(on bool) (alignment int, err error)
}

// plainFile takes vectors a buffer at a time, for file systems that know no better.
type plainFile struct{ vfs.File }

// WriteVector implements VectorFile.
func (f plainFile) WriteVector(buffers [][]byte, offset int64) error {
	for _, b := range buffers {
		n, err := f.WriteAt(b, offset)
		if err != nil {
			return err
		}
		offset += int64(n)
	}
	return nil
}

// SetDirect implements VectorFile.
func (f plainFile) SetDirect(on bool) (int, error) {
	if on {
		return 1, errors.ErrUnsupported
	}
	return 1, nil
}

// output is a segment that is written: where its file is, and how it takes bytes.
type output struct {
	VectorFile
	alignment int  // of what is written: offsets, addresses and lengths; 1 for any
	direct    bool // writes go past the page cache
}

// output returns the file as what the writer writes to, past the page cache if that is wanted and possible.
func (l *Log) output(file vfs.File) (*output, error) {
	o := &output{VectorFile: plainFile{file}, alignment: 1}
	if fs, ok := l.config.FS.(VectorFS); ok {
		o.VectorFile = fs.Vector(file)
	}
	if !l.direct.Load() {
		return o, nil
	}
	alignment, err := o.SetDirect(true)
	if err == nil && maxAlignment%alignment != 0 {
		err = fmt.Errorf("an alignment of %d bytes, records lie at multiples of %d: %w", alignment, maxAlignment, errors.ErrUnsupported)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return o, o.refused(l, err)
	case err != nil:
		return nil, fmt.Errorf("have writes go past the page cache: %w", err)
	}
	o.alignment, o.direct = alignment, true
	return o, nil
}

// write writes the buffers. When the file system refuses to go past the page cache, it goes through that from now on.
func (o *output) write(l *Log, buffers [][]byte, offset int64) error {
	err := o.WriteVector(buffers, offset)
	if o.direct && errors.Is(err, syscall.EINVAL) {
		if err := o.refused(l, err); err != nil {
			return err
		}
		return o.WriteVector(buffers, offset)
	}
	return err
}

// refused goes back to the page cache, for this file and all that come, and tells so once.
func (o *output) refused(l *Log, cause error) error {
	if _, err := o.SetDirect(false); err != nil {
		return fmt.Errorf("have writes go through the page cache again: %w", err)
	}
	o.alignment, o.direct = 1, false
	if l.direct.Swap(false) {
		l.config.Logger.Warn("the file system refuses writes past the page cache: the log is written through it, which costs more CPU",
			"folder", l.config.Dir, "cause", cause)
	}
	return nil
}
