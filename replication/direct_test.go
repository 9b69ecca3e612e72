package replication

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

// directDisk is a disk that takes many buffers in one call, past the page cache only what is aligned to sectors.
type directDisk struct{ vfs.FS }

func (d *directDisk) Vector(file vfs.File) log.VectorFile { return &directFile{File: file} }

type directFile struct {
	vfs.File
	direct bool
}

func (f *directFile) SetDirect(on bool) (int, error) {
	f.direct = on
	return sectorBytes, nil
}

func (f *directFile) WriteVector(buffers [][]byte, offset int64) error {
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
