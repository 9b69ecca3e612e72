package meta

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

// Rows calls visit for every row of the state, in the order of their keys; it stops at the first error.
func (v *View) Rows(visit func(key, value []byte) error) error {
	for _, b := range v.brokers {
		if err := visit(nodeKey(rowBroker, b.Node), appendBroker(nil, b)); err != nil {
			return err
		}
	}
	if err := visit([]byte{rowCounters}, v.appendCounters(nil)); err != nil {
		return err
	}
	for _, node := range slices.SortedFunc(maps.Keys(v.settings), func(a, b int32) int { return int(int64(uint32(a)) - int64(uint32(b))) }) {
		if err := visit(nodeKey(rowSettings, node), appendConfigs(nil, v.settings[node])); err != nil {
			return err
		}
	}
	for _, t := range v.byID.all() {
		if err := visit(topicKey(t.ID), appendTopic(nil, t)); err != nil {
			return err
		}
	}
	return nil
}

// Load takes a row that Replay or Rows gave out before. Rows may come in any order, each once, into a machine
// without metadata.
func (m *Machine) Load(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("metadata row without a key: %w", record.ErrCorrupt)
	}
	next := *m.view
	d := &decoder{rest: value}
	k := &decoder{rest: key[1:]}
	switch key[0] {
	case rowCounters:
		next.nextPartition = max(next.nextPartition, uint32(d.number(maxPartition)))
		next.nextProducerID = int64(d.number(1<<63 - 1))
		next.version = d.uint()
	case rowTopic:
		id := record.TopicID(k.array())
		t := d.topic()
		if d.err == nil && (t.ID != id || next.TopicByID(id) != nil || next.TopicByName(t.Name) != nil) {
			return fmt.Errorf("topic %q is there twice: %w", t.Name, record.ErrCorrupt)
		}
		if d.err == nil {
			next.addTopic(t)
		}
	case rowBroker:
		if b := d.broker(); d.err == nil {
			next.setBroker(b)
		}
		k.bytes(4)
	case rowSettings:
		node := k.bytes(4)
		if configs := d.configs(); d.err == nil && k.err == nil {
			next.setSettings(int32(binary.BigEndian.Uint32(node)), configs)
		}
	default:
		return fmt.Errorf("metadata row of kind %q: %w", key[0], record.ErrCorrupt)
	}
	if err := errors.Join(k.end(), d.end()); err != nil {
		return err
	}
	m.view = &next
	return nil
}

// Export writes the state: for each row the lengths of key and value as varints, key and value; then a zero.
func (m *Machine) Export(w io.Writer) error {
	buffer := bufio.NewWriter(w)
	err := m.view.Rows(func(key, value []byte) error {
		head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(key))), uint64(len(value)))
		for _, part := range [][]byte{head, key, value} {
			if _, err := buffer.Write(part); err != nil {
				return fmt.Errorf("export metadata: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := buffer.WriteByte(0); err != nil {
		return fmt.Errorf("export metadata: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("export metadata: %w", err)
	}
	return nil
}

// Import replaces the state by one that was exported. After an error the machine is as it was.
func (m *Machine) Import(r io.Reader) error {
	reader := bufio.NewReader(r)
	fresh := &Machine{config: m.config, view: &View{config: m.config}, dataShards: m.dataShards}
	for {
		keyBytes, err := binary.ReadUvarint(reader)
		if err != nil {
			return fmt.Errorf("import metadata: %w", err)
		}
		if keyBytes == 0 {
			m.view = fresh.view
			return nil
		}
		valueBytes, err := binary.ReadUvarint(reader)
		if err != nil {
			return fmt.Errorf("import metadata: %w", err)
		}
		if keyBytes > maxRowBytes || valueBytes > maxRowBytes {
			return fmt.Errorf("import metadata: row of %d and %d bytes: %w", keyBytes, valueBytes, record.ErrCorrupt)
		}
		row, err := io.ReadAll(io.LimitReader(reader, int64(keyBytes+valueBytes)))
		if err != nil {
			return fmt.Errorf("import metadata: %w", err)
		}
		if uint64(len(row)) != keyBytes+valueBytes {
			return fmt.Errorf("import metadata: row of %d bytes, wanted %d: %w", len(row), keyBytes+valueBytes, io.ErrUnexpectedEOF)
		}
		if err := fresh.Load(row[:keyBytes], row[keyBytes:]); err != nil {
			return fmt.Errorf("import metadata: %w", err)
		}
	}
}
