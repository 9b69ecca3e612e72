package group

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/stela-db/stela/log/record"
)

// maxRowBytes bounds what Import takes for one row.
const maxRowBytes = 64 << 20

// Rows calls visit for every row of the replicated state, in a fixed order; it stops at the first error.
func (m *Machine) Rows(visit func(key, value []byte) error) error {
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		e := m.groups[id]
		if e.stored != nil {
			if err := visit(groupKey(id), appendGroup(nil, e.stored)); err != nil {
				return err
			}
		}
		for _, topic := range slices.Sorted(maps.Keys(e.offsets)) {
			for _, index := range slices.Sorted(maps.Keys(e.offsets[topic])) {
				if err := visit(offsetKey(id, topic, index), appendOffset(nil, e.offsets[topic][index])); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Load takes a row that Replay or Rows gave out before, in any order, into a machine that does not lead.
// Neither key nor value is kept.
func (m *Machine) Load(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("group row without a key: %w", record.ErrCorrupt)
	}
	k, v := &decoder{rest: key[1:]}, &decoder{rest: value}
	switch key[0] {
	case rowGroup:
		s := v.group()
		if err := v.end(); err != nil {
			return err
		}
		m.entry(string(key[1:])).stored = s
	case rowOffset:
		id, topic := k.string(), k.string()
		index := k.bytes(4)
		o := v.offset()
		if err := errors.Join(k.end(), v.end()); err != nil {
			return err
		}
		m.entry(id).setOffset(topic, int32(binary.BigEndian.Uint32(index)), o)
	default:
		return fmt.Errorf("group row of kind %q: %w", key[0], record.ErrCorrupt)
	}
	return nil
}

// Export writes the replicated state: for each row the lengths of key and value as varints, key and value; then a zero.
func (m *Machine) Export(w io.Writer) error {
	buffer := bufio.NewWriter(w)
	err := m.Rows(func(key, value []byte) error {
		head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(key))), uint64(len(value)))
		for _, part := range [][]byte{head, key, value} {
			if _, err := buffer.Write(part); err != nil {
				return fmt.Errorf("export groups: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := buffer.WriteByte(0); err != nil {
		return fmt.Errorf("export groups: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("export groups: %w", err)
	}
	return nil
}

// Import replaces the replicated state by one that was exported, in a machine that does not lead. After an error it
// is as it was.
func (m *Machine) Import(r io.Reader) error {
	reader := bufio.NewReader(r)
	fresh := New(m.config)
	for {
		keyBytes, err := binary.ReadUvarint(reader)
		if err != nil {
			return fmt.Errorf("import groups: %w", err)
		}
		if keyBytes == 0 {
			m.groups = fresh.groups
			return nil
		}
		valueBytes, err := binary.ReadUvarint(reader)
		if err != nil {
			return fmt.Errorf("import groups: %w", err)
		}
		if keyBytes > maxRowBytes || valueBytes > maxRowBytes {
			return fmt.Errorf("import groups: row of %d and %d bytes: %w", keyBytes, valueBytes, record.ErrCorrupt)
		}
		row, err := io.ReadAll(io.LimitReader(reader, int64(keyBytes+valueBytes)))
		if err != nil {
			return fmt.Errorf("import groups: %w", err)
		}
		if uint64(len(row)) != keyBytes+valueBytes {
			return fmt.Errorf("import groups: row of %d bytes, wanted %d: %w", len(row), keyBytes+valueBytes, io.ErrUnexpectedEOF)
		}
		if err := fresh.Load(row[:keyBytes], row[keyBytes:]); err != nil {
			return fmt.Errorf("import groups: %w", err)
		}
	}
}
