package log

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// recovery finds out, from the files alone, which segments hold data, where valid data
// ends, and every shard's window. See DESIGN.md, "What a start does".
type recovery struct {
	log     *Log
	numbers []int64 // of the files, ascending
	heads   map[int64]segment.Head
	bad     map[int64]error // files without a valid head

	parts   []*part
	windows map[record.Shard]*recovered

	end    record.Position // of valid data
	seal   bool            // the newest segment may not be continued
	number int64           // the newest segment that may hold anything
	hinted record.Position
	file   vfs.File // the newest segment, when it is continued
}

// recovered is what is found of one shard.
type recovered struct {
	window  window
	applied record.Index
	held    segment.Held // by the newest segment
	cuts    []cut        // the newest segment's truncations
}

// cut says that entries from index on that lie before position are superseded.
type cut struct {
	position record.Position
	index    record.Index
}

// superseded reports whether a later record of the newest segment takes the entry back.
func (f *recovered) superseded(h *segment.Header) bool {
	return !h.IsMarker() && slices.ContainsFunc(f.cuts, func(c cut) bool { return h.Index >= c.index && h.Position < c.position })
}

func (r *recovery) shard(number record.Shard) *recovered {
	f := r.windows[number]
	if f == nil {
		f = &recovered{}
		r.windows[number] = f
	}
	return f
}

func (r *recovery) run() error {
	if err := r.list(); err != nil {
		return err
	}
	if err := r.link(); err != nil {
		return err
	}
	if len(r.heads) == 0 {
		r.seal = true
		return r.spares(0)
	}
	newest := r.parts[len(r.parts)-1]
	rows := r.heads[newest.number].Rows
	if err := r.findEnd(newest, rows); err != nil {
		return err
	}
	if err := r.before(newest, rows); err != nil {
		return err
	}
	if err := r.replay(newest); err != nil {
		return err
	}
	if err := r.spares(newest.number); err != nil {
		return err
	}
	return r.settle(newest)
}

func (r *recovery) path(number int64) string {
	return r.log.config.FS.PathJoin(r.log.config.Dir, segment.Name(number))
}

// list reads the folder and every segment's head, and finishes removals that were decided on.
func (r *recovery) list() error {
	fs, dir := r.log.config.FS, r.log.config.Dir
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("list folder %s: %w", dir, err)
	}
	r.bad = map[int64]error{}
	for _, name := range names {
		number, ok := segment.ParseName(name)
		if !ok {
			continue
		}
		if r.log.removed.has(number, number) {
			if err := fs.Remove(r.path(number)); err != nil {
				return fmt.Errorf("finish removing segment %s: %w", r.path(number), err)
			}
			continue
		}
		r.numbers = append(r.numbers, number)
	}
	slices.Sort(r.numbers)
	for _, number := range r.numbers {
		if err := r.head(number); err != nil {
			return err
		}
	}
	return nil
}

// open opens a segment so that blocks which are not asked for are not read: those that
// were never written need not be.
func (r *recovery) open(number int64) (file segment.File, size int64, done io.Closer, err error) {
	path := r.path(number)
	f, err := r.log.config.FS.Open(path, vfs.RandomReadsOption)
	if err != nil {
		return file, 0, nil, fmt.Errorf("open segment %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return file, 0, nil, errors.Join(fmt.Errorf("stat segment %s: %w", path, err), f.Close())
	}
	file = segment.File{Source: f, Path: path, Number: number, Seed: r.log.readers.seed}
	return file, min(info.Size(), segment.MaxBytes), f, nil
}

func (r *recovery) head(number int64) error {
	file, size, done, err := r.open(number)
	if err != nil {
		return err
	}
	head, err := file.ReadHead(size)
	if closing := done.Close(); closing != nil {
		return fmt.Errorf("close segment %s: %w", file.Path, closing)
	}
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		r.bad[number] = err
	case err != nil:
		return fmt.Errorf("read segment %s: %w", r.path(number), err)
	case head.Incarnation != r.log.config.Incarnation:
		return fmt.Errorf("segment %s belongs to disk %x, this node's is %x: a file of another node lies here; move it away",
			r.path(number), head.Incarnation, r.log.config.Incarnation)
	default:
		r.heads[number] = head
	}
	return nil
}

// link checks that no segment is lost: each head names the place where the data before it
// ends, and each segment is there or was removed. It fills in parts.
func (r *recovery) link() error {
	expected := int64(1)
	for _, number := range r.numbers {
		for ; expected < number; expected++ {
			if !r.log.removed.has(expected, expected) {
				return &CorruptError{File: r.path(expected), Wanted: "a segment file", Found: "none"}
			}
		}
		expected = number + 1
	}
	for _, v := range r.log.removed.intervals {
		if v.through >= expected {
			return &CorruptError{File: r.path(v.through + 1), Wanted: "a segment file", Found: "none"}
		}
	}
	links, err := r.log.removed.heads()
	if err != nil {
		return err
	}
	for _, head := range r.heads {
		links = append(links, head)
	}
	ends := map[int64]segment.Head{}
	for _, head := range links {
		if head.PreviousEnd == 0 {
			continue
		}
		before, _ := segment.Split(head.PreviousEnd)
		if _, ok := r.heads[before]; !ok && !r.log.removed.has(before, before) {
			return r.bad[before]
		}
		ends[before] = head
	}
	newest := int64(0)
	for number := range r.heads {
		newest = max(newest, number)
	}
	for _, number := range r.numbers {
		r.addPart(number, newest, ends)
	}
	return nil
}

func (r *recovery) addPart(number, newest int64, ends map[int64]segment.Head) {
	head, valid := r.heads[number]
	if !valid {
		if number < newest {
			r.parts = append(r.parts, &part{number: number, void: true, start: segment.At(number, 0), end: segment.At(number, 0)})
		}
		return
	}
	p := &part{number: number, start: head.Start, created: head.CreatedAt}
	if next, sealed := ends[number]; sealed {
		p.finish(next.PreviousEnd, next.Rows)
	} else if number != newest {
		p.void, p.end = true, p.start
	}
	r.parts = append(r.parts, p)
}

// before rebuilds the windows as they were when the newest segment began, without what was forgotten since,
// reading of the older segments only those that hold entries of a window.
func (r *recovery) before(newest *part, rows []segment.Row) error {
	for i := range rows {
		r.shard(rows[i].Shard).applied = rows[i].Applied
	}
	for _, p := range r.parts {
		if p.void || p == newest || !slices.ContainsFunc(rows, func(row segment.Row) bool {
			held := p.held[row.Shard]
			return row.First != 0 && held.Touches(row.First, row.Last)
		}) {
			continue
		}
		if err := r.sealed(p, rows); err != nil {
			return err
		}
	}
	for i := range rows {
		row := &rows[i]
		w := &r.shard(row.Shard).window
		if row.First == 0 {
			w.forget(w.last())
		} else {
			w.forget(row.First - 1)
			w.truncate(row.Last + 1) // a segment whose only marker supersedes what lies after the window was not read
		}
		if w.begin() != row.First || w.last() != row.Last {
			return &CorruptError{
				File:   r.path(newest.number),
				Wanted: fmt.Sprintf("entries %d to %d of shard %d in the segments before", row.First, row.Last, row.Shard),
				Found:  fmt.Sprintf("%d to %d", w.begin(), w.last()),
			}
		}
	}
	return nil
}

// sealed reads the headers of a segment whose end is known.
func (r *recovery) sealed(p *part, rows []segment.Row) error {
	h, err := r.log.readers.get(p.number)
	if err != nil {
		return err
	}
	defer r.log.readers.put(h)
	firsts := map[record.Shard]record.Index{}
	for i := range rows {
		firsts[rows[i].Shard] = rows[i].First
	}
	_, from := segment.Split(p.start)
	_, to := segment.Split(p.end)
	for c := segment.NewCursor(h.File, from, to); ; {
		header, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if first := firsts[header.Shard]; first == 0 || header.Index < first && !header.IsMarker() {
			continue
		}
		f := r.shard(header.Shard)
		// Entries of a window follow each other in the log. One whose predecessor is not there was superseded later, as
		// what lay between was: that segment was removed, or need not be read.
		if i := header.Index; !header.IsMarker() && !header.IsBackfill() && f.window.count > 0 && i != f.window.last()+1 {
			if i > f.window.last() {
				continue
			}
			f.window.truncate(i)
		}
		f.apply(&header)
	}
}

// apply changes the window as the record did when it was written.
func (f *recovered) apply(h *segment.Header) {
	f.applied = max(f.applied, h.Applied)
	switch {
	case h.Kind == segment.KindTruncate:
		f.window.truncate(h.Index)
	case h.Kind == segment.KindFirst:
		f.window.forget(h.Index - 1)
	case !h.IsMarker() && !h.IsBackfill():
		f.window.push(h.Index, slot{
			position: h.Position, term: h.Term, payloadBytes: h.PayloadBytes,
			tailBytes: h.TailBytes, tailCRC: h.TailCRC, kind: h.Kind,
		})
	}
}

// findEnd finds where valid data of the segment that was written last ends, and takes from the rows' windows
// what was forgotten or superseded in it: older segments need not have that any more.
func (r *recovery) findEnd(p *part, rows []segment.Row) error {
	file, size, done, err := r.open(p.number)
	if err != nil {
		return err
	}
	defer func() { _ = done.Close() }() // it was only read
	_, from := segment.Split(p.start)
	found, err := segment.Recover(file, from, size, func(header *segment.Header, _ segment.Superseded) error {
		if header.Kind == segment.KindTruncate {
			f := r.shard(header.Shard)
			f.cuts = append(f.cuts, cut{position: header.Position, index: header.Index})
		}
		for i := range rows {
			if rows[i].Shard == header.Shard {
				narrow(&rows[i], header)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.number, r.seal = p.number, found.Dirty
	r.end = segment.At(p.number, max(found.End, from))
	r.hinted = max(found.Durable, p.start)
	if found.Dirty {
		r.log.config.Logger.Warn("the log has a torn tail, as a crash leaves it: a new segment begins after it",
			"file", file.Path, "valid_bytes", found.End)
	}
	return nil
}

// narrow takes from a window what a later marker took from it.
func narrow(row *segment.Row, h *segment.Header) {
	switch {
	case row.First == 0:
	case h.Kind == segment.KindFirst:
		row.First = max(row.First, h.Index)
	case h.Kind == segment.KindTruncate:
		row.Last = min(row.Last, h.Index-1)
	}
	if row.First > row.Last {
		row.First, row.Last = 0, 0
	}
}

// replay applies the records of the newest segment to the windows.
func (r *recovery) replay(p *part) error {
	h, err := r.log.readers.get(p.number)
	if err != nil {
		return err
	}
	defer r.log.readers.put(h)
	_, from := segment.Split(p.start)
	_, to := segment.Split(r.end)
	for c := segment.NewCursor(h.File, from, to); ; {
		offset := c.Offset()
		header, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Kind == segment.KindNote {
			continue
		}
		f := r.shard(header.Shard)
		var superseded segment.Superseded
		if header.IsMarker() {
			if superseded, err = h.ReadSuperseded(&header); err != nil {
				return err
			}
		}
		f.held.Add(&header, superseded)
		if f.superseded(&header) {
			continue
		}
		if last := f.window.last(); !header.IsMarker() && !header.IsBackfill() && last != 0 && header.Index != last+1 {
			return &CorruptError{
				File: h.Path, Offset: offset,
				Wanted: fmt.Sprintf("entry %d of shard %d", last+1, header.Shard), Found: fmt.Sprintf("entry %d", header.Index),
			}
		}
		f.apply(&header)
	}
}

// spares looks at the files after the newest segment: prepared ones are all zero and will be used; what else is there
// was being written when the process ended.
func (r *recovery) spares(newest int64) error {
	for _, number := range r.numbers {
		if number <= newest {
			continue
		}
		file, size, done, err := r.open(number)
		if err != nil {
			return err
		}
		dirty, witness, err := segment.Witness(file, 0, size, r.end)
		_ = done.Close() // it was only read
		switch {
		case err != nil:
			return fmt.Errorf("read segment %s: %w", file.Path, err)
		case witness != nil:
			return r.bad[number]
		case dirty:
			r.number, r.seal = number, true
		}
	}
	// A file under the number of a removed segment would be removed by the next start.
	if n := len(r.log.removed.intervals); n > 0 && r.log.removed.intervals[n-1].through > r.number {
		r.number, r.seal = r.log.removed.intervals[n-1].through, true
	}
	for _, number := range r.numbers {
		if number > newest && number <= r.number {
			r.parts = append(r.parts, &part{number: number, void: true, start: segment.At(number, 0), end: segment.At(number, 0)})
		}
	}
	return nil
}

// settle makes what was found durable, since a process that was killed may have left it
// in the system's memory only, and opens the newest segment for writing if it goes on there.
func (r *recovery) settle(newest *part) error {
	path := r.path(newest.number)
	file, err := r.log.config.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open segment %s: %w", path, err)
	}
	if err := file.SyncData(); err != nil {
		return errors.Join(fmt.Errorf("sync segment %s: %w", path, err), file.Close())
	}
	if err := segment.SyncDir(r.log.config.FS, r.log.config.Dir); err != nil {
		return errors.Join(err, file.Close())
	}
	if !r.seal {
		r.file = file
		return nil
	}
	return file.Close()
}
