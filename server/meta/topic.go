package meta

import (
	"time"

	"github.com/stela-db/stela/log/record"
)

// A Topic is one topic. It is never changed: a change makes another Topic.
type Topic struct {
	Name       string
	ID         record.TopicID
	Partitions []PartitionInfo   // by the number within the topic
	Configs    map[string]string // what was set for this topic
	Created    time.Time
	Options    TopicOptions // what Configs, the cluster's settings and the defaults come to
}

// A PartitionInfo says where one partition lives.
type PartitionInfo struct {
	Partition record.Partition // the number within the cluster
	Shard     record.Shard
}

// TopicOptions is a topic's effective configs, for those that the broker itself acts upon.
type TopicOptions struct {
	RetentionMs            int64 // -1: for ever
	RetentionBytes         int64 // of one partition; -1: no limit
	MaxMessageBytes        int32
	MinInsyncReplicas      int32
	MessageTimestampBefore int64 // ms that a record's time may lie before the broker's
	MessageTimestampAfter  int64 // ms that a record's time may lie after the broker's
	LogAppendTime          bool  // message.timestamp.type is LogAppendTime
	Compact                bool  // cleanup.policy has compact
	Delete                 bool  // cleanup.policy has delete
	EventStore             bool  // eventstore.enable
	CompressionType        string
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
