// Package server puts one node together: log, index, replication, broker and the
// two fronts, opened from the bottom up and closed from the top down.
//
// It knows who needs what; it decides nothing itself. Everything that a node
// reaches outside (disk, network) is in its Config, so that the simulation runs
// the same node on a disk in memory.
//
// The data folder:
//
//	<data>/LOCK           held while a node runs on the folder
//	<data>/identity       node, incarnation, cluster
//	<data>/log/           segments: the truth
//	<data>/raft/          terms, votes and snapshots of the shards
//	<data>/index/         Pebble: can be deleted while the node is stopped, and comes back from the log
//
// Run returns nil after its context ended and everything was closed, and an error
// when the node could not start or cannot go on.
package server
