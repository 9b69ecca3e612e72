package log

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/segment"
)

// maxOpenFiles is how many segments are kept open for reading.
const maxOpenFiles = 128

// readers keeps segment files open for reading, the least recently used one goes first.
type readers struct {
	fs   FS
	dir  string
	seed uint32

	mu   sync.Mutex // guards the rest
	open map[int64]*reader
	uses int64
}

// A reader is one file opened for reading, shared by all who read it now.
type reader struct {
	segment.File

	file vfs.File
	refs int   // by users; guarded by readers.mu, as the rest
	used int64 // when it was last asked for
	gone bool  // removed from readers.open: the last user closes it
}

func newReaders(fs FS, dir string, seed uint32) *readers {
	return &readers{fs: fs, dir: dir, seed: seed, open: map[int64]*reader{}}
}

// get returns the reader of a segment; the caller calls put. A file that is not there is ErrNotFound.
func (r *readers) get(number int64) (*reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses++
	if h := r.open[number]; h != nil {
		h.refs++
		h.used = r.uses
		return h, nil
	}
	path := r.fs.PathJoin(r.dir, segment.Name(number))
	file, err := r.fs.Open(path)
	if isNotExist(err) {
		return nil, fmt.Errorf("segment %s was removed: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", path, err)
	}
	h := &reader{file: file, refs: 1, used: r.uses}
	h.File = segment.File{Source: file, Path: path, Number: number, Seed: r.seed}
	r.open[number] = h
	r.shrink()
	return h, nil
}

// shrink closes unused files above the limit. r.mu is held.
func (r *readers) shrink() {
	for len(r.open) > maxOpenFiles {
		oldest := int64(0)
		for n, h := range r.open {
			if h.refs == 0 && (oldest == 0 || h.used < r.open[oldest].used) {
				oldest = n
			}
		}
		if oldest == 0 {
			return
		}
		_ = r.open[oldest].file.Close() // read-only: nothing can be lost
		delete(r.open, oldest)
	}
}

func (r *readers) put(h *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.refs--
	if h.gone && h.refs == 0 {
		_ = h.file.Close() // read-only: nothing can be lost
	}
}

// forget closes a segment's file as soon as nobody reads it.
func (r *readers) forget(number int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.open[number]
	if h == nil {
		return
	}
	delete(r.open, number)
	h.gone = true
	if h.refs == 0 {
		_ = h.file.Close() // read-only: nothing can be lost
	}
}

func (r *readers) close() {
	r.mu.Lock()
	numbers := make([]int64, 0, len(r.open))
	for n := range r.open {
		numbers = append(numbers, n)
	}
	r.mu.Unlock()
	for _, n := range numbers {
		r.forget(n)
	}
}

func isNotExist(err error) bool { return errors.Is(err, iofs.ErrNotExist) }

// readAll reads a file of at most limit bytes.
func readAll(f io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}
