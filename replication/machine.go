package replication

import (
	"errors"
	"io"

	"github.com/stela-db/stela/log/record"
)

var (
	// ErrNotLeader is wrapped by a proposal that was definitely not appended, so
	// that it may be proposed again elsewhere.
	ErrNotLeader = errors.New("this node does not lead the shard")
	// ErrUnknownOutcome is wrapped by a proposal that may be committed, now or later, or not.
	ErrUnknownOutcome = errors.New("the outcome of the proposal is unknown")
	// ErrSkipped is what a StateMachine answers for an entry that was stamped in
	// another term than Raft appended it in: no replica applies it.
	ErrSkipped = errors.New("entry was stamped in another term")
	// ErrNotReady is wrapped by everything that is asked of a shard before the cluster was formed or joined.
	ErrNotReady = errors.New("the shard is not running yet")
	// ErrClosed is wrapped by everything that is asked of a closed node.
	ErrClosed = errors.New("replication is closed")
	// ErrUnreachable is wrapped by a call to a node that there is no connection to.
	ErrUnreachable = errors.New("the node cannot be reached")
)

// A StateMachine is what the entries of one shard are applied to. All methods but
// the write function of Snapshot are called one at a time.
type StateMachine interface {
	// Apply applies committed entries in order and returns one error per entry,
	// which goes to the proposer: nil for applied, ErrSkipped for an entry whose
	// own term is not its Raft term. Tails are valid during the call only.
	Apply(entries []Committed) []error
	// Applied returns the last applied index; entries at or below it are not handed to Apply again.
	Applied() record.Index
	// Snapshot captures the state as it is now. write runs beside later calls of
	// Apply and must make what Applied() was durable before it returns. release is
	// called once, after write or instead of it.
	Snapshot() (write func(io.Writer) error, release func(), err error)
	// Restore replaces everything by state, which write once wrote at index at.
	// entries yields the retained entries up to at, in order, as often as it is called.
	Restore(state io.Reader, at record.Index, entries func(visit func(Committed) error) error) error
	// Lead tells that this node leads in term and has applied everything before it.
	Lead(term record.Term)
	// Follow tells that what Lead told is over.
	Follow()
}

// Committed is one committed entry.
type Committed struct {
	Index    record.Index
	Term     record.Term
	Position record.Position // in this node's log
	Bytes    uint32          // of the payload
	Tail     []byte          // of a command: rows, notes and trailer; nil for Raft's own entries
}

// Leadership says who leads a shard as far as this node knows.
type Leadership struct {
	Node  int32 // -1 for nobody
	Term  record.Term
	Local bool // this node leads and has applied everything before its term
}

// Role is what a node is in one group.
type Role uint8

// The roles, as hashicorp/raft names them.
const (
	RoleStopped Role = iota
	RoleFollower
	RoleCandidate
	RoleLeader
)

// String returns the role's name in lower case.
func (r Role) String() string {
	switch r {
	case RoleFollower:
		return "follower"
	case RoleCandidate:
		return "candidate"
	case RoleLeader:
		return "leader"
	case RoleStopped:
		return "stopped"
	}
	return "stopped"
}
