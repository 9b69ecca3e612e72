package replication

import (
	"context"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// Group is one shard's Raft group on this node.
type Group struct{}

// Proposal is an entry on its way.
type Proposal struct{}

// Ready returns nil when the group runs, else the reason.
func (*Group) Ready() error { return ErrNotReady }

// Propose hands an entry to raft.
func (*Group) Propose(f *frame.Frame, term record.Term) (*Proposal, error) {
	f.Release()
	return nil, ErrNotLeader
}

// Wait waits for the outcome.
func (*Proposal) Wait() (record.Index, error) { return 0, ErrUnknownOutcome }

// Leader returns who leads.
func (*Group) Leader() Leadership { return Leadership{Node: -1} }

// Barrier waits until everything committed before is applied here.
func (*Group) Barrier(ctx context.Context) error { return ErrNotReady }

// VerifyLeader asks a majority whether this node still leads.
func (*Group) VerifyLeader(ctx context.Context) error { return ErrNotReady }

// Transfer gives leadership away.
func (*Group) Transfer(ctx context.Context) error { return ErrNotReady }

// Snapshot takes a snapshot now.
func (*Group) Snapshot() error { return ErrNotReady }

// Status is a group's state for metrics.
type Status struct {
	Role                  Role
	Term                  record.Term
	Commit, Applied, Last record.Index
	First, Snapshot       record.Index
	Peers                 []PeerLag
}

// PeerLag is how far another member is behind, as its leader knows.
type PeerLag struct {
	Node    int32
	Voter   bool
	Match   record.Index
	Entries uint64
}

// Status returns the state.
func (*Group) Status() Status { return Status{} }
