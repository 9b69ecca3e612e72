// Package index keeps in Pebble where the log's batches lie and what state
// machines remember between entries.
//
// It knows rows and how to find them; it does not know what entries look like, who
// leads or what the state machines' rows mean. It is never the truth: everything
// in it can be remade from the log and the newest snapshot, so Pebble's write-ahead
// log is off, and after a crash the rows go back to the last flush together with
// the Applied row that was written in the same batch.
//
// The rows, all numbers big-endian so that they sort:
//
//	'a' shard                           -> applied index u64
//	'p' shard partition u32             -> nothing: the partition's rows belong to the shard
//	'r' partition u32 first offset u64  -> 1 to 64 runs that follow each other, each: uvarints last-first, index, term, position, start,
//	                                       bytes; varint max timestamp
//	'e' partition u32 term u64          -> first offset of the term u64
//	'v' partition u32 len u32 key version u64 -> offset u64, event id 16 bytes
//	'g' segment u64 shard               -> per partition: uvarints partition, next offset, bytes; varint max timestamp
//	'k' shard key                       -> a state machine's row
//
// A run is what one entry holds of one partition: contiguous bytes of whole
// batches. Its timestamp is the largest of the partition up to and including the
// run, which never falls along the offsets, so that a time is found by halving.
//
// What is committed gathers in memory first, up to some 6 MiB, and comes to Pebble as one batch, in the order of keys: of a row
// that changes often only the last value, of a partition's runs one row, of a group of thousands of entries. Each look-up asks both.
// Whoever reads rows in order (Scan, EpochEnd), drops ranges of them, or takes a Snapshot has what was gathered written first.
//
// Promise: a Batch is applied as a whole or not at all, readers see it at once, and
// Flush makes what was committed durable. An Index may be used from any goroutine,
// a Batch and a Snapshot by one at a time.
//
// Failures: a background error is given to Config.Fatal. A disk that hangs is not
// noticed here but by the log's watchdog: both are in one data folder. A row that cannot be parsed is an error that wraps record.ErrCorrupt and names the key.
package index
