package meta

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/rows"
)

// A Topic is one topic. It is never changed: a change makes another Topic.
type Topic struct {
	Name       string
	ID         record.TopicID
	Partitions []PartitionInfo   // by the number within the topic
	Configs    map[string]string // what was set for this topic
	Created    time.Time
	Options    TopicOptions // what Configs, the cluster's settings and the defaults come to on this node
}

// A PartitionInfo says where one partition lives.
type PartitionInfo struct {
	Partition record.Partition // the number within the cluster
	Shard     record.Shard
}

// A Broker is one node of the cluster as clients may reach it.
type Broker struct {
	Node        int32
	Incarnation [16]byte // of its data folder
	Rack        string   // empty for none
	Listeners   []Listener
	HTTPAddress string // host:port; empty for none
}

// A Listener is one address that a broker tells to the clients that came through the listener of this name.
type Listener struct {
	Name string
	Host string
	Port int32
}

// Equal reports whether both say the same.
func (b *Broker) Equal(other *Broker) bool {
	return b.Node == other.Node && b.Incarnation == other.Incarnation && b.Rack == other.Rack &&
		b.HTTPAddress == other.HTTPAddress && slices.Equal(b.Listeners, other.Listeners)
}

// spans calls visit for each run of consecutive partition numbers. A topic has one for each time it got partitions.
func (t *Topic) spans(visit func(base, count int)) {
	base := 0
	for i := 1; i <= len(t.Partitions); i++ {
		if i == len(t.Partitions) || t.Partitions[i].Partition != t.Partitions[i-1].Partition+1 {
			visit(base, i-base)
			base = i
		}
	}
}

// appendTopic appends the topic's bytes: id, name, created, configs, and for each span its first number and the shards.
func appendTopic(dst []byte, t *Topic) []byte {
	dst = append(dst, t.ID[:]...)
	dst = rows.AppendString(dst, t.Name)
	dst = binary.AppendVarint(dst, t.Created.UnixMilli())
	dst = appendConfigs(dst, t.Configs)
	t.spans(func(base, count int) {
		dst = binary.AppendUvarint(dst, uint64(count))
		dst = binary.AppendUvarint(dst, uint64(t.Partitions[base].Partition))
		for _, p := range t.Partitions[base : base+count] {
			dst = append(dst, byte(p.Shard))
		}
	})
	return binary.AppendUvarint(dst, 0)
}

func (d *decoder) topic() *Topic {
	t := &Topic{ID: record.TopicID(d.array())}
	t.Name = d.String()
	t.Created = time.UnixMilli(d.Int()).UTC()
	t.Configs = d.configs()
	for {
		count := d.Count(1)
		if count == 0 || d.Err() != nil {
			return t
		}
		t.Partitions = d.partitions(t.Partitions, count)
	}
}

// partitions reads one span: its first number and count shards.
func (d *decoder) partitions(dst []PartitionInfo, count int) []PartitionInfo {
	first := d.Number(maxPartition)
	shards := d.Bytes(count)
	if d.Err() == nil && first+uint64(count) > maxPartition {
		d.Fail("partition number")
	}
	if d.Err() != nil {
		return dst
	}
	dst = slices.Grow(dst, count)
	for i, shard := range shards {
		dst = append(dst, PartitionInfo{Partition: record.Partition(first + uint64(i)), Shard: record.Shard(shard)})
	}
	return dst
}

func appendConfigs(dst []byte, configs map[string]string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(configs)))
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		dst = rows.AppendString(rows.AppendString(dst, name), configs[name])
	}
	return dst
}

func (d *decoder) configs() map[string]string {
	n := d.Count(2)
	configs := make(map[string]string, n)
	for range n {
		name := d.String()
		configs[name] = d.String()
	}
	return configs
}

func (d *decoder) array() (id [16]byte) {
	copy(id[:], d.Bytes(len(id)))
	return id
}

func appendBroker(dst []byte, b *Broker) []byte {
	dst = binary.AppendVarint(dst, int64(b.Node))
	dst = append(dst, b.Incarnation[:]...)
	dst = rows.AppendString(dst, b.Rack)
	dst = rows.AppendString(dst, b.HTTPAddress)
	dst = binary.AppendUvarint(dst, uint64(len(b.Listeners)))
	for _, l := range b.Listeners {
		dst = rows.AppendString(rows.AppendString(dst, l.Name), l.Host)
		dst = binary.AppendUvarint(dst, uint64(l.Port))
	}
	return dst
}

func (d *decoder) broker() *Broker {
	b := &Broker{Node: d.node(), Incarnation: d.array()}
	b.Rack, b.HTTPAddress = d.String(), d.String()
	for range d.Count(3) {
		l := Listener{Name: d.String(), Host: d.String()}
		l.Port = int32(d.Number(1<<16 - 1))
		b.Listeners = append(b.Listeners, l)
	}
	return b
}

// node reads a node's number; allNodes is one.
func (d *decoder) node() int32 {
	v := d.Int()
	if v < int64(allNodes) || v > 1<<31-1 {
		d.Fail("node number")
		return 0
	}
	return int32(v)
}
