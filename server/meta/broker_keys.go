package meta

import "strconv"

// The broker configs that this server itself looks at, as the keys of Config.BrokerConfigs.
const (
	KeyAdvertisedListeners     = "advertised.listeners"
	KeyAutoCreateTopics        = "auto.create.topics.enable"
	KeyBrokerID                = "broker.id"
	KeyBrokerRack              = "broker.rack"
	KeyDataShards              = "data.shards"
	KeyDefaultReplication      = "default.replication.factor"
	KeyDeleteTopicEnable       = "delete.topic.enable"
	KeyEventStoreTopics        = "eventstore.topics"
	KeyGroupInitialDelayMs     = "group.initial.rebalance.delay.ms"
	KeyGroupMaxSessionMs       = "group.max.session.timeout.ms"
	KeyGroupMaxSize            = "group.max.size"
	KeyGroupMinSessionMs       = "group.min.session.timeout.ms"
	KeyListeners               = "listeners"
	KeyMaxConnections          = "max.connections"
	KeyMaxConnectionsPerIP     = "max.connections.per.ip"
	KeyLogDirs                 = "log.dirs"
	KeyNodeID                  = "node.id"
	KeyNumPartitions           = "num.partitions"
	KeyOffsetMetadataMaxBytes  = "offset.metadata.max.bytes"
	KeyOffsetsRetentionCheckMs = "offsets.retention.check.interval.ms"
	KeyOffsetsRetentionMinutes = "offsets.retention.minutes"
	KeyProducerExpirationMs    = "producer.id.expiration.ms"

	brokerMaxMessageBytes  = "message.max.bytes"
	brokerRetentionMs      = "log.retention.ms"
	brokerRetentionMinutes = "log.retention.minutes"
	brokerRetentionHours   = "log.retention.hours"
	brokerRetentionBytes   = "log.retention.bytes"
)

// BrokerKeys returns all configs of a broker, sorted by name. Those that are defaults of topic
// configs can be altered while it runs; the others are set when it starts.
func BrokerKeys() []ConfigKey {
	const unused = "Accepted so that tools work; it has no effect here."
	maxMessage := strconv.Itoa(1<<20 + 12)
	return []ConfigKey{
		{Name: KeyAdvertisedListeners, Type: TypeString, Null: true, Documentation: "The addresses that clients are told, by listener."},
		{Name: KeyAutoCreateTopics, Type: TypeBoolean, Default: "true", Documentation: "Whether a topic that a client asks for is created."},
		{Name: KeyBrokerID, Type: TypeInt, Default: "-1", Documentation: "The number of this node, under its older name."},
		{Name: KeyBrokerRack, Type: TypeString, Null: true, Documentation: "Where this node stands."},
		{Name: "compression.gzip.level", Type: TypeInt, Default: "-1", Dynamic: true, check: between(-1, 9), Documentation: unused},
		{Name: "compression.lz4.level", Type: TypeInt, Default: "9", Dynamic: true, check: between(1, 17), Documentation: unused},
		{
			Name: KeyCompressionType, Type: TypeString, Default: "producer", Dynamic: true, check: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
			Documentation: "The default of the topics' compression.type.",
		},
		{Name: "compression.zstd.level", Type: TypeInt, Default: "3", Dynamic: true, check: between(-131072, 22), Documentation: unused},
		{Name: KeyDataShards, Type: TypeInt, Default: "1", Documentation: "How many shards hold the cluster's partitions; fixed when the cluster is formed."},
		{Name: KeyDefaultReplication, Type: TypeInt, Default: "1", Documentation: "How many copies every topic has: one on each node."},
		{Name: KeyDeleteTopicEnable, Type: TypeBoolean, Default: "true", Documentation: "Whether topics may be deleted."},
		{Name: KeyEventStoreTopics, Type: TypeList, Default: "", check: patterns, Documentation: "Patterns (* for anything) of the names for which a new topic has eventstore.enable."},
		{Name: KeyGroupInitialDelayMs, Type: TypeInt, Default: "0", Documentation: "How long a new group waits for more members before it starts."},
		{Name: KeyGroupMaxSessionMs, Type: TypeInt, Default: "1800000", Documentation: "The longest session timeout that a member may ask for."},
		{Name: KeyGroupMaxSize, Type: TypeInt, Default: "10000", Documentation: "How many members a group may have."},
		{Name: KeyGroupMinSessionMs, Type: TypeInt, Default: "6000", Documentation: "The shortest session timeout that a member may ask for."},
		{Name: KeyListeners, Type: TypeString, Null: true, Documentation: "The addresses that this node listens on, by listener."},
		{Name: "log.cleaner.delete.retention.ms", Type: TypeLong, Default: "86400000", Dynamic: true, check: atLeast(0), Documentation: "The default of the topics' delete.retention.ms."},
		{Name: "log.cleaner.max.compaction.lag.ms", Type: TypeLong, Default: maxLong, Dynamic: true, check: atLeast(1), Documentation: "The default of the topics' max.compaction.lag.ms."},
		{Name: "log.cleaner.min.cleanable.ratio", Type: TypeDouble, Default: "0.5", Dynamic: true, check: fraction, Documentation: "The default of the topics' min.cleanable.dirty.ratio."},
		{Name: "log.cleaner.min.compaction.lag.ms", Type: TypeLong, Default: "0", Dynamic: true, check: atLeast(0), Documentation: "The default of the topics' min.compaction.lag.ms."},
		{
			Name: "log.cleanup.policy", Type: TypeList, Default: policyDelete, Dynamic: true, check: someOf(policyCompact, policyDelete),
			Documentation: "The default of the topics' cleanup.policy.",
		},
		{Name: KeyLogDirs, Type: TypeString, Null: true, Documentation: "The folder of this node's data."},
		{Name: "log.flush.interval.messages", Type: TypeLong, Default: maxLong, Dynamic: true, check: atLeast(1), Documentation: unused},
		{Name: "log.flush.interval.ms", Type: TypeLong, Null: true, Dynamic: true, check: atLeast(0), Documentation: unused},
		{Name: "log.flush.scheduler.interval.ms", Type: TypeLong, Default: maxLong, Documentation: unused},
		{Name: "log.index.interval.bytes", Type: TypeInt, Default: "4096", Dynamic: true, check: atLeast(0), Documentation: unused},
		{Name: "log.index.size.max.bytes", Type: TypeInt, Default: "10485760", Dynamic: true, check: atLeast(4), Documentation: unused},
		{Name: "log.local.retention.bytes", Type: TypeLong, Default: "-2", Dynamic: true, check: atLeast(-2), Documentation: unused},
		{Name: "log.local.retention.ms", Type: TypeLong, Default: "-2", Dynamic: true, check: atLeast(-2), Documentation: unused},
		{
			Name: "log.message.timestamp.after.max.ms", Type: TypeLong, Default: "3600000", Dynamic: true, check: atLeast(0),
			Documentation: "The default of the topics' message.timestamp.after.max.ms.",
		},
		{
			Name: "log.message.timestamp.before.max.ms", Type: TypeLong, Default: maxLong, Dynamic: true, check: atLeast(0),
			Documentation: "The default of the topics' message.timestamp.before.max.ms.",
		},
		{
			Name: "log.message.timestamp.type", Type: TypeString, Default: "CreateTime", Dynamic: true, check: oneOf("CreateTime", logTimestampAppend),
			Documentation: "The default of the topics' message.timestamp.type.",
		},
		{Name: "log.preallocate", Type: TypeBoolean, Default: "false", Dynamic: true, Documentation: unused},
		{Name: brokerRetentionBytes, Type: TypeLong, Default: "-1", Dynamic: true, Documentation: "The default of the topics' retention.bytes."},
		{Name: brokerRetentionHours, Type: TypeInt, Default: "168", Documentation: "The default of the topics' retention.ms, in hours; minutes and milliseconds win over it."},
		{Name: brokerRetentionMinutes, Type: TypeInt, Null: true, Documentation: "The default of the topics' retention.ms, in minutes; milliseconds win over it."},
		{Name: brokerRetentionMs, Type: TypeLong, Null: true, Dynamic: true, check: atLeast(-1), Documentation: "The default of the topics' retention.ms."},
		{Name: "log.roll.hours", Type: TypeInt, Default: "168", check: atLeast(1), Documentation: unused},
		{Name: "log.roll.jitter.hours", Type: TypeInt, Default: "0", check: atLeast(0), Documentation: unused},
		{Name: "log.roll.jitter.ms", Type: TypeLong, Null: true, Dynamic: true, check: atLeast(0), Documentation: unused},
		{Name: "log.roll.ms", Type: TypeLong, Null: true, Dynamic: true, check: atLeast(1), Documentation: unused},
		{Name: "log.segment.bytes", Type: TypeInt, Default: "1073741824", Dynamic: true, check: atLeast(14), Documentation: unused},
		{Name: "log.segment.delete.delay.ms", Type: TypeLong, Default: "60000", Dynamic: true, check: atLeast(0), Documentation: unused},
		{
			Name: KeyMaxConnections, Type: TypeInt, Default: "10000", check: between(1, 1_000_000),
			Documentation: "How many connections of Kafka clients this node takes at a time.",
		},
		{
			Name: KeyMaxConnectionsPerIP, Type: TypeInt, Default: "1000", check: between(0, 1_000_000),
			Documentation: "How many of them may come from one IP address; those of this machine itself are not counted. 0: no limit.",
		},
		{
			Name: brokerMaxMessageBytes, Type: TypeInt, Default: maxMessage, Dynamic: true, check: between(0, MaxMessageBytes),
			Documentation: "The default of the topics' max.message.bytes.",
		},
		{Name: KeyMinInsyncReplicas, Type: TypeInt, Default: "1", Dynamic: true, check: atLeast(1), Documentation: "The default of the topics' min.insync.replicas."},
		{Name: KeyNodeID, Type: TypeInt, Default: "-1", Documentation: "The number of this node."},
		{Name: KeyNumPartitions, Type: TypeInt, Default: "1", check: atLeast(1), Documentation: "How many partitions a topic has for which nobody said."},
		{Name: KeyOffsetMetadataMaxBytes, Type: TypeInt, Default: "4096", Documentation: "The longest text that may be stored beside an offset, in bytes."},
		{Name: KeyOffsetsRetentionCheckMs, Type: TypeLong, Default: "600000", check: atLeast(1), Documentation: "How often offsets are looked through for those that are too old."},
		{Name: KeyOffsetsRetentionMinutes, Type: TypeInt, Default: "10080", check: atLeast(1), Documentation: "How long a group's offsets are kept after it lost its last member."},
		{Name: KeyProducerExpirationMs, Type: TypeInt, Default: "86400000", check: atLeast(1), Documentation: "How long an idempotent producer that sends nothing is remembered."},
		{
			Name: "unclean.leader.election.enable", Type: TypeBoolean, Default: "false", Dynamic: true, check: onlyFalse,
			Documentation: "Whether a replica that lacks acknowledged records may lead. It never may: only false is accepted.",
		},
	}
}
