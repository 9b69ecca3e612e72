package meta

import (
	"crypto/rand"

	"github.com/stela-db/stela/log/record"
)

// Config holds the limits and defaults of a Machine. The zero value is usable: each field then has its default.
type Config struct {
	Nodes              int // of the cluster, configured; default 1
	DataShards         int // default 1
	MaxPartitions      int // of all topics, default 100,000
	MaxTopicPartitions int // of one topic, default 10,000
	MaxConfigBytes     int // names and values that were set for one resource, default 64 KiB
	// BrokerConfigs are the configs that this node was started with, under Kafka's broker config names;
	// what is not there has the catalogue's default. They differ between nodes, so nothing replicated depends on them
	// except the choices of the metadata leader.
	BrokerConfigs map[string]string
	// NewTopicID returns an id for a topic. Default: a random UUID.
	NewTopicID func() record.TopicID
}

func (c Config) withDefaults() Config {
	setCount := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	setCount(&c.Nodes, 1)
	setCount(&c.DataShards, 1)
	setCount(&c.MaxPartitions, 100_000)
	setCount(&c.MaxTopicPartitions, 10_000)
	setCount(&c.MaxConfigBytes, 64<<10)
	if c.NewTopicID == nil {
		c.NewTopicID = newUUID
	}
	return c
}

// newUUID returns a random UUID of version 4.
func newUUID() record.TopicID {
	var id record.TopicID
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}
