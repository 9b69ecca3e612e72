package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/client"
)

// A Tx sees the database as it was at Begin, plus its own writes. It ends with Commit
// or Discard. Reads do not fail one by one: the first failure makes the whole
// transaction void, Err tells, and Commit refuses.
type Tx struct {
	database *Database
	snapshot *pebble.Snapshot
	writes   map[string][]byte // nil value: deleted
	err      error
}

// Begin starts a transaction.
func (d *Database) Begin() *Tx {
	return &Tx{database: d, snapshot: d.pebble.NewSnapshot(), writes: map[string][]byte{}}
}

// Err returns the first failure of a read or an encoding in this transaction.
func (t *Tx) Err() error { return t.err }

func (t *Tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Discard ends the transaction without a trace. After Commit it does nothing.
func (t *Tx) Discard() {
	if t.snapshot != nil {
		if err := t.snapshot.Close(); err != nil {
			t.fail(err)
		}
		t.snapshot = nil
	}
}

// Commit applies all writes at once and ends the transaction. It does not wait for the
// disk: see Database.Sync. The caller sees to it that no two transactions write what
// the other has read.
func (t *Tx) Commit() error {
	defer t.Discard()
	if t.err != nil {
		return t.err
	}
	batch := t.database.pebble.NewBatch()
	defer batch.Close() //nolint:errcheck // it was applied or it never was
	for key, value := range t.writes {
		var err error
		if value == nil {
			err = batch.Delete([]byte(key), nil)
		} else {
			err = batch.Set([]byte(key), value, nil)
		}
		if err != nil {
			return fmt.Errorf("write to state database %s: %w", t.database.path, err)
		}
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("write to state database %s: %w", t.database.path, err)
	}
	return nil
}

func (t *Tx) get(key []byte) ([]byte, bool) {
	if value, written := t.writes[string(key)]; written {
		return value, value != nil
	}
	value, closer, err := t.snapshot.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false
	}
	if err != nil {
		t.fail(fmt.Errorf("read from state database %s: %w", t.database.path, err))
		return nil, false
	}
	defer closer.Close()
	return bytes.Clone(value), true
}

func (t *Tx) set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.writes[string(key)] = value
}

func (t *Tx) delete(key []byte) { t.writes[string(key)] = nil }

// scan yields the rows from start (included) to end (excluded) in key order. Bytes are
// valid until the next step.
func (t *Tx) scan(start, end []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		var own []string
		for key := range t.writes {
			if key >= string(start) && key < string(end) {
				own = append(own, key)
			}
		}
		slices.Sort(own)
		stored, err := t.snapshot.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
		if err != nil {
			t.fail(fmt.Errorf("scan state database %s: %w", t.database.path, err))
			return
		}
		defer func() {
			if err := stored.Close(); err != nil {
				t.fail(fmt.Errorf("scan state database %s: %w", t.database.path, err))
			}
		}()
		for valid := stored.First(); valid || len(own) > 0; {
			if len(own) > 0 && (!valid || own[0] <= string(stored.Key())) {
				if valid && own[0] == string(stored.Key()) {
					valid = stored.Next()
				}
				key := own[0]
				own = own[1:]
				if value := t.writes[key]; value != nil && !yield([]byte(key), value) {
					return
				}
				continue
			}
			if !yield(stored.Key(), stored.Value()) {
				return
			}
			valid = stored.Next()
		}
	}
}

// SetFolded says that a folded topic's partition was folded up to next.
func (t *Tx) SetFolded(topic string, partition int32, next int64) {
	t.set(checkpointKey(spaceFolded, topic, partition), binary.BigEndian.AppendUint64(nil, uint64(next)))
}

// SetInput says that an input topic's partition was dealt with up to next.
func (t *Tx) SetInput(topic string, partition int32, next int64) {
	t.set(checkpointKey(spaceInput, topic, partition), binary.BigEndian.AppendUint64(nil, uint64(next)))
}

// Folded returns the cut that the domain rows stand at.
func (t *Tx) Folded() client.Cut { return t.checkpoints(spaceFolded) }

// Inputs returns how far the inputs were dealt with.
func (t *Tx) Inputs() client.Cut { return t.checkpoints(spaceInput) }

func (t *Tx) checkpoints(space byte) client.Cut {
	cut := client.Cut{}
	for key, value := range t.scan([]byte{space}, []byte{space + 1}) {
		topic, partition, err := parseCheckpointKey(key)
		if err == nil && len(value) != 8 {
			err = fmt.Errorf("checkpoint of %d bytes: %w", len(value), errKey)
		}
		if err != nil {
			t.fail(fmt.Errorf("read checkpoint from state database %s: %w", t.database.path, err))
			return cut
		}
		cut.Set(topic, partition, int64(binary.BigEndian.Uint64(value)))
	}
	return cut
}

// CopyUnderivable copies into t what a rebuild cannot derive from the folded topics:
// the inputs' checkpoints and the records put aside.
func (t *Tx) CopyUnderivable(from *Tx) error {
	for _, space := range []byte{spaceInput, spaceAside} {
		for key, value := range from.scan([]byte{space}, []byte{space + 1}) {
			t.set(bytes.Clone(key), bytes.Clone(value))
		}
	}
	return from.Err()
}
