package meta

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/stela-db/stela/log/record"
)

// A View is the metadata as of one moment. It never changes and may be read from any goroutine.
type View struct {
	config *Config

	byName tree[string, *Topic]
	byID   tree[string, *Topic]
	// clashing holds the names that have a dot or an underscore, each behind its form with
	// underscores alone: Kafka refuses topics whose metrics would have the same name.
	clashing tree[string, struct{}]
	spans    tree[uint32, span] // by the first partition number

	brokers  []*Broker                   // sorted by number
	settings map[int32]map[string]string // of brokers, by node; allNodes for all

	nextPartition  uint32
	nextProducerID int64
	version        uint64
	deletions      uint64 // of topics; not replicated
	partitions     int
	load           [256]int32 // partitions by shard
}

// A span is consecutive partition numbers of one topic.
type span struct {
	topic string // id
	base  int32  // number within the topic of the first one
	count int32
}

// TopicByName returns the topic of this name, or nil.
func (v *View) TopicByName(name string) *Topic {
	t, _ := v.byName.get(name)
	return t
}

// TopicByID returns the topic of this id, or nil.
func (v *View) TopicByID(id record.TopicID) *Topic {
	t, _ := v.byID.get(string(id[:]))
	return t
}

// Topics yields all topics, sorted by name.
func (v *View) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, t := range v.byName.all() {
			if !yield(t) {
				return
			}
		}
	}
}

// TopicCount returns how many topics there are.
func (v *View) TopicCount() int { return v.byName.count }

// PartitionCount returns how many partitions there are.
func (v *View) PartitionCount() int { return v.partitions }

// Partition returns the topic that a partition belongs to and its number there; a nil topic when there is no such partition.
func (v *View) Partition(number record.Partition) (topic *Topic, index int32) {
	first, ok := v.spans.floor(uint32(number))
	if !ok || uint32(number)-first.key >= uint32(first.value.count) {
		return nil, 0
	}
	topic, _ = v.byID.get(first.value.topic)
	return topic, first.value.base + int32(uint32(number)-first.key)
}

// Gone reports whether a partition was once created and is deleted: its number will never be used again.
// It is false for a number that this view has not heard of yet.
func (v *View) Gone(number record.Partition) bool {
	if uint32(number) >= v.nextPartition {
		return false
	}
	topic, _ := v.Partition(number)
	return topic == nil
}

// Brokers returns the registered brokers, sorted by number. The slice must not be changed.
func (v *View) Brokers() []*Broker { return v.brokers }

// Broker returns the broker of this number, or nil.
func (v *View) Broker(node int32) *Broker {
	i, found := slices.BinarySearchFunc(v.brokers, node, func(b *Broker, n int32) int { return cmp.Compare(b.Node, n) })
	if !found {
		return nil
	}
	return v.brokers[i]
}

// Version counts the changes that led to this view. Views of different nodes with the same version are the same.
func (v *View) Version() uint64 { return v.version }

// Deletions counts the topics that were deleted since this node began to replay.
func (v *View) Deletions() uint64 { return v.deletions }

// The methods below change a view that nobody has seen yet.

func (v *View) setTopic(t *Topic) {
	v.byName = v.byName.put(t.Name, t)
	v.byID = v.byID.put(string(t.ID[:]), t)
}

func (v *View) addTopic(t *Topic) {
	t.Options = v.options(t.Configs)
	v.setTopic(t)
	if key, ok := clashKey(t.Name); ok {
		v.clashing = v.clashing.put(key+t.Name, struct{}{})
	}
	v.addPartitions(t, 0)
}

// addPartitions counts the partitions of t from base on.
func (v *View) addPartitions(t *Topic, base int) {
	for _, p := range t.Partitions[base:] {
		v.load[p.Shard]++
	}
	v.partitions += len(t.Partitions) - base
	t.spans(func(first, count int) {
		if first+count <= base {
			return
		}
		number := uint32(t.Partitions[first].Partition)
		v.spans = v.spans.put(number, span{topic: string(t.ID[:]), base: int32(first), count: int32(count)})
		v.nextPartition = max(v.nextPartition, number+uint32(count))
	})
}

func (v *View) removeTopic(t *Topic) {
	v.byName = v.byName.remove(t.Name)
	v.byID = v.byID.remove(string(t.ID[:]))
	if key, ok := clashKey(t.Name); ok {
		v.clashing = v.clashing.remove(key + t.Name)
	}
	t.spans(func(first, _ int) { v.spans = v.spans.remove(uint32(t.Partitions[first].Partition)) })
	for _, p := range t.Partitions {
		v.load[p.Shard]--
	}
	v.partitions -= len(t.Partitions)
	v.deletions++
}

func (v *View) setBroker(b *Broker) {
	i, found := slices.BinarySearchFunc(v.brokers, b.Node, func(b *Broker, n int32) int { return cmp.Compare(b.Node, n) })
	v.brokers = slices.Clone(v.brokers)
	if found {
		v.brokers[i] = b
		return
	}
	v.brokers = slices.Insert(v.brokers, i, b)
}

func (v *View) setSettings(node int32, configs map[string]string) {
	settings := maps.Clone(v.settings)
	if settings == nil {
		settings = map[int32]map[string]string{}
	}
	settings[node] = configs
	if len(configs) == 0 {
		delete(settings, node)
	}
	v.settings = settings
	if node == allNodes || node == v.config.Node {
		v.renewOptions()
	}
}

// renewOptions computes every topic's options anew.
func (v *View) renewOptions() {
	for t := range v.Topics() {
		renewed := *t
		renewed.Options = v.options(t.Configs)
		v.setTopic(&renewed)
	}
}

// clashKey returns what names that clash with name have in common, ready to be put before a name.
func clashKey(name string) (string, bool) {
	if !strings.ContainsAny(name, "._") {
		return "", false
	}
	return strings.ReplaceAll(name, ".", "_") + "\x00", true
}

// clash returns a topic whose name differs from name only in dots and underscores, or "".
func (v *View) clash(name string) string {
	key, ok := clashKey(name)
	if !ok {
		return ""
	}
	for found := range v.clashing.from(key) {
		other, ok := strings.CutPrefix(found, key)
		if !ok {
			return ""
		}
		if other != name {
			return other
		}
	}
	return ""
}
