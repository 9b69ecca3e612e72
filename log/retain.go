package log

import (
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// SegmentInfo describes one segment file.
type SegmentInfo struct {
	Number    int64
	Start     record.Position // of the first record
	End       record.Position // after the last one; Start when the file holds no valid data
	Bytes     int64           // from Start to End
	Sealed    bool            // nothing will be written to it any more
	Void      bool            // recovery passed it over: what is in it cannot be read, and it stays for ever
	CreatedAt time.Time       // zero when the file holds no valid data
}

// Segments lists the files, oldest first; the last one may not be on disk yet.
func (l *Log) Segments() []SegmentInfo {
	w := l.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	infos := make([]SegmentInfo, len(w.parts))
	for i, p := range w.parts {
		infos[i] = SegmentInfo{Number: p.number, Start: p.start, End: p.end, Sealed: p.end != 0, Void: p.void, CreatedAt: p.created}
		if p.end == 0 {
			infos[i].End = w.end
		}
		infos[i].Bytes = int64(infos[i].End - p.start)
	}
	return infos
}

// Active returns the number of the segment that is written to, or of the one before the first.
func (l *Log) Active() int64 {
	l.writer.mu.Lock()
	defer l.writer.mu.Unlock()
	return l.writer.number
}

// Remove deletes a segment of which retention decided that nothing in it is live. The
// decision is durable before the file goes. The error wraps ErrNeeded for the active segment, for one that holds
// entries of a window, for one without which superseded entries in an older segment would look
// final, and for one that cannot be read; it wraps ErrNotFound when there is no such segment. A sync that fails ends the log.
func (l *Log) Remove(number int64) error {
	l.removing <- struct{}{}
	defer func() { <-l.removing }()
	// What was forgotten must be known after a crash before what it was in is gone.
	if err := l.writer.waitForAll(); err != nil {
		return fmt.Errorf("remove segment %d: %w", number, err)
	}
	if err := l.writer.removable(number); err != nil {
		return fmt.Errorf("remove segment %d: %w", number, err)
	}
	head, err := l.readHead(number)
	if err != nil {
		return fmt.Errorf("remove segment %d: %w", number, err)
	}
	if err := l.removed.add(number, head); err != nil {
		return l.unsure(fmt.Errorf("remove segment %d: %w", number, err))
	}
	l.writer.drop(number)
	l.ahead.forget(number)
	l.readers.forget(number)
	fs, dir := l.config.FS, l.config.Dir
	if err := fs.Remove(fs.PathJoin(dir, segment.Name(number))); err != nil {
		return fmt.Errorf("remove segment %d: %w", number, err)
	}
	l.stats.removed.Add(1)
	return l.unsure(segment.SyncDir(fs, dir))
}

// unsure ends the log if an error is of a sync that failed, and returns the error.
func (l *Log) unsure(err error) error {
	if errors.Is(err, segment.ErrSync) {
		l.fail(err)
	}
	return err
}

// readHead returns a segment's head, nil when it has no valid one.
func (l *Log) readHead(number int64) ([]byte, error) {
	h, err := l.readers.get(number)
	if err != nil {
		return nil, err
	}
	defer l.readers.put(h)
	head, err := segment.ReadHead(h.Source, h.Path, number)
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return head.Encode(), nil
}

// removable returns nil if nothing speaks against removing the segment.
func (w *writer) removable(number int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return ErrClosed
	}
	var found, next *part // next is the one whose head tells where this one ends and what it held
	for _, p := range w.parts {
		switch {
		case p.number == number:
			found = p
		case found != nil && next == nil && !p.void:
			next = p
		}
	}
	switch {
	case found == nil:
		return ErrNotFound
	case found.void:
		return fmt.Errorf("what is in it cannot be read: %w", ErrNeeded)
	case found.end == 0 || next == nil:
		return fmt.Errorf("it is being written: %w", ErrNeeded)
	case next.start >= record.Position(w.durable.Load()):
		return fmt.Errorf("the head of segment %d is not durable: %w", next.number, ErrNeeded)
	}
	for shard, held := range found.held {
		if m := w.marks[shard]; m != nil && m.first != 0 && held.Touches(m.first, m.last) {
			return fmt.Errorf("raft may ask for entries %d to %d of shard %d: %w", m.first, m.last, shard, ErrNeeded)
		}
		s := held.Superseded
		for _, p := range w.parts {
			before := p.held[shard]
			if p.number < number && p.number >= s.Segment && s.From != 0 && before.Touches(s.From, s.Last) {
				return fmt.Errorf("segment %d holds entries that it supersedes: %w", p.number, ErrNeeded)
			}
		}
	}
	return nil
}

func (w *writer) drop(number int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.parts {
		if p.number == number {
			w.parts = append(w.parts[:i:i], w.parts[i+1:]...)
			return
		}
	}
}
