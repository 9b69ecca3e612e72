package replication

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

// stallTimeout is after how long a store that hangs is no leader's any more: its
// heartbeats stop, so that the others elect one. The log's own watchdog ends the
// process soon after.
const stallTimeout = time.Second

// maxUnsynced is how many bytes may be queued for this node's disk, of all shards, before
// StoreLogs waits for it: they lie in memory, beside the tail.
const maxUnsynced = 8 << 20

// corruptPause lies between two times that somebody is told of an entry that cannot be read.
const corruptPause = 5 * time.Second

// heldEntries is how many entries stay at hand for a follower that is behind and
// connected, so that it need not begin again with a newer snapshot.
const heldEntries = 128 << 10

// store is raft's LogStore over one shard of the node's log. Commands come and go
// without their payload: raft needs only index, term and kind of them. It may be
// used from any goroutine, as raft does.
type store struct {
	log       *log.Log
	shard     *log.Shard
	pool      *frame.Pool
	stable    *stableStore
	snapshots *snapshots
	failure   *failure
	needed    func() record.Index // the first entry that a connected follower may ask for, 0 for none
	corrupt   func(error)         // told, now and then, that an entry that a follower lacks cannot be read here
	told      atomic.Int64        // when it was, in ns since 1970
	appended  atomic.Bool         // keyAppended is stored
	own       bool                // raft's own entries pass early; see gates
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (uint64, error) { return uint64(s.shard.First()), nil }

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (uint64, error) { return uint64(s.shard.Last()), nil }

// GetLog implements raft.LogStore. Commands have no Data. The entry at the newest
// snapshot's index is known by index and term even when it is outside the window:
// without it a follower that has forgotten everything before a diverged suffix could
// never tell its leader where they agree.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	info, err := s.shard.Info(record.Index(index))
	if errors.Is(err, log.ErrNotFound) {
		if meta := s.snapshots.newest(); meta != nil && meta.Index == index && index > 1 {
			*l = raft.Log{Index: index, Term: meta.Term, Type: raft.LogNoop}
			return nil
		}
		return raft.ErrLogNotFound
	}
	if err == nil {
		*l = raft.Log{Index: index, Term: uint64(info.Term), Type: raft.LogType(info.Kind)}
		if l.Type != raft.LogConfiguration {
			return nil
		}
		var e transport.Entry
		if e, err = s.pin(record.Index(index), info.Term, l.Type); err == nil {
			l.Data = append([]byte(nil), e.Payload...)
			if e.Frame != nil {
				e.Frame.Release()
			}
			return nil
		}
		if errors.Is(err, log.ErrNotFound) { // forgotten meanwhile
			return raft.ErrLogNotFound
		}
	}
	// Raft panics or stalls on any other error.
	s.failure.stop(fmt.Errorf("read raft entry %d: %w", index, err))
	*l = raft.Log{Index: index, Type: raft.LogNoop}
	return nil
}

// pin returns an entry with its payload, for the transport.
func (s *store) pin(index record.Index, term record.Term, kind raft.LogType) (transport.Entry, error) {
	e := transport.Entry{Index: uint64(index), Term: uint64(term), Kind: kind}
	if kind == raft.LogNoop || kind == raft.LogBarrier {
		return e, nil
	}
	var err error
	e.Payload, e.Frame, err = s.shard.Pin(index, term)
	if _, ok := errors.AsType[*log.CorruptError](err); ok {
		now, before := time.Now().UnixNano(), s.told.Load()
		if now-before > int64(corruptPause) && s.told.CompareAndSwap(before, now) {
			s.corrupt(err)
		}
	}
	return e, err
}

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. Commands are queued for the disk, and raft goes
// on as if they were there. Until they are, three gates keep that from others:
// the success of an append is answered, an entry is applied, and a commit index is
// told to followers only up to what is durable on this node (waitDurable, durable).
// With any other entry it returns when it and all before are durable, so that a new leader
// counts for itself, and a configuration counts, only then.
func (s *store) StoreLogs(logs []*raft.Log) error {
	entries := make([]log.Entry, len(logs))
	for i, l := range logs {
		entries[i] = log.Entry{
			Index: record.Index(l.Index), Term: record.Term(l.Term), Kind: uint8(l.Type),
			Payload: l.Data, Frame: s.pool.Find(l.Extensions),
		}
	}
	err := s.shard.Append(entries)
	marked := s.appended.Load()
	if err == nil {
		if marked && (s.own || onlyCommands(logs)) {
			err = s.log.WaitUnsynced(maxUnsynced)
		} else {
			err = s.shard.WaitDurable(entries[len(entries)-1].Index)
		}
	}
	if err == nil && !marked {
		err = s.stable.mark(keyAppended)
		s.appended.Store(true)
	}
	if err != nil {
		err = fmt.Errorf("store raft entries from %d on: %w", logs[0].Index, err)
		s.failure.stop(err)
	}
	return err
}

func onlyCommands(logs []*raft.Log) bool {
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			return false
		}
	}
	return true
}

// waitDurable waits until the entry of that index and term is durable here. The error
// wraps log.ErrNotFound when the log has another entry there, or none, by now; any other
// is the disk's, and ends the node. What a snapshot covers is durable in it.
func (s *store) waitDurable(index record.Index, term record.Term) error {
	if meta := s.snapshots.newest(); index == 0 || meta != nil && index <= record.Index(meta.Index) {
		return nil
	}
	err := s.shard.WaitDurableIn(index, term)
	if err != nil {
		err = fmt.Errorf("wait for raft entry %d: %w", index, err)
		if !errors.Is(err, log.ErrNotFound) {
			s.failure.stop(err)
		}
	}
	return err
}

// durable lowers a commit index to what is durable here.
func (s *store) durable(commit record.Index) record.Index { return min(commit, s.shard.Durable()) }

// isStalled reports whether the disk hangs or failed.
func (s *store) isStalled() bool {
	if s.failure.reason() != nil {
		return true
	}
	since, err := s.log.Unsynced()
	return err != nil || !since.IsZero() && time.Since(since) > stallTimeout
}

// DeleteRange implements raft.LogStore. Raft calls it for two things that differ
// here: a compaction forgets a prefix, whose files stay; a conflict takes a suffix
// back. A suffix always begins after the newest snapshot.
func (s *store) DeleteRange(low, high uint64) error {
	var err error
	if meta := s.snapshots.newest(); meta != nil && high <= meta.Index {
		if through := s.forgettable(record.Index(high)); through >= record.Index(low) {
			err = s.shard.Forget(through)
		}
	} else {
		err = s.shard.Truncate(record.Index(low))
	}
	if err != nil {
		err = fmt.Errorf("delete raft entries %d to %d: %w", low, high, err)
		s.failure.stop(err)
	}
	return err
}

// compact forgets what the newest snapshot covers and lies in segments up to that number, trailing entries or not.
func (s *store) compact(segment int64) error {
	first, meta := s.shard.First(), s.snapshots.newest()
	if first == 0 || meta == nil {
		return nil
	}
	high := min(record.Index(meta.Index), s.shard.LastUpTo(segment))
	if high < first {
		return nil
	}
	if high == s.shard.Last() {
		s.shard.SetApplied(high) // raft's own entries at the end, which no machine is told of, are final too
	}
	return s.DeleteRange(uint64(first), uint64(high))
}

// forgettable lowers the end of a compaction for followers that are behind, within bounds.
func (s *store) forgettable(high record.Index) record.Index {
	needed := s.needed()
	if needed == 0 || needed > high {
		return high
	}
	if meta := s.snapshots.newest(); needed == high && meta != nil && record.Index(meta.Index) == high {
		return high // the entry before what they lack is known from the snapshot
	}
	last := s.shard.Last()
	return max(needed-1, min(high, last-min(last, heldEntries)))
}

// agrees says what is at the snapshot's index in the window: whether there is
// an entry, and whether it is the one that the snapshot covers.
func (s *store) agrees(index, term uint64) (has, same bool) {
	info, err := s.shard.Info(record.Index(index))
	return err == nil, err == nil && uint64(info.Term) == term
}

// reconcile makes the window fit the newest snapshot, after a start or an install:
// entries that contradict it, or that end before it, are superseded by it.
// applied is the last index that is known to be final here.
func (s *store) reconcile(meta *snapshotMeta, applied record.Index) error {
	first, last := s.shard.First(), s.shard.Last()
	at := record.Index(meta.Index)
	if last == 0 {
		return nil
	}
	if first > at+1 {
		return fmt.Errorf("the log begins at entry %d and the newest snapshot ends at %d: what lies between is lost; empty the data folder so that the node comes back from its peers", first, at)
	}
	if _, same := s.agrees(meta.Index, meta.Term); same || first == at+1 {
		return nil
	}
	if from := max(first, min(at, applied)+1); from <= last {
		if err := s.shard.Truncate(from); err != nil {
			return fmt.Errorf("take back entries that contradict the snapshot at %d: %w", at, err)
		}
	}
	if last = s.shard.Last(); last != 0 {
		if err := s.shard.Forget(last); err != nil {
			return fmt.Errorf("forget entries before the snapshot at %d: %w", at, err)
		}
	}
	return nil
}
