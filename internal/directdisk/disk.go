// Package directdisk is a disk for tests that takes many buffers in one call, and past the page cache
// only what is aligned to sectors, as O_DIRECT does (open(2)).
//
// It knows nothing of segments or of what is written, and passes it all to the file system below, so
// what is durable and what fails is that one's. A misaligned write fails and writes nothing of the
// buffer in question. A file is for one writer at a time.
package directdisk

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log"
)

// sectorBytes is what a direct write must be aligned to.
const sectorBytes = 512

var errMisaligned = errors.New("misaligned write past the page cache")

// Disk is the file system FS with such files.
type Disk struct{ vfs.FS }

// Vector implements log.VectorFS.
func (d *Disk) Vector(f vfs.File) log.VectorFile { return &file{File: f} }

type file struct {
	vfs.File
	direct bool
}

// SetDirect implements log.VectorFile.
func (f *file) SetDirect(on bool) (int, error) {
	f.direct = on
	return sectorBytes, nil
}

// WriteVector implements log.VectorFile.
func (f *file) WriteVector(buffers [][]byte, offset int64) error {
	for i, b := range buffers {
		if f.direct && (offset%sectorBytes != 0 || len(b) == 0 || len(b)%sectorBytes != 0 || reflect.ValueOf(b).Pointer()%sectorBytes != 0) {
			return fmt.Errorf("buffer %d of %d bytes for offset %d: %w", i, len(b), offset, errMisaligned)
		}
		n, err := f.WriteAt(b, offset)
		if err != nil {
			return err
		}
		offset += int64(n)
	}
	return nil
}
