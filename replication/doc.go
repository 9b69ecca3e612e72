// Package replication keeps copies of every shard on the nodes of a cluster: one
// Raft group per shard, all over one log and one transport per node.
//
// It knows hashicorp/raft, how a cluster forms, how a node that was wiped or that is
// far behind comes back, and snapshots. It does not know what entries mean: that is a
// StateMachine's, and a payload is opaque but for the checks of log/record. Nor does it
// know topics, clients or retention.
//
// # Promises
//
// Durability. A proposal whose Wait returned nil is synced on a majority of the voters
// and applied on this node. Term and vote are synced before they are told. What a node
// acknowledged it keeps until something that is durable supersedes it. Entries are
// queued and sent before they are synced; a follower's success, the application of an
// entry and the commit index that is sent wait for the sync (DESIGN.md, the three gates).
//
// Order. Each shard's entries are applied in order of index, each once to what
// StateMachine.Applied says, and the same on all nodes. A machine hears of Lead only
// when everything before the new term is applied; an entry whose own term is not its
// Raft term is skipped by every machine.
//
// Outcomes. ErrNotLeader means that an entry was not and will not be applied. All other
// failures of Raft are ErrUnknownOutcome.
//
// Failures. Any error of writing or syncing what Raft relies on goes to Config.Fatal,
// and nothing is answered or sent after it that would count on the disk; a disk that
// hangs is treated so after two seconds, and its node's leaderships end after one. State
// that was lost, or belongs to another node or cluster, refuses to start with a line
// that says what to do. Nothing is deleted because it cannot be read.
//
// Concurrency. Everything that is exported may be called from any goroutine. Locks that
// are held across I/O are channels, so that simulated time can pass; Close ends every
// goroutine.
//
// The files of a data folder that are this package's, drawn where they are parsed:
//
//	identity                           identityFile, identity.go
//	raft/shard-NNN/vote.a, vote.b      log.Stable: term, vote, how far a catch-up came
//	raft/shard-NNN/snapshots/*         snapshots, snapshots.go
//
// The frames between nodes are drawn in package transport; DESIGN.md says who waits for
// whom, and why things are as they are.
package replication
