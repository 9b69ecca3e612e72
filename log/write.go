package log

import (
	"fmt"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// write writes the items where they belong, with one call for all in a segment if that can be, and syncs. A group that
// consists of notes is not synced unless it must be: they only make a later recovery more certain.
func (w *writer) write(items []item, sync bool) error {
	for i := range items {
		it := &items[i]
		if it.head != nil {
			if err := w.begin(it.head); err != nil {
				return err
			}
		}
		if err := w.add(it.data, it.header.Size(), it.header.Position); err != nil {
			return err
		}
		sync = sync || it.header.Kind != segment.KindNote
	}
	w.stats.records.Add(int64(len(items)))
	if err := w.flush(); err != nil || !sync {
		return err
	}
	return w.sync()
}

// add collects bytes, padded to size, for the place that follows what is collected, and writes when there is enough.
func (w *writer) add(data []byte, size int64, at record.Position) error {
	if len(w.gather.buffers) == 0 {
		_, offset := segment.Split(at)
		w.gather.reset(offset)
	}
	for data, size = w.gather.add(data, size, w.file.alignment); size > 0; data, size = w.gather.add(data, size, w.file.alignment) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is collected with one call.
func (w *writer) flush() error {
	g := &w.gather
	if len(g.buffers) == 0 {
		return nil
	}
	w.guard.Begin("a write to the log", g.bytes)
	err := w.file.write(w.log, g.buffers, g.offset)
	w.guard.End()
	w.stats.writes.Add(1)
	if err != nil {
		return fmt.Errorf("write %d bytes at %d of the active segment: %w", g.bytes, g.offset, err)
	}
	w.stats.bytes.Add(g.bytes)
	g.reset(g.offset + g.bytes)
	return nil
}

// underWay returns how many bytes the group has that is being written.
func (w *writer) underWay() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writing.bytes
}

func (w *writer) sync() error {
	w.guard.Begin("a sync of the log", w.underWay())
	began := time.Now()
	err := w.file.SyncData()
	w.stats.syncNanos.Add(int64(time.Since(began)))
	w.guard.End()
	w.stats.syncs.Add(1)
	if err != nil {
		return fmt.Errorf("sync the active segment: %w", err)
	}
	w.next.earn()
	return nil
}

// begin goes on to the next segment, after everything in the present one is synced: its
// head says that it is.
func (w *writer) begin(head []byte) error {
	if w.file != nil {
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.sync(); err != nil {
			return err
		}
		if err := w.file.Close(); err != nil {
			return fmt.Errorf("close a full segment: %w", err)
		}
		w.file = nil
	}
	w.guard.Begin("the preparation of a new segment of the log", 0)
	file, err := w.next.take()
	w.guard.End()
	if err != nil {
		return fmt.Errorf("begin a new segment: %w", err)
	}
	w.file = file
	w.stats.created.Add(1)
	w.gather.reset(0)
	return w.add(head, int64(len(head)), 0)
}
