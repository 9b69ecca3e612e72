package meta

import (
	"iter"

	"github.com/stela-db/stela/log/record"
)

// A View is the metadata as of one moment. It never changes and may be read from any goroutine.
type View struct{}

// TopicByName returns the topic of this name, or nil.
func (v *View) TopicByName(name string) *Topic { return nil }

// TopicByID returns the topic of this id, or nil.
func (v *View) TopicByID(id record.TopicID) *Topic { return nil }

// Topics yields all topics, sorted by name.
func (v *View) Topics() iter.Seq[*Topic] { return func(func(*Topic) bool) {} }

// TopicCount returns how many topics there are.
func (v *View) TopicCount() int { return 0 }

// PartitionCount returns how many partitions there are.
func (v *View) PartitionCount() int { return 0 }

// Partition returns the topic that a partition belongs to and its number there; nil when there is no such partition.
func (v *View) Partition(number record.Partition) (topic *Topic, index int32) { return nil, 0 }

// Gone reports whether a partition was once created and is deleted: its number will never be used again.
// It is false for a number that this view has not heard of yet.
func (v *View) Gone(number record.Partition) bool { return false }

// Brokers returns the registered brokers, sorted by number. The slice must not be changed.
func (v *View) Brokers() []*Broker { return nil }

// Broker returns the broker of this number, or nil.
func (v *View) Broker(node int32) *Broker { return nil }

// Version counts the changes that led to this view.
func (v *View) Version() uint64 { return 0 }

// DescribeTopic returns all configs of a topic, sorted by name.
func (v *View) DescribeTopic(topic *Topic) []ConfigEntry { return nil }

// DescribeBroker returns all configs of a broker, sorted by name. Started configs are known of this node alone.
func (v *View) DescribeBroker(node int32) []ConfigEntry { return nil }
