package broker

// The kinds of notes in entries of data shards and of the metadata shard. They are on disk: never change one.
const (
	// noteStamp begins every entry of a data shard: generation u64, number u64, time in ms i64.
	noteStamp uint8 = 1
	// noteLogStart moves the begin of a partition: partition u32, offset i64.
	noteLogStart uint8 = 2
	// noteDrop says that a partition was deleted: partition u32.
	noteDrop uint8 = 3
	// noteVersions gives stream versions to records of one batch, see versions.go.
	noteVersions uint8 = 4
	// noteProducer moves a producer's sequence without records: partition u32, then a producer batch.
	noteProducer uint8 = 5
	// noteExpire forgets producers that have not written for long.
	noteExpire uint8 = 6
	// noteGroup is a record of the group coordinator; its body goes to coordinator.replay.
	noteGroup uint8 = 16
	// noteMeta is a record of the metadata machine, in shard 0 only.
	noteMeta uint8 = 17
)

// The first byte of a key in a data shard's rows of the index says whose it is. Keys
// of the metadata shard are all the metadata machine's.
const (
	rowChain     = 'c' // the last entry's generation and number
	rowProducer  = 'd' // partition u32, producer id u64, both big-endian
	rowGroup     = 'g' // the coordinator's; what follows is its own
	rowPartition = 'p' // partition u32 big-endian
	rowSegment   = 's' // segment u64 big-endian: indexes of the shard's entries in it
)
