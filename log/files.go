package log

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"slices"
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

	mu     sync.Mutex // guards the rest
	open   map[int64]*reader
	uses   int64
	closed bool
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
// No lock is held while the disk is asked.
func (r *readers) get(number int64) (*reader, error) {
	if h := r.use(number); h != nil {
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
	h := &reader{file: file, refs: 1}
	h.File = segment.File{Source: file, Path: path, Number: number, Seed: r.seed}
	if other := r.use(number); other != nil { // opened meanwhile
		h.close()
		return other, nil
	}
	for _, unused := range r.add(number, h) {
		unused.close()
	}
	return h, nil
}

// use returns the reader of a segment with a reference, nil when it is not open.
func (r *readers) use(number int64) *reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.open[number]
	if h != nil {
		r.uses++
		h.refs++
		h.used = r.uses
	}
	return h
}

// add keeps a reader, and returns those that are to be closed for it.
func (r *readers) add(number int64, h *reader) (unused []*reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[number] != nil || r.closed { // a race that was lost, or the end: the user closes it
		h.gone = true
		return nil
	}
	r.uses++
	h.used = r.uses
	r.open[number] = h
	for len(r.open) > maxOpenFiles {
		oldest := int64(0)
		for n, h := range r.open {
			if h.refs == 0 && (oldest == 0 || h.used < r.open[oldest].used) {
				oldest = n
			}
		}
		if oldest == 0 {
			break
		}
		unused = append(unused, r.open[oldest])
		delete(r.open, oldest)
	}
	return unused
}

// put gives a reader back.
func (r *readers) put(h *reader) {
	r.mu.Lock()
	h.refs--
	last := h.gone && h.refs == 0
	r.mu.Unlock()
	if last {
		h.close()
	}
}

// forget closes a segment's file as soon as nobody reads it.
func (r *readers) forget(number int64) {
	r.mu.Lock()
	h := r.open[number]
	delete(r.open, number)
	last := false
	if h != nil {
		h.gone = true
		last = h.refs == 0
	}
	r.mu.Unlock()
	if last {
		h.close()
	}
}

// close closes what nobody reads; the rest is closed by put.
func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	numbers := slices.Collect(maps.Keys(r.open))
	r.mu.Unlock()
	for _, n := range numbers {
		r.forget(n)
	}
}

// close closes the file: it was only read, so nothing can be lost.
func (h *reader) close() { _ = h.file.Close() }

func isNotExist(err error) bool { return errors.Is(err, iofs.ErrNotExist) }

// readAll reads a file of at most limit bytes.
func readAll(f io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}
