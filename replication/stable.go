package replication

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

const (
	keyCurrentTerm = "CurrentTerm" // raft's names
	keyVoteTerm    = "LastVoteTerm"
	keyVoteFor     = "LastVoteCand"
	keyVote        = "Vote"     // term u64 and candidate, together
	keyStarted     = "Started"  // this store was made by a start of the group
	keyAppended    = "Appended" // the log has held an entry
	keyBackfill    = "Backfill" // from, through index u64: fetched from a peer and durable
	keyInstall     = "Install"  // index, term of a snapshot and what was final here before it, u64
	stableName     = "vote"     // in the group's folder
	snapshotsName  = "snapshots"
	diskPatience   = 2 * time.Second
)

// stableStore is raft's StableStore. Raft writes a vote as two values; a crash in
// between would leave the new term with the old candidate, who could then be voted
// for without a look at its log. So the term waits in memory for the candidate, and
// both are written as one value.
type stableStore struct {
	stable  *log.Stable
	failure *failure
	guard   *log.Watchdog
	busy    chan struct{} // a lock that time can pass under; it guards voteTerm and all use of stable

	voteTerm uint64 // of a vote whose candidate has not come yet
}

func newStableStore(stable *log.Stable, failure *failure) *stableStore {
	return &stableStore{stable: stable, failure: failure, guard: log.NewWatchdog(diskPatience, failure.fatal), busy: make(chan struct{}, 1)}
}

func (s *stableStore) lock()   { s.busy <- struct{}{} }
func (s *stableStore) unlock() { <-s.busy }

// write stores durably or does not return before the instance is closed.
func (s *stableStore) write(key string, value []byte) error {
	s.guard.Begin("to store "+key+" of raft", 0)
	err := s.stable.Set([]byte(key), value)
	s.guard.End()
	if err != nil {
		s.failure.stop(fmt.Errorf("store %s of raft: %w", key, err))
	}
	return nil
}

// Set implements raft.StableStore.
func (s *stableStore) Set(key, value []byte) error {
	s.lock()
	defer s.unlock()
	if string(key) != keyVoteFor {
		return s.write(string(key), value)
	}
	return s.write(keyVote, append(binary.LittleEndian.AppendUint64(nil, s.voteTerm), value...))
}

// SetUint64 implements raft.StableStore.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	s.lock()
	defer s.unlock()
	if string(key) == keyVoteTerm {
		s.voteTerm = value
		return nil
	}
	if old, err := s.getUint64(string(key)); err == nil && old == value {
		return nil
	}
	return s.write(string(key), binary.LittleEndian.AppendUint64(nil, value))
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	s.lock()
	defer s.unlock()
	if string(key) != keyVoteFor {
		return s.stable.Get(key)
	}
	vote, err := s.stable.Get([]byte(keyVote))
	if err != nil || len(vote) < 8 {
		return nil, err
	}
	return vote[8:], nil
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	s.lock()
	defer s.unlock()
	if string(key) == keyVoteTerm {
		return s.getUint64(keyVote)
	}
	return s.getUint64(string(key))
}

func (s *stableStore) getUint64(key string) (uint64, error) {
	value, err := s.stable.Get([]byte(key))
	if err != nil || len(value) < 8 {
		return 0, err
	}
	return binary.LittleEndian.Uint64(value), nil
}

// hasVoted tells whether this node has given its vote in the term.
func (s *stableStore) hasVoted(term uint64) bool {
	voted, err := s.GetUint64([]byte(keyVoteTerm))
	return err == nil && voted == term
}

// mark stores that something has happened, once.
func (s *stableStore) mark(key string) error { return s.SetUint64([]byte(key), 1) }

func (s *stableStore) marked(key string) (bool, error) {
	n, err := s.GetUint64([]byte(key))
	return n > 0, err
}

// setBackfill remembers which entries were fetched and are durable.
func (s *stableStore) setBackfill(from, through uint64) error {
	value := binary.LittleEndian.AppendUint64(nil, from)
	return s.Set([]byte(keyBackfill), binary.LittleEndian.AppendUint64(value, through))
}

func (s *stableStore) backfill() (from, through uint64, err error) {
	value, err := s.Get([]byte(keyBackfill))
	if err != nil || len(value) != 16 {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint64(value[8:]), nil
}

// setInstall remembers, before a snapshot of a peer gets its name, up to where this node's own entries are final:
// the machine, whose state may be older after a crash, cannot tell any more. Raft does not run.
func (s *stableStore) setInstall(index, term uint64, applied record.Index) error {
	value := binary.LittleEndian.AppendUint64(nil, index)
	value = binary.LittleEndian.AppendUint64(value, term)
	return s.stable.Set([]byte(keyInstall), binary.LittleEndian.AppendUint64(value, uint64(applied)))
}

// install returns what setInstall has remembered of the snapshot. ok is false when that came about otherwise.
func (s *stableStore) install(meta *snapshotMeta) (applied record.Index, ok bool, err error) {
	value, err := s.Get([]byte(keyInstall))
	if err != nil || len(value) != 24 {
		return 0, false, err
	}
	index, term := binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint64(value[8:])
	return record.Index(binary.LittleEndian.Uint64(value[16:])), index == meta.Index && term == meta.Term, nil
}
