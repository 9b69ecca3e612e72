package segment

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

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
