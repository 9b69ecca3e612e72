package offline

import (
	"errors"
	"syscall"
)

// isReadOnly reports whether a file system refuses all writes.
func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
