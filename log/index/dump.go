package index

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Row is one row of the index in words, for people.
type Row struct {
	Kind string // applied, epoch, segment, state, owner, run or version
	Text string
}

// Dump visits every row of the index in dir in the order of keys, and every run, without
// changing anything. The node must be stopped.
func Dump(fs vfs.FS, dir string, visit func(Row) error) error {
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, ReadOnly: true, ErrorIfNotExists: true, FormatMajorVersion: pebble.FormatNewest, Logger: silent{},
	})
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return fmt.Errorf("no index in %s: %w", dir, err)
	}
	if err != nil {
		return fmt.Errorf("open index %s to read: %w", dir, err)
	}
	rows, err := db.NewIter(nil)
	if err != nil {
		return errors.Join(fmt.Errorf("read index %s: %w", dir, err), db.Close())
	}
	for ok := rows.First(); ok && err == nil; ok = rows.Next() {
		if key := rows.Key(); len(key) > 0 && key[0] == kindRun {
			err = describeRuns(key, rows.Value(), visit)
			continue
		}
		var row Row
		if row, err = describe(rows.Key(), rows.Value()); err == nil {
			err = visit(row)
		}
	}
	return errors.Join(err, rows.Close(), db.Close())
}

// describe turns one row into words.
func describe(key, value []byte) (Row, error) {
	if len(key) == 0 {
		return Row{}, corrupt(key, value)
	}
	switch key[0] {
	case kindApplied:
		if len(key) != 2 || len(value) != 8 {
			return Row{}, corrupt(key, value)
		}
		return Row{"applied", fmt.Sprintf("shard %d index %d", key[1], order.Uint64(value))}, nil
	case kindOwner:
		shard, partition, err := parseOwnerKey(key)
		return Row{"owner", fmt.Sprintf("shard %d partition %d", shard, partition)}, err
	case kindEpoch:
		term, first, err := parseEpoch(key, value)
		if err != nil {
			return Row{}, err
		}
		return Row{"epoch", fmt.Sprintf("partition %d term %d from offset %d", order.Uint32(key[1:]), term, first)}, nil
	case kindVersion:
		v, err := parseVersion(key, value)
		return Row{"version", fmt.Sprintf("partition %d stream %q version %d offset %d event %x", v.Partition, v.Key, v.Version, v.Offset, v.EventID)}, err
	case kindSegment:
		return describeSegment(key, value)
	case kindState:
		if len(key) < 2 {
			return Row{}, corrupt(key, value)
		}
		return Row{"state", fmt.Sprintf("shard %d key %s: %d bytes", key[1], words(key[2:]), len(value))}, nil
	}
	return Row{}, corrupt(key, value)
}

// describeRuns visits the runs of one row as if each had its own: how many share one depends on when they were written.
func describeRuns(key, value []byte, visit func(Row) error) error {
	runs, err := parseRuns(key, value, nil)
	for i := range runs {
		run := &runs[i]
		if err == nil {
			err = visit(Row{"run", fmt.Sprintf("partition %d offsets %d-%d index %d term %d position %d start %d bytes %d max timestamp %d",
				run.Partition, run.First, run.Last, run.Index, run.Term, run.Position, run.Start, run.Bytes, run.MaxTimestamp)})
		}
	}
	return err
}

func describeSegment(key, value []byte) (Row, error) {
	shard, partitions, err := parseSegment(key, value)
	if err != nil {
		return Row{}, err
	}
	text := fmt.Appendf(nil, "segment %d shard %d:", order.Uint64(key[1:]), shard)
	for _, p := range partitions {
		text = fmt.Appendf(text, " partition %d to offset %d (%d bytes)", p.Partition, p.NextOffset, p.Bytes)
	}
	return Row{"segment", string(text)}, nil
}

// words quotes a key that is text and writes others in hexadecimal.
func words(key []byte) string {
	if bytes.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("%x", key)
	}
	return fmt.Sprintf("%q", key)
}

// silent drops what Pebble says: errors are returned too.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic("BUG: pebble cannot go on while it is only read: " + fmt.Sprintf(format, args...))
}
