package broker

import (
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// A shard is this node's replica of one data shard: sequencer (while leading), state machine, coordinator.
type shard struct {
	id          record.Shard
	broker      *Broker
	group       *replication.Group
	coordinator *coordinator
}

// propose puts notes (made with record.AppendNote) into one entry of the shard, all or none. done is called once, from
// any goroutine, and must not block: nil when they are committed and replayed here, ErrNotLeader when it is certain that they are
// not and never will be, ErrTimedOut when nobody knows. Calls of one goroutine keep their order.
func (s *shard) propose(notes []byte, done func(error)) { done(ErrNotLeader) }
