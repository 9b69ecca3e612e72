package meta

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/stela-db/stela/log/record"
)

// Records begin with their kind. Numbers are varints, strings have their length before them.
const (
	recordTopic       = 1 // a topic with all it has: created
	recordGrow        = 2 // topic id, count, first partition number, shards: more partitions
	recordDelete      = 3 // topic id
	recordConfigs     = 4 // topic id, configs: all that are set from now on
	recordSettings    = 5 // node (allNodes for all), configs: all that are set from now on
	recordBroker      = 6 // a broker
	recordProducerIDs = 7 // the first producer id that was not given out
)

// Rows are what the state consists of, by key.
const (
	rowCounters = 'c' // next partition number, next producer id, version
	rowTopic    = 't' // + topic id
	rowBroker   = 'b' // + node, big-endian
	rowSettings = 's' // + node, big-endian
)

// allNodes is the node number under which settings for all brokers are kept.
const allNodes int32 = -1

// maxPartition is above every partition number: the highest one stays unused.
const maxPartition = 1<<32 - 1

func topicKey(id record.TopicID) []byte { return append([]byte{rowTopic}, id[:]...) }

func nodeKey(kind byte, node int32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(node))
}

// Replay applies a committed record. changed, unless nil, is called for each row of the state that the record
// writes, or deletes (value nil); key and value are its to keep. An error says that the record is not one of
// this machine's, or not meant for this state; then nothing has changed.
func (m *Machine) Replay(entry []byte, changed func(key, value []byte)) error {
	if changed == nil {
		changed = func(_, _ []byte) {}
	}
	d := newDecoder(entry)
	next := *m.view // a shallow copy: trees are immutable, maps and slices are cloned by those who change them
	var err error
	switch kind := d.Byte(); kind {
	case recordTopic:
		err = next.replayTopic(d, changed)
	case recordGrow:
		err = next.replayGrow(d, changed)
	case recordDelete:
		err = next.replayDelete(d, changed)
	case recordConfigs:
		err = next.replayConfigs(d, changed)
	case recordSettings:
		err = next.replaySettings(d, changed)
	case recordBroker:
		broker := d.broker()
		if err = d.End(); err == nil {
			next.setBroker(broker)
			changed(nodeKey(rowBroker, broker.Node), appendBroker(nil, broker))
		}
	case recordProducerIDs:
		id := int64(d.Number(1<<63 - 1))
		if err = d.End(); err == nil && id < next.nextProducerID {
			err = fmt.Errorf("producer ids go on at %d after %d: %w", id, next.nextProducerID, record.ErrCorrupt)
		}
		next.nextProducerID = id
	default:
		err = fmt.Errorf("metadata record of kind %d: %w", kind, record.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	next.version++
	changed([]byte{rowCounters}, next.appendCounters(nil))
	m.view = &next
	return nil
}

func (v *View) appendCounters(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(v.nextPartition))
	dst = binary.AppendUvarint(dst, uint64(v.nextProducerID))
	return binary.AppendUvarint(dst, v.version)
}

func (v *View) replayTopic(d *decoder, changed func(key, value []byte)) error {
	t := d.topic()
	if err := d.End(); err != nil {
		return err
	}
	if len(t.Partitions) == 0 || v.TopicByID(t.ID) != nil || v.TopicByName(t.Name) != nil {
		return fmt.Errorf("topic %q is created twice or without partitions: %w", t.Name, record.ErrCorrupt)
	}
	if err := v.checkNew(t.Partitions); err != nil {
		return err
	}
	v.addTopic(t)
	changed(topicKey(t.ID), appendTopic(nil, t))
	return nil
}

// checkNew checks that partitions are one span of numbers that were never given out, in shards that exist.
func (v *View) checkNew(partitions []PartitionInfo) error {
	for i, p := range partitions {
		if want := v.nextPartition + uint32(i); uint32(p.Partition) != want {
			return fmt.Errorf("partition number %d, wanted %d: %w", p.Partition, want, record.ErrCorrupt)
		}
		if p.Shard == record.Metadata {
			return fmt.Errorf("partition number %d in the metadata shard: %w", p.Partition, record.ErrCorrupt)
		}
	}
	return nil
}

func (d *decoder) knownTopic(v *View) *Topic {
	id := record.TopicID(d.array())
	t := v.TopicByID(id)
	if t == nil && d.Err() == nil {
		d.Fail(fmt.Sprintf("unknown topic %x", id))
	}
	return t
}

func (v *View) replayGrow(d *decoder, changed func(key, value []byte)) error {
	t := d.knownTopic(v)
	added := d.partitions(nil, d.Count(1))
	if err := d.End(); err != nil {
		return err
	}
	if err := v.checkNew(added); err != nil {
		return err
	}
	grown := *t
	grown.Partitions = append(slices.Clip(t.Partitions), added...)
	v.addPartitions(&grown, len(t.Partitions))
	v.setTopic(&grown)
	changed(topicKey(t.ID), appendTopic(nil, &grown))
	return nil
}

func (v *View) replayDelete(d *decoder, changed func(key, value []byte)) error {
	t := d.knownTopic(v)
	if err := d.End(); err != nil {
		return err
	}
	v.removeTopic(t)
	changed(topicKey(t.ID), nil)
	return nil
}

func (v *View) replayConfigs(d *decoder, changed func(key, value []byte)) error {
	t := d.knownTopic(v)
	configs := d.configs()
	if err := d.End(); err != nil {
		return err
	}
	altered := *t
	altered.Configs = configs
	altered.Options = v.options(configs)
	v.setTopic(&altered)
	changed(topicKey(t.ID), appendTopic(nil, &altered))
	return nil
}

func (v *View) replaySettings(d *decoder, changed func(key, value []byte)) error {
	node := d.node()
	configs := d.configs()
	if err := d.End(); err != nil {
		return err
	}
	v.setSettings(node, configs)
	key := nodeKey(rowSettings, node)
	if len(configs) == 0 {
		changed(key, nil)
		return nil
	}
	changed(key, appendConfigs(nil, configs))
	return nil
}
