package index

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/log/record"
)

const (
	exportMagic    = "stela-index-1\n"
	maxKeyBytes    = 1 << 20
	maxValueBytes  = 64 << 20
	importRowBytes = 1 << 20 // rows are committed in batches of about this size
)

// Snapshot is a consistent view of the index.
type Snapshot struct {
	view *pebble.Snapshot
}

// Snapshot returns the index as it is now. Close it.
func (x *Index) Snapshot() (*Snapshot, error) {
	if err := x.settle(); err != nil {
		return nil, err
	}
	return &Snapshot{view: x.db.NewSnapshot()}, nil
}

// Close frees the view.
func (s *Snapshot) Close() error { return s.view.Close() }

// Export writes the rows of the shard that cannot be remade from retained entries:
// applied, the state machine's rows, epochs, and which partitions are the shard's.
//
//	"stela-index-1\n" { key length u32 | value length u32 | key | value } 0 u32 | crc-32c of all before u32
func (s *Snapshot) Export(shard record.Shard, w io.Writer) error {
	out := &summed{w: bufio.NewWriter(w)}
	out.write([]byte(exportMagic))
	row := func(key, value []byte) error {
		out.write(order.AppendUint32(order.AppendUint32(nil, uint32(len(key))), uint32(len(value))))
		out.write(key)
		out.write(value)
		return out.err
	}
	owned := map[record.Partition]bool{}
	ownedRow := func(key, value []byte) error {
		_, partition, err := parseOwnerKey(key)
		if err != nil {
			return err
		}
		owned[partition] = true
		return row(key, value)
	}
	epochRow := func(key, value []byte) error {
		if len(key) == epochKeyBytes && owned[record.Partition(order.Uint32(key[1:]))] {
			return row(key, value)
		}
		return nil
	}
	for _, part := range []struct {
		prefix []byte
		visit  func(key, value []byte) error
	}{
		{[]byte{kindApplied, byte(shard)}, row},
		{[]byte{kindState, byte(shard)}, row},
		{[]byte{kindOwner, byte(shard)}, ownedRow},
		{[]byte{kindEpoch}, epochRow}, // one pass: partitions are many
	} {
		if err := eachOf(s.view, part.prefix, part.visit); err != nil {
			return fmt.Errorf("export shard %d: %w", shard, err)
		}
	}
	out.write(order.AppendUint32(nil, 0))
	out.write(order.AppendUint32(nil, out.crc))
	return errors.Join(out.err, out.w.Flush())
}

// summed writes and keeps the sum and the first error.
type summed struct {
	w   *bufio.Writer
	crc uint32
	err error
}

func (s *summed) write(b []byte) {
	if s.err != nil {
		return
	}
	s.crc = record.Castagnoli(s.crc, b)
	_, s.err = s.w.Write(b)
}

// Import replaces everything of the shard by what Export wrote. Bytes that are not
// such an export are an error that wraps record.ErrCorrupt; the shard is then empty
// or partly filled, with applied 0, and must be imported again.
func (x *Index) Import(shard record.Shard, r io.Reader) error {
	in := &importer{r: bufio.NewReader(r)}
	if string(in.take(len(exportMagic))) != exportMagic {
		return errors.Join(fmt.Errorf("import shard %d: this is no export: %w", shard, record.ErrCorrupt), in.err)
	}
	drop := x.NewBatch()
	defer drop.Close()
	drop.DropShard(shard)
	if err := drop.Commit(); err != nil {
		return err
	}
	applied, err := x.importRows(shard, in)
	if err != nil {
		return fmt.Errorf("import shard %d: %w", shard, err)
	}
	last := x.NewBatch()
	defer last.Close()
	last.set(appliedKey(shard), applied)
	return last.Commit()
}

// importRows commits all rows but the applied one, which it returns.
func (x *Index) importRows(shard record.Shard, in *importer) (applied []byte, err error) {
	batch := x.NewBatch()
	defer func() { batch.Close() }()
	size := 0
	for {
		keyBytes := order.Uint32(in.take(4))
		if keyBytes == 0 || in.err != nil {
			break
		}
		valueBytes := order.Uint32(in.take(4))
		if keyBytes > maxKeyBytes || valueBytes > maxValueBytes {
			return nil, fmt.Errorf("row of %d and %d bytes: %w", keyBytes, valueBytes, record.ErrCorrupt)
		}
		key, value := in.take(int(keyBytes)), in.take(int(valueBytes))
		if in.err != nil {
			break
		}
		if err := x.admit(shard, key); err != nil {
			return nil, err
		}
		if key[0] == kindApplied {
			applied = value
			continue
		}
		batch.set(key, value)
		if size += len(key) + len(value); size > importRowBytes {
			if err := batch.Commit(); err != nil {
				return nil, err
			}
			batch.Close()
			batch, size = x.NewBatch(), 0
		}
	}
	want := in.crc
	if got := order.Uint32(in.take(4)); in.err == nil && got != want {
		return nil, fmt.Errorf("crc %08x, computed %08x: %w", got, want, record.ErrCorrupt)
	}
	if in.err != nil {
		return nil, errors.Join(record.ErrCorrupt, in.err)
	}
	if len(applied) != 8 {
		applied = make([]byte, 8)
	}
	return applied, batch.Commit()
}

// admit checks that a row is of the shard and of a kind that Export writes.
func (x *Index) admit(shard record.Shard, key []byte) error {
	wrong := fmt.Errorf("row %.64x is not of shard %d: %w", key, shard, record.ErrCorrupt)
	if len(key) < 2 {
		return wrong
	}
	switch key[0] {
	case kindApplied, kindState:
		if key[1] != byte(shard) {
			return wrong
		}
	case kindOwner:
		owner, partition, err := parseOwnerKey(key)
		if err != nil || owner != shard {
			return wrong
		}
		x.owns(shard, partition)
	case kindEpoch:
		if len(key) != epochKeyBytes {
			return wrong
		}
	default:
		return wrong
	}
	return nil
}

// importer reads and keeps the sum and the first error.
type importer struct {
	r   *bufio.Reader
	crc uint32
	err error
}

// take returns the next n bytes; after an error, zeros (at most a few).
func (i *importer) take(n int) []byte {
	if i.err != nil {
		return make([]byte, min(n, 8))
	}
	// Grown as the bytes come, so that a length that lies costs no memory.
	b := make([]byte, 0, min(n, 64<<10))
	for len(b) < n {
		step := min(n-len(b), 64<<10)
		at := len(b)
		b = append(b, make([]byte, step)...)
		if _, i.err = io.ReadFull(i.r, b[at:]); i.err != nil {
			return make([]byte, max(8, min(n, 8)))
		}
	}
	i.crc = record.Castagnoli(i.crc, b)
	return b
}
