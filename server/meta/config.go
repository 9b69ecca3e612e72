package meta

import (
	"crypto/rand"

	"github.com/stela-db/stela/log/record"
)

// Config holds the limits and defaults of a Machine. The zero value is usable: each field then has its default.
type Config struct {
	Node               int32 // of this node, for its own settings
	Nodes              int   // of the cluster, as configured; default 1
	MaxPartitions      int   // of all topics, default 100,000
	MaxTopicPartitions int   // of one topic, default 10,000
	MaxConfigBytes     int   // names and values that are set for one resource, default 64 KiB
	MaxRequestTopics   int   // topics in one request, default 10,000
	// BrokerConfigs are the configs that this node was started with, under Kafka's names (see BrokerKeys); what is
	// not there has its default. They differ between nodes, so nothing replicated depends on
	// them but the choices of the metadata leader.
	BrokerConfigs map[string]string
	// NewTopicID returns an id for a topic. Default: a random UUID.
	NewTopicID func() record.TopicID

	catalogue *catalogue
}

func (c Config) withDefaults() *Config {
	setCount := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	setCount(&c.Nodes, 1)
	setCount(&c.MaxPartitions, 100_000)
	setCount(&c.MaxTopicPartitions, 10_000)
	setCount(&c.MaxConfigBytes, 64<<10)
	setCount(&c.MaxRequestTopics, 10_000)
	if c.NewTopicID == nil {
		c.NewTopicID = newUUID
	}
	c.catalogue = newCatalogue()
	return &c
}

// replicas returns how many copies every topic has: each node keeps every shard.
func (c *Config) replicas() int16 { return int16(c.Nodes) }

// newUUID returns a random UUID of version 4.
func newUUID() record.TopicID {
	var id record.TopicID
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}
