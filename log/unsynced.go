package log

import "time"

// unsynced is what is queued, of all shards, and not yet synced. The writer's mutex guards it.
type unsynced struct {
	queued, writing group
}

// A group is what becomes durable by one sync.
type group struct {
	bytes int64
	since time.Time // when its first record was queued; zero when it has none
}

// waiting counts a record that was queued.
func (u *unsynced) waiting(bytes int64) {
	if u.queued.bytes == 0 {
		u.queued.since = time.Now()
	}
	u.queued.bytes += bytes
}

// taken says that everything that is queued is being written.
func (u *unsynced) taken() { u.queued, u.writing = group{}, u.queued }

// settled says that what was being written is synced.
func (u *unsynced) settled() { u.writing = group{} }

// Unsynced tells since when the oldest entry or marker that is queued waits for its
// sync, zero when none does, and why it will wait for ever once the log has failed or was closed.
func (l *Log) Unsynced() (since time.Time, err error) {
	w := l.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if since = w.writing.since; since.IsZero() {
		since = w.queued.since
	}
	return since, l.failing.err()
}

// WaitUnsynced blocks while more than limit bytes of all shards are queued and not yet synced:
// they are in memory, and nothing else bounds how many Append queues. It returns the log's failure, or ErrClosed.
func (l *Log) WaitUnsynced(limit int64) error {
	w := l.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.queued.bytes+w.writing.bytes > limit {
		if err := l.failing.err(); err != nil {
			return err
		}
		w.synced.Wait()
	}
	return nil
}
