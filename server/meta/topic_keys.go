package meta

import "strconv"

// The configs that this server itself looks at.
const (
	KeyCleanupPolicy     = "cleanup.policy"
	KeyCompressionType   = "compression.type"
	KeyEventStore        = "eventstore.enable"
	KeyMaxMessageBytes   = "max.message.bytes"
	KeyMinInsyncReplicas = "min.insync.replicas"
	KeyRetentionBytes    = "retention.bytes"
	KeyRetentionMs       = "retention.ms"
	KeyTimestampAfter    = "message.timestamp.after.max.ms"
	KeyTimestampBefore   = "message.timestamp.before.max.ms"
	KeyTimestampType     = "message.timestamp.type"

	keyMinCompactionLag = "min.compaction.lag.ms"
	keyMaxCompactionLag = "max.compaction.lag.ms"
)

// MaxMessageBytes is the most that max.message.bytes may be: a batch has to fit into one segment of the log.
const MaxMessageBytes = 32 << 20

const (
	maxLong = "9223372036854775807"
	second  = int64(1000)
	minute  = 60 * second
	hour    = 60 * minute

	logTimestampAppend = "LogAppendTime"
	policyCompact      = "compact"
	policyDelete       = "delete"
)

// TopicKeys returns all configs of a topic, sorted by name.
func TopicKeys() []ConfigKey {
	same := func(names ...string) []synonym {
		var list []synonym
		for _, name := range names {
			list = append(list, synonym{name, 1})
		}
		return list
	}
	return []ConfigKey{
		{
			Name: KeyCleanupPolicy, Type: TypeList, Default: policyDelete, synonyms: same("log.cleanup.policy"), check: someOf(policyCompact, policyDelete),
			Documentation: "What happens to old records: delete drops them by age and size, compact keeps the latest one of each key.",
		},
		{
			Name: "compression.gzip.level", Type: TypeInt, Default: "-1", synonyms: same("compression.gzip.level"), check: between(-1, 9),
			Documentation: "Accepted so that tools work. Batches are stored as the producer compressed them.",
		},
		{
			Name: "compression.lz4.level", Type: TypeInt, Default: "9", synonyms: same("compression.lz4.level"), check: between(1, 17),
			Documentation: "Accepted so that tools work. Batches are stored as the producer compressed them.",
		},
		{
			Name: KeyCompressionType, Type: TypeString, Default: "producer", synonyms: same(KeyCompressionType),
			check:         oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
			Documentation: "The codec that records are meant to be in. Batches are stored as the producer compressed them, whatever is said here.",
		},
		{
			Name: "compression.zstd.level", Type: TypeInt, Default: "3", synonyms: same("compression.zstd.level"), check: between(-131072, 22),
			Documentation: "Accepted so that tools work. Batches are stored as the producer compressed them.",
		},
		{
			Name: "delete.retention.ms", Type: TypeLong, Default: "86400000", synonyms: same("log.cleaner.delete.retention.ms"), check: atLeast(0),
			Documentation: "How long a compacted topic keeps the record that deletes a key.",
		},
		{
			Name: KeyEventStore, Type: TypeBoolean, Default: "false",
			Documentation: "Whether records with the same key form a stream with versions, to which appends may be conditional. It is decided when the topic is created.",
		},
		{
			Name: "file.delete.delay.ms", Type: TypeLong, Default: "60000", synonyms: same("log.segment.delete.delay.ms"), check: atLeast(0),
			Documentation: "Accepted so that tools work. A segment goes as soon as nothing in it is alive and nobody reads it.",
		},
		{
			Name: "flush.messages", Type: TypeLong, Default: maxLong, synonyms: same("log.flush.interval.messages"), check: atLeast(1),
			Documentation: "Accepted so that tools work. Every batch is on disk at a majority before it is acknowledged.",
		},
		{
			Name: "flush.ms", Type: TypeLong, Default: maxLong, synonyms: same("log.flush.interval.ms", "log.flush.scheduler.interval.ms"), check: atLeast(0),
			Documentation: "Accepted so that tools work. Every batch is on disk at a majority before it is acknowledged.",
		},
		{
			Name: "follower.replication.throttled.replicas", Type: TypeList, Default: "",
			Documentation: "Accepted so that tools work. Replication is not throttled by topic.",
		},
		{
			Name: "index.interval.bytes", Type: TypeInt, Default: "4096", synonyms: same("log.index.interval.bytes"), check: atLeast(0),
			Documentation: "Accepted so that tools work. The index has one row for each run of batches.",
		},
		{
			Name: "leader.replication.throttled.replicas", Type: TypeList, Default: "",
			Documentation: "Accepted so that tools work. Replication is not throttled by topic.",
		},
		{
			Name: "local.retention.bytes", Type: TypeLong, Default: "-2", synonyms: same("log.local.retention.bytes"), check: atLeast(-2),
			Documentation: "Accepted so that tools work. There is no remote storage: all that is retained is local.",
		},
		{
			Name: "local.retention.ms", Type: TypeLong, Default: "-2", synonyms: same("log.local.retention.ms"), check: atLeast(-2),
			Documentation: "Accepted so that tools work. There is no remote storage: all that is retained is local.",
		},
		{
			Name: keyMaxCompactionLag, Type: TypeLong, Default: maxLong, synonyms: same("log.cleaner.max.compaction.lag.ms"), check: atLeast(1),
			Documentation: "How long a record of a compacted topic may wait until it is considered for compaction.",
		},
		{
			Name: KeyMaxMessageBytes, Type: TypeInt, Default: strconv.Itoa(1<<20 + 12), synonyms: same("message.max.bytes"), check: between(0, MaxMessageBytes),
			Documentation: "The largest batch of records that is accepted, in bytes after compression, 12 bytes of its header included.",
		},
		{
			Name: KeyTimestampAfter, Type: TypeLong, Default: "3600000", synonyms: same("log.message.timestamp.after.max.ms"), check: atLeast(0),
			Documentation: "How far a record's time may lie after the broker's, unless the broker sets the time itself.",
		},
		{
			Name: KeyTimestampBefore, Type: TypeLong, Default: maxLong, synonyms: same("log.message.timestamp.before.max.ms"), check: atLeast(0),
			Documentation: "How far a record's time may lie before the broker's, unless the broker sets the time itself.",
		},
		{
			Name: KeyTimestampType, Type: TypeString, Default: "CreateTime", synonyms: same("log.message.timestamp.type"), check: oneOf("CreateTime", logTimestampAppend),
			Documentation: "Whose clock a record's time is from: CreateTime the producer's, LogAppendTime the broker's.",
		},
		{
			Name: "min.cleanable.dirty.ratio", Type: TypeDouble, Default: "0.5", synonyms: same("log.cleaner.min.cleanable.ratio"), check: fraction,
			Documentation: "How much of a compacted topic has to be new before it is compacted again.",
		},
		{
			Name: keyMinCompactionLag, Type: TypeLong, Default: "0", synonyms: same("log.cleaner.min.compaction.lag.ms"), check: atLeast(0),
			Documentation: "How long a record of a compacted topic stays before it may be compacted away.",
		},
		{
			Name: KeyMinInsyncReplicas, Type: TypeInt, Default: "1", synonyms: same(KeyMinInsyncReplicas), check: atLeast(1),
			Documentation: "Accepted so that tools work. Every acknowledged batch is on disk at a majority of the replicas.",
		},
		{
			Name: "preallocate", Type: TypeBoolean, Default: "false", synonyms: same("log.preallocate"),
			Documentation: "Accepted so that tools work. Segments are always preallocated.",
		},
		{
			Name: "remote.storage.enable", Type: TypeBoolean, Default: "false", check: onlyFalse,
			Documentation: "Whether old segments go to remote storage, which this server does not have: only false is accepted.",
		},
		{
			Name: KeyRetentionBytes, Type: TypeLong, Default: "-1", synonyms: same("log.retention.bytes"),
			Documentation: "How large a partition may become before its oldest records go; -1 for no limit.",
		},
		{
			Name: KeyRetentionMs, Type: TypeLong, Default: "604800000", check: atLeast(-1),
			synonyms:      []synonym{{"log.retention.ms", 1}, {"log.retention.minutes", minute}, {"log.retention.hours", hour}},
			Documentation: "How long records are kept at least; -1 for ever.",
		},
		{
			Name: "segment.bytes", Type: TypeInt, Default: "1073741824", synonyms: same("log.segment.bytes"), check: atLeast(14),
			Documentation: "Accepted so that tools work. All partitions of a node share one log, whose segments have a size of their own.",
		},
		{
			Name: "segment.index.bytes", Type: TypeInt, Default: "10485760", synonyms: same("log.index.size.max.bytes"), check: atLeast(4),
			Documentation: "Accepted so that tools work. The index grows as it needs to.",
		},
		{
			Name: "segment.jitter.ms", Type: TypeLong, Default: "0", check: atLeast(0),
			synonyms:      []synonym{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", hour}},
			Documentation: "Accepted so that tools work. Segments end by size alone.",
		},
		{
			Name: "segment.ms", Type: TypeLong, Default: "604800000", check: atLeast(1),
			synonyms:      []synonym{{"log.roll.ms", 1}, {"log.roll.hours", hour}},
			Documentation: "Accepted so that tools work. Segments end by size alone.",
		},
		{
			Name: "unclean.leader.election.enable", Type: TypeBoolean, Default: "false", synonyms: same("unclean.leader.election.enable"), check: onlyFalse,
			Documentation: "Whether a replica that lacks acknowledged records may lead. It never may: only false is accepted.",
		},
	}
}
