package log

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// A rest is what the extent before read of the first record of the next one, which did not fit. Its
// frame, nil for none, has a reference for the one who loads.
type rest struct {
	frame *frame.Frame
	bytes []byte
}

// load reads an extent and checks what it holds, and has the next one loaded between the two, so that the disk reads while the
// processor checks. A failure, or a record that is damaged, only ends the extent: whoever wants what is
// not in it reads it alone and gets the exact error.
func (a *ahead) load(e *extent, left rest) {
	number, _ := segment.Split(e.start)
	fs := a.log.config.FS
	file := segment.File{Path: fs.PathJoin(a.log.config.Dir, segment.Name(number)), Number: number, Seed: a.log.readers.seed}
	f, err := a.read(&file, e, left)
	if err != nil {
		a.loadEnded(e, nil, nil, e.start)
		return
	}
	pieces, end := walk(&file, f.Bytes(), e.start)
	if end > e.start {
		more := a.cut(e, end)
		a.readOn(end, more, rest{frame: f, bytes: f.Bytes()[end-e.start:]})
		if wanted := a.walked(e); wanted > more { // by somebody who came meanwhile
			a.readOn(end, wanted, rest{})
		}
	}
	for i := range pieces {
		if _, _, err := file.CheckRecord(f.Bytes()[pieces[i].position-e.start:], pieces[i].position); err != nil {
			pieces, end = pieces[:i], pieces[i].position
			f.Resize(int(end - e.start)) // what follows is to be read again
			break
		}
	}
	a.loadEnded(e, f, pieces, end)
}

// cut notes where an extent's records end, and returns how many extents after it are wanted.
func (a *ahead) cut(e *extent, end record.Position) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.end = end
	return e.more
}

// walked lets others go on from where an extent's records end: not before the next one is begun with what this one has
// read of it already. It returns how many are wanted now.
func (a *ahead) walked(e *extent) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.walked = true
	return e.more
}

// loadEnded makes an extent available, or not when nothing of it could be read.
func (a *ahead) loadEnded(e *extent, f *frame.Frame, pieces []piece, end record.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(e.loaded)
	a.loading--
	e.end = end
	if e.gone || a.closed || end == e.start {
		a.drop(e)
		if f != nil {
			f.Release()
		}
	} else {
		a.uses++
		e.frame, e.pieces, e.used = f, pieces, a.uses
		for i := range pieces {
			e.body += int64(pieces[i].body)
		}
		a.log.stats.extents.Add(1)
	}
	if a.closed && a.loading == 0 {
		close(a.done)
	}
}

// read reads an extent's bytes: those that are left of the one before, and what follows. When its first record is larger,
// it reads that record.
func (a *ahead) read(file *segment.File, e *extent, left rest) (*frame.Frame, error) {
	f := a.frame(int(e.end - e.start))
	have := 0
	if left.frame != nil {
		have = copy(f.Bytes(), left.bytes)
		left.frame.Release()
	}
	f, have, err := a.fill(file, e.start, f, have)
	if err != nil {
		return nil, err
	}
	header, err := segment.ParseHeader(f.Bytes(), e.start, file.Seed)
	whole := have == int(e.end-e.start)
	if size := header.Size(); err == nil && whole && size > int64(have) && size <= int64(e.bound-e.start) {
		if !a.enlarge(e, size) {
			f.Release()
			return nil, fmt.Errorf("a record of %d bytes at %d is too large to be kept: %w", size, e.start, ErrNotFound)
		}
		large := a.frame(int(size))
		copy(large.Bytes(), f.Bytes())
		f.Release()
		f, _, err = a.fill(file, e.start, large, have)
		return f, err
	}
	return f, nil
}

// enlarge makes room for an extent that is one large record.
func (a *ahead) enlarge(e *extent, size int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	memory := int64(frame.MemoryOf(int(size)))
	if memory > a.limit/2 || !a.makeRoom(memory-e.memory) {
		return false
	}
	a.bytes += memory - e.memory
	e.memory, e.end = memory, e.start+record.Position(size)
	return true
}

// fill reads what a frame has no bytes of yet, from have on, of the file from a position on. It cuts the frame to
// what there is. With an error the frame is released.
func (a *ahead) fill(file *segment.File, at record.Position, f *frame.Frame, have int) (*frame.Frame, int, error) {
	_, offset := segment.Split(at)
	if have < len(f.Bytes()) {
		n, err := a.readFile(file.Path, f.Bytes()[have:], offset+int64(have))
		if err != nil {
			f.Release()
			return nil, 0, err
		}
		a.log.stats.extentBytes.Add(int64(n))
		have += n
	}
	f.Resize(have)
	return f, have, nil
}

// readFile reads what there is of b's length at offset of a file: past the page cache when the log is written so,
// since what is read this way is not read again soon.
func (a *ahead) readFile(path string, b []byte, offset int64) (n int, err error) {
	fs := a.log.config.FS
	file, err := fs.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open segment %s: %w", path, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if vectors, ok := fs.(VectorFS); ok && a.log.direct.Load() && !a.refused.Load() {
		direct := vectors.Vector(file)
		alignment, err := direct.SetDirect(true)
		if err == nil && maxAlignment%alignment == 0 {
			n, err := readAt(direct, b, offset)
			if !errors.Is(err, syscall.EINVAL) {
				return n, err
			}
			if n > 0 { // the file ends where no sector does
				return n, nil
			}
		}
		a.refused.Store(true)
		if _, err := direct.SetDirect(false); err != nil {
			return 0, fmt.Errorf("have reads go through the page cache again: %w", err)
		}
	}
	return readAt(file, b, offset)
}

// walk returns the commands among the records in b, which begins at a position, and where the last whole record ends.
func walk(file *segment.File, b []byte, at record.Position) (pieces []piece, end record.Position) {
	for len(b) >= segment.HeaderBytes {
		h, err := segment.ParseHeader(b, at, file.Seed)
		if err != nil || h.Size() > int64(len(b)) {
			break
		}
		if h.Kind == segment.KindCommand {
			pieces = append(pieces, piece{position: at, index: h.Index, shard: h.Shard, body: h.PayloadBytes - h.TailBytes})
		}
		b, at = b[h.Size():], at+record.Position(h.Size())
	}
	return pieces, at
}
