// Package state is the private memory of one service: a Pebble database that holds
// what the service folded from the log, and where in the log it stands.
//
// It knows key spaces, tables, transactions, checkpoints, digests and how to swap a
// rebuilt database for the live one. It does not know events or what the rows mean.
// The log is the truth; everything here can be deleted and comes back from it.
//
// Bytes. A key begins with one letter that names its space:
//
//	d table parts   domain rows: a pure function of the folded topics up to the checkpoint
//	f topic part.   checkpoint of a folded topic: next offset, 8 bytes big-endian
//	i topic part.   checkpoint of an input topic, likewise
//	a topic part. offset   a record that was put aside, and why (JSON)
//
// table, topic and parts are strings in which 0x00 is written 0x00 0xff, each ended by
// 0x00 0x01, so that keys sort as their parts do; part. is 4 and offset 8 bytes,
// big-endian. A row's value is the JSON of a Go value whose encoding has one order.
//
// Promise: a transaction is applied as a whole or not at all, also across a crash.
// Commit does not wait for the disk; Sync does, for all commits before it. A crash
// loses at most what came after the last Sync, checkpoints along with rows, so that
// folding goes on at the right place.
//
// The digest is SHA-256 over all domain rows in key order, each as length of key, key
// (without the letter), length of value, value; lengths are 8 bytes big-endian. Two
// databases that folded the same records up to the same cut have the same digest.
//
// Folders: Dir/state is the live database. A rebuild fills Dir/state.next; Switch
// renames state to state.old and state.next to state, and is finished by the next Open
// when a crash came between the two.
//
// Failures: reading or writing that fails makes the transaction void; Commit and Err
// say so. When Pebble cannot write its log any more it calls Config.Fatal once and the
// database must not be used again; the service ends and folds again from its last sync.
//
// A Database may be used from any goroutine, a Tx from one.
package state
