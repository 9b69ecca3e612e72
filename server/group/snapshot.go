package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/rows"
)

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
	k, v := newDecoder(key[1:]), newDecoder(value)
	switch key[0] {
	case rowGroup:
		s := v.group()
		if err := v.End(); err != nil {
			return err
		}
		m.entry(string(key[1:])).stored = s
	case rowOffset:
		id, topic := k.String(), k.String()
		index := k.Bytes(4)
		o := v.offset()
		if err := errors.Join(k.End(), v.End()); err != nil {
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
	if err := rows.Write(w, m.Rows); err != nil {
		return fmt.Errorf("export groups: %w", err)
	}
	return nil
}

// Import replaces the replicated state by one that was exported, in a machine that does not lead. After an error it
// is as it was.
func (m *Machine) Import(r io.Reader) error {
	fresh := New(m.config)
	if err := rows.Read(r, fresh.Load); err != nil {
		return fmt.Errorf("import groups: %w", err)
	}
	m.groups = fresh.groups
	return nil
}
