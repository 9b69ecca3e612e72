package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

const (
	// maxVector is how many buffers one call takes: Linux's IOV_MAX.
	maxVector = 1024
	// sectorBytes is the alignment where the kernel does not tell it.
	sectorBytes = 512
)

// OSFS returns the operating system's file system.
func OSFS() FS { return osFS{vfs.Default} }

type osFS struct{ vfs.FS }

// Vector implements VectorFS.
func (osFS) Vector(file vfs.File) VectorFile {
	if file.Fd() == vfs.InvalidFd {
		return plainFile{file}
	}
	return osFile{file}
}

type osFile struct{ vfs.File }

// WriteVector implements VectorFile.
func (f osFile) WriteVector(buffers [][]byte, offset int64) error {
	for begun := false; len(buffers) > 0; begun = true {
		n, err := unix.Pwritev(int(f.Fd()), buffers[:min(len(buffers), maxVector)], offset)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case n <= 0 && err == nil, begun && errors.Is(err, unix.EINVAL): // the rest may not be written another way
			return fmt.Errorf("pwritev ended at byte %d of the file: %w", offset, io.ErrShortWrite)
		case err != nil:
			return fmt.Errorf("pwritev: %w", err)
		}
		offset += int64(n)
		for n > 0 {
			if n < len(buffers[0]) {
				buffers[0] = buffers[0][n:]
				break
			}
			n -= len(buffers[0])
			buffers = buffers[1:]
		}
	}
	return nil
}

// SetDirect implements VectorFile.
func (f osFile) SetDirect(on bool) (int, error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return 1, fmt.Errorf("get the flags of a file: %w", err)
	}
	wanted := flags &^ unix.O_DIRECT
	if on {
		wanted |= unix.O_DIRECT
	}
	if wanted != flags {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, wanted)
		if on && errors.Is(err, unix.EINVAL) {
			return 1, fmt.Errorf("O_DIRECT: %w: %w", errors.ErrUnsupported, err)
		}
		if err != nil {
			return 1, fmt.Errorf("set the flags of a file: %w", err)
		}
	}
	if !on {
		return 1, nil
	}
	return f.alignment()
}

// alignment asks the kernel what direct writes to the file must be aligned to.
func (f osFile) alignment() (int, error) {
	var info unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &info)
	if told := err == nil && info.Mask&unix.STATX_DIOALIGN != 0; !told {
		return sectorBytes, nil // before Linux 6.1, or a file system that does not tell
	}
	if info.Dio_offset_align == 0 || info.Dio_mem_align == 0 {
		return 1, fmt.Errorf("O_DIRECT: %w", errors.ErrUnsupported)
	}
	return int(max(info.Dio_offset_align, info.Dio_mem_align)), nil
}
