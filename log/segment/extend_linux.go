package segment

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// seekData is lseek's SEEK_DATA.
const seekData = 3

// extend reserves blocks and sets the file's size, so that a later sync of data need
// not write the file's metadata. A file system that cannot reserve grows the file as it is written.
func extend(file vfs.File, size int64) error {
	descriptor := file.Fd()
	if descriptor == vfs.InvalidFd {
		return nil
	}
	for {
		err := unix.Fallocate(int(descriptor), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		default:
			return err
		}
	}
}

// nextData returns the offset from which on the file holds anything but reserved blocks that were never
// written, which read as zeros; offset itself when the file system cannot tell, size when there is nothing.
func nextData(source io.ReaderAt, offset, size int64) int64 {
	file, ok := source.(interface{ Fd() uintptr })
	if !ok || file.Fd() == vfs.InvalidFd {
		return offset
	}
	found, err := unix.Seek(int(file.Fd()), offset, seekData)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size
	case err != nil:
		return offset
	}
	return min(max(found, offset), size)
}
