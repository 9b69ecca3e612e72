package meta

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
	d := newDecoder(value)
	k := newDecoder(key[1:])
	switch key[0] {
	case rowCounters:
		next.nextPartition = max(next.nextPartition, uint32(d.Number(maxPartition)))
		next.nextProducerID = int64(d.Number(1<<63 - 1))
		next.version = d.Uint()
	case rowTopic:
		id := record.TopicID(k.array())
		t := d.topic()
		if d.Err() == nil && (t.ID != id || next.TopicByID(id) != nil || next.TopicByName(t.Name) != nil) {
			return fmt.Errorf("topic %q is there twice: %w", t.Name, record.ErrCorrupt)
		}
		if d.Err() == nil {
			next.addTopic(t)
		}
	case rowBroker:
		if b := d.broker(); d.Err() == nil {
			next.setBroker(b)
		}
		k.Bytes(4)
	case rowSettings:
		node := k.Bytes(4)
		if configs := d.configs(); d.Err() == nil && k.Err() == nil {
			next.setSettings(int32(binary.BigEndian.Uint32(node)), configs)
		}
	default:
		return fmt.Errorf("metadata row of kind %q: %w", key[0], record.ErrCorrupt)
	}
	if err := errors.Join(k.End(), d.End()); err != nil {
		return err
	}
	m.view = &next
	return nil
}

// Export writes the state: for each row the lengths of key and value as varints, key and value; then a zero.
func (m *Machine) Export(w io.Writer) error {
	if err := rows.Write(w, m.view.Rows); err != nil {
		return fmt.Errorf("export metadata: %w", err)
	}
	return nil
}

// Import replaces the state by one that was exported. After an error the machine is as it was.
func (m *Machine) Import(r io.Reader) error {
	fresh := &Machine{config: m.config, view: &View{config: m.config}, dataShards: m.dataShards}
	if err := rows.Read(r, fresh.Load); err != nil {
		return fmt.Errorf("import metadata: %w", err)
	}
	m.view = fresh.view
	return nil
}
