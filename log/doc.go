// Package log is the event log of one node: the Raft logs of all its shards in one
// sequence of segment files, written by one goroutine that syncs once for all that is queued.
//
// It knows entries, windows and files. It does not know Raft, what a command means,
// partitions or clients: package replication puts Raft on a Shard, package broker reads
// batches by the positions that log/index keeps.
//
// The files, in Config.Dir (their bytes are drawn in log/segment and in Stable):
//
//	000000000001.segment    sealed: a head, records, and where they end is in the next head
//	000000000002.segment    active: records are added at the end, nothing is ever changed
//	000000000003.segment    prepared: reserved, all zero, as yet unused
//	removed.a, removed.b    which segments retention removed
//	LOCK
//
// Everything that is queued is written with one call and synced once; with Config.Direct past the system's
// page cache, where the file system lets us (VectorFS).
//
// A shard's entries lie in the order in which they were appended, between those of
// other shards. Raft's deletions are logical: Truncate and Forget write a marker, and
// files go only by Remove.
//
// Promise. Durability: when WaitDurable returned nil, the entry and all before it
// survive the loss of power, as far as the disk keeps what it says it synced. Order: the log
// survives as a prefix of what was queued. Reads: nothing is handed out that was not
// checked. Nothing that cannot be read is deleted, overwritten or passed over silently. Memory:
// 32 bytes for each entry of a window, Config.TailBytes, and Config.ReadBytes while consumers are behind.
//
// Failures: the first error of a write or sync, or one that takes longer than
// Config.HangTimeout, ends the log: it is never tried again, all who wait get the
// error, and Config.Fatal is called. Errors of reads are returned. A torn tail is passed over by Open;
// unreadable acknowledged data is a *CorruptError.
//
// All methods may be called from any goroutine. Goroutines: the writer and the preparer of the next
// segment, both ended by Close, and one for each extent that is being read ahead, which Close waits for. DESIGN.md says why all this is so.
package log
