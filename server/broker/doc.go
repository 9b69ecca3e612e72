// Package broker is what a node does, whichever protocol asks for it: produce,
// fetch, list, append to a stream if its version is the expected one, and the
// runtimes of the metadata and of the group coordinators.
//
// It knows partitions, batches, producers, streams and who leads; it does not know
// Kafka's or HTTP's bytes, how Raft agrees, nor how the log lies on disk.
// server/DESIGN.md tells the life of a produce, a fetch and an append.
//
// Promise. An answer without an error means: committed by Raft, which is durable on a
// majority, and applied on this node. One offset has one value for ever; offsets of a
// partition and versions of a stream are dense in the order in which they were
// acknowledged. A batch of an idempotent producer, and an event with an id that is
// appended at an expected version, is stored once, across leader changes and restarts.
// High watermarks of a leader never go back. ErrNotLeader means that nothing was done;
// ErrTimedOut that nobody knows.
//
// Concurrency: all exported methods may be called from any goroutine. Per data shard
// there are a sequencer, which decides the order while this node leads, an answerer,
// and the state machine, which replication calls; one cleaner per node. All end at Close.
// Locks are taken in the order shard, confirmer; shard, partition; and none is held while
// waiting for Raft or for time.
//
// Failures: a state machine that meets an entry it did not expect, or an index that
// cannot be written, ends the node through Config.Fatal. What is wrong with one request
// is an error of that request; memory that a request may take is bounded by Settings.
//
// The bytes that belong to this package are notes in entries and rows of the index,
// numbers little-endian in values and big-endian in keys:
//
//	note  1 stamp      generation u64, number u64, time ms u64; the first of every entry of a data shard
//	      2 log start  partition u32, offset u64
//	      3 drop       partition u32
//	      4 versions   partition u32, base offset u64, then per record:
//	                   key length uvarint, key, version uvarint, offset minus base uvarint, event id (16)
//	      5 producer   partition u32, producer u64, epoch u16, first and last sequence u32, base offset u64
//	      6 expire     partition u32, producer u64, time of its last entry u64
//	     16 group      a record of server/group
//	     17 meta       a record of server/meta, in shard 0
//
//	row  'c'                          -> term u64, generation u64, number u64 of the last entry
//	     'd' partition u32 producer u64 -> epoch u16, count u8, time u64, count times: first u32, last u32, base u64
//	     'g' ...                      -> a row of server/group
//	     'p' partition u32            -> dropped u8, start u64, next u64, entry u64, term u64, timestamp floor u64
//	     's' segment u64              -> first entry of the shard in it u64; of this node only
//	     'x' index u64                -> nothing: an entry of a right term that was skipped
//
// An event id is the first half of the SHA-256 of the record's header ce_id.
package broker
