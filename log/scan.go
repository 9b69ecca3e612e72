package log

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

const (
	// scanSpan is how many indexes a scan looks at in one pass over the segments that hold them.
	scanSpan = 32 << 10
	// backfillAhead is how far Backfill may be ahead of the disk, in bytes.
	backfillAhead = 4 << 20
)

// Scan visits the entries in [from, through] that are retained and final, in order of index: also those before
// the window and those that were backfilled; of an index that was written several times the last one that was not superseded. It
// waits until all that was queued before is durable, so that it sees that too. What retention removes meanwhile is not
// retained: it may be visited or not. The tail is checked and belongs to Scan again when visit returns. An error of visit ends the scan and is returned as it is.
func (s *Shard) Scan(from, through record.Index, visit func(info EntryInfo, tail []byte) error) error {
	if err := s.log.writer.waitForAll(); err != nil {
		return err
	}
	low, high := s.retained()
	from, through = max(from, low), min(through, high)
	if low == 0 {
		return nil
	}
	var tail []byte
	for span := from; span <= through && span >= from; span += scanSpan {
		found, err := s.collect(span, min(through, span+scanSpan-1))
		if err != nil {
			return fmt.Errorf("scan entries %d to %d of shard %d: %w", from, through, s.number, err)
		}
		for i := range found {
			h := &found[i]
			if h.Index == 0 {
				continue
			}
			tail, err = s.readTail(h, tail)
			if number, _ := segment.Split(h.Position); s.log.isRemoved(number, err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("scan entry %d of shard %d: %w", h.Index, s.number, err)
			}
			if err := visit(infoOf(h), tail); err != nil {
				return err
			}
		}
	}
	return nil
}

func infoOf(h *segment.Header) EntryInfo {
	return EntryInfo{Index: h.Index, Term: h.Term, Kind: h.Kind, Bytes: h.PayloadBytes, Position: h.Position}
}

// ScanSegment visits all entries of the shard that lie in one segment and are durable, in the order in which they were written:
// also backfilled ones, those that are not committed yet, and those that were superseded. Tail and errors are as with Scan.
func (s *Shard) ScanSegment(number int64, visit func(info EntryInfo, tail []byte) error) error {
	for _, p := range s.log.writer.held(s.number) {
		if p.number != number || p.held.Low == 0 {
			continue
		}
		r, err := s.log.readers.get(number)
		if s.log.isRemoved(number, err) {
			return nil
		}
		if err != nil {
			return err
		}
		defer s.log.readers.put(r)
		return s.visitPart(r, &p, visit)
	}
	return nil
}

func (s *Shard) visitPart(r *reader, p *heldPart, visit func(info EntryInfo, tail []byte) error) error {
	var tail []byte
	_, at := segment.Split(p.start)
	_, to := segment.Split(p.end)
	for c := segment.NewCursor(r.File, at, to); ; {
		h, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Kind == segment.KindNote || h.IsMarker() || h.Shard != s.number {
			continue
		}
		if tail, err = r.ReadTail(&h, tail); err != nil {
			return fmt.Errorf("scan entry %d of shard %d: %w", h.Index, s.number, err)
		}
		if err := visit(infoOf(&h), tail); err != nil {
			return err
		}
	}
}

func (s *Shard) readTail(h *segment.Header, dst []byte) ([]byte, error) {
	r, err := s.log.reader(h.Position)
	if err != nil {
		return dst, err
	}
	defer s.log.readers.put(r)
	return r.ReadTail(h, dst)
}

// isRemoved reports whether err says that a segment's file is not there because it was removed meanwhile.
func (l *Log) isRemoved(number int64, err error) bool {
	if !errors.Is(err, ErrNotFound) {
		return false
	}
	l.writer.mu.Lock()
	defer l.writer.mu.Unlock()
	return !slices.ContainsFunc(l.writer.parts, func(p *part) bool { return p.number == number })
}

// RetainedFirst returns the lowest index that is on disk, backfilled ones included, 0 when there is none.
func (s *Shard) RetainedFirst() record.Index {
	low, _ := s.retained()
	return low
}

func (s *Shard) retained() (low, high record.Index) {
	for _, p := range s.log.writer.held(s.number) {
		if p.held.Low == 0 {
			continue
		}
		if low == 0 || p.held.Low < low {
			low = p.held.Low
		}
		high = max(high, p.held.High)
	}
	return low, high
}

// heldPart is what a segment holds of one shard.
type heldPart struct {
	number     int64
	start, end record.Position // of what is durable
	held       segment.Held
}

// held lists the segments that hold anything of a shard, in order.
func (w *writer) held(shard record.Shard) []heldPart {
	w.mu.Lock()
	defer w.mu.Unlock()
	durable := record.Position(w.durable.Load())
	var parts []heldPart
	for _, p := range w.parts {
		h := heldPart{number: p.number, start: p.start, end: p.end}
		switch {
		case p.void || p.start >= durable:
			continue
		case p.end != 0:
			h.held = p.held[shard]
		case w.marks[shard] != nil:
			h.held = w.marks[shard].held
		}
		if h.end == 0 || h.end > durable {
			h.end = durable
		}
		if h.held.Low != 0 || h.held.Superseded.From != 0 {
			parts = append(parts, h)
		}
	}
	return parts
}

// collect returns the headers of the final entries in [from, through], at their place
// from index from on; those that are not retained have index 0.
func (s *Shard) collect(from, through record.Index) ([]segment.Header, error) {
	found := make([]segment.Header, through-from+1)
	parts := s.log.writer.held(s.number)
	for len(parts) > 0 {
		p := &parts[0]
		parts = parts[1:]
		if !p.held.Touches(from, through) {
			continue
		}
		err := s.collectPart(p, from, found)
		switch {
		case s.log.isRemoved(p.number, err):
			// It may have told what is superseded in an older one, which then was removed before: look at what is left.
			clear(found)
			parts = s.log.writer.held(s.number)
		case err != nil:
			return nil, err
		}
	}
	return found, nil
}

func (s *Shard) collectPart(p *heldPart, from record.Index, found []segment.Header) error {
	r, err := s.log.readers.get(p.number)
	if err != nil {
		return err
	}
	defer s.log.readers.put(r)
	through := from + record.Index(len(found)) - 1
	_, at := segment.Split(p.start)
	_, to := segment.Split(p.end)
	for c := segment.NewCursor(r.File, at, to); ; {
		h, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case h.Kind == segment.KindNote || h.Shard != s.number:
		case h.IsMarker():
			marker := h
			superseded, err := r.ReadSuperseded(&marker)
			if err != nil {
				return err
			}
			if superseded.From == 0 {
				continue
			}
			for i := max(from, superseded.From); i <= min(through, superseded.Last); i++ {
				if !found[i-from].IsBackfill() {
					found[i-from] = segment.Header{}
				}
			}
		case h.Index >= from && h.Index <= through:
			// A backfilled entry is final. What Raft appends at its place meanwhile is the same, or will be taken back.
			if h.IsBackfill() || !found[h.Index-from].IsBackfill() {
				found[h.Index-from] = h
			}
		}
	}
}

// Backfill writes entries that a peer had and this node had not, older than the window. They are
// found by Scan and PinAt and never become part of the window. Backfill blocks while it is
// far ahead of the disk; WaitBackfill tells when all is durable.
//
// What is backfilled is final: entries of the window at the same indexes do not replace it for Scan, whether
// they were appended before or after it and whether Truncate drops them. (A follower must keep what it has
// acknowledged until everything that supersedes it is durable, so it truncates afterwards.)
func (s *Shard) Backfill(entries []Entry) error {
	items, err := s.prepare(entries, segment.FlagBackfill)
	if err != nil || len(items) == 0 {
		return err
	}
	if err := s.log.writer.submit(items); err != nil {
		release(items)
		return err
	}
	return s.log.writer.waitFor(items[0].header.Position - backfillAhead)
}

// WaitBackfill blocks until everything that was backfilled, and all that was queued before, is written and synced.
func (s *Shard) WaitBackfill() error { return s.log.writer.waitForAll() }
