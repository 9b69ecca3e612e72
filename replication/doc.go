// Package replication keeps copies of the shards on the nodes of a cluster: one
// Raft group per shard, all over one transport and one log.
//
// It knows hashicorp/raft, how a cluster forms, how nodes join and come back, and
// how a node that is far behind catches up. It does not know what entries mean:
// that is a StateMachine's.
package replication
