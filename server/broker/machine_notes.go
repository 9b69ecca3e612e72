package broker

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

func isRemoval(kind uint8) bool { return kind == noteLogStart || kind == noteDrop }

// removes reports whether an entry has notes that remove rows.
func removes(tail record.Tail) bool {
	for note := range tail.Notes() {
		if isRemoval(note.Kind) {
			return true
		}
	}
	return false
}

// applyRemoval applies a note that removes rows.
func (m *machine) applyRemoval(e *replication.Committed, note record.Note) error {
	if note.Kind == noteDrop {
		if len(note.Body) != dropBytes {
			return noteError("drop", len(note.Body))
		}
		return m.drop(e, record.Partition(binary.LittleEndian.Uint32(note.Body)))
	}
	if len(note.Body) != logStartBytes {
		return noteError("log start", len(note.Body))
	}
	partition := record.Partition(binary.LittleEndian.Uint32(note.Body))
	return m.moveStart(e, partition, record.Offset(binary.LittleEndian.Uint64(note.Body[4:])))
}

// applyNote applies a note that adds something.
func (m *machine) applyNote(note record.Note, now int64) error {
	switch note.Kind {
	case noteStamp:
		return nil
	case noteGroup:
		return m.shard.coordinator.replay(m.batch, note.Body)
	case noteVersions:
		return m.applyVersions(note.Body)
	case noteProducer:
		key, epoch, b, err := parseProducer(note.Body)
		if err != nil {
			return err
		}
		p := m.shard.broker.states.get(key.partition, m.shard)
		if _, err := m.enter(p); err != nil || p.row.dropped {
			return err
		}
		return m.push(key, epoch, b, now)
	case noteExpire:
		return m.expire(note.Body)
	}
	// A note of a newer release: to pass over it would make this replica differ from those that know it.
	return fmt.Errorf("note of unknown kind %d: this node is older than what wrote it", note.Kind)
}

// applyVersions adds the versions of one batch's records, asserting that they are dense.
func (m *machine) applyVersions(body []byte) error {
	return visitVersions(body, func(partition record.Partition, key []byte, version int64, offset record.Offset, id eventID) error {
		p := m.shard.broker.states.get(partition, m.shard)
		if _, err := m.enter(p); err != nil {
			return err
		}
		if p.row.dropped {
			return nil
		}
		head, err := m.head(partition, key, version-1)
		if err != nil {
			return err
		}
		if version != head.version+1 {
			return fmt.Errorf("partition %d stream %q: version %d, the replica is at %d", partition, key, version, head.version)
		}
		head.version, head.round = version, m.round
		m.batch.PutVersion(m.shard.id, index.StreamVersion{Partition: partition, Key: key, Version: version, Offset: offset, EventID: id})
		return nil
	})
}

// head returns the newest version of a stream, which is likely the given one.
func (m *machine) head(partition record.Partition, key []byte, likely int64) (*streamHead, error) {
	k := streamKey{partition, string(key)}
	if h := m.heads.get(k); h != nil {
		return h, nil
	}
	version, err := streamHeadOf(m.shard.broker.config.Index, partition, key, likely)
	if err != nil {
		return nil, fmt.Errorf("partition %d stream %q: %w", partition, key, err)
	}
	return m.heads.add(k, streamHead{version: version}), nil
}

// streamHeadOf returns the newest version of a stream, soon when that is the likely one.
func streamHeadOf(db *index.Index, partition record.Partition, key []byte, likely int64) (int64, error) {
	if likely >= -1 {
		if ok, err := db.IsHead(partition, key, likely); err != nil || ok {
			return likely, err
		}
	}
	head, _, err := db.StreamHead(partition, key)
	return head, err
}

// moveStart removes what lies before an offset.
func (m *machine) moveStart(e *replication.Committed, partition record.Partition, start record.Offset) error {
	p := m.shard.broker.states.get(partition, m.shard)
	a, err := m.enter(p)
	if err != nil {
		return err
	}
	start = min(start, a.next)
	if p.row.dropped || start <= p.row.start {
		return nil
	}
	floor, err := m.floor(p, start)
	if err != nil {
		return err
	}
	m.putRow(p, e.Index, func(r *partitionRow) { r.start, r.floor = start, floor })
	m.batch.DropRunsBefore(m.shard.id, partition, start)
	m.woken = append(m.woken, p)
	return nil
}

// floor returns the running maximum of timestamps at the run that holds start, or at the last one.
func (m *machine) floor(p *partitionState, start record.Offset) (int64, error) {
	if start < p.applying.next {
		runs, err := m.shard.broker.config.Index.Runs(p.id, start, 1, nil)
		if err != nil {
			return 0, fmt.Errorf("partition %d: %w", p.id, err)
		}
		if len(runs) > 0 {
			return runs[0].MaxTimestamp, nil
		}
	}
	return p.applying.latest, nil
}

// drop removes everything of a deleted partition; its row stays, so that nothing is ever accepted again.
func (m *machine) drop(e *replication.Committed, partition record.Partition) error {
	p := m.shard.broker.states.get(partition, m.shard)
	a, err := m.enter(p)
	if err != nil || p.row.dropped {
		return err
	}
	m.putRow(p, e.Index, func(r *partitionRow) { r.start, r.dropped = a.next, true })
	m.batch.DropPartition(m.shard.id, partition)
	prefix := binary.BigEndian.AppendUint32([]byte{rowProducer}, uint32(partition))
	rows, scanError := m.shard.broker.config.Index.Scan(m.shard.id, prefix)
	for key := range rows {
		m.batch.Delete(m.shard.id, key)
		if k, ok := parseProducerRow(key); ok {
			m.producers.remove(k)
		}
	}
	if err := scanError(); err != nil {
		return fmt.Errorf("partition %d: %w", partition, err)
	}
	for _, key := range m.dirty {
		if key.partition == partition {
			m.producers.remove(key)
		}
	}
	m.woken = append(m.woken, p)
	return nil
}

// expire forgets a producer that has not written since the leader saw it idle.
func (m *machine) expire(body []byte) error {
	if len(body) != expireBytes {
		return noteError("expire", len(body))
	}
	key := producerKey{record.Partition(binary.LittleEndian.Uint32(body)), int64(binary.LittleEndian.Uint64(body[4:]))}
	last := int64(binary.LittleEndian.Uint64(body[12:]))
	p := m.producers.get(key)
	if p == nil {
		state, err := m.shard.loadProducer(key)
		if err != nil {
			return fmt.Errorf("producer %d of partition %d: %w", key.id, key.partition, err)
		}
		p = &state
	}
	if p.time == last && p.mark != m.round {
		m.producers.remove(key)
		m.row = key.append(m.row[:0])
		m.batch.Delete(m.shard.id, m.row)
	}
	return nil
}
