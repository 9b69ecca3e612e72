package broker

import (
	"context"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/group"
)

// A coordinator runs the groups of one data shard.
type coordinator struct{}

// newCoordinator is called when the shard is made; nothing runs before lead.
func newCoordinator(s *shard) *coordinator { return &coordinator{} }

// load replaces the replicated state by the rows of the index that begin with rowGroup. Called at the start and after a
// restore, on the state machine's goroutine.
func (c *coordinator) load() error { return nil }

// replay applies a note of kind noteGroup and puts changed rows into batch. Called on the state machine's goroutine.
func (c *coordinator) replay(batch *index.Batch, body []byte) error { return nil }

// lead and follow tell about leadership; serial, on a goroutine of replication. They must not wait for proposals.
func (c *coordinator) lead(term record.Term) {}
func (c *coordinator) follow()               {}

// viewChanged tells that the metadata changed (topics deleted, perhaps). It must not block.
func (c *coordinator) viewChanged() {}

// close ends the goroutines.
func (c *coordinator) close() {}

// Group asks the coordinator of a group.
func (b *Broker) Group(ctx context.Context, groupID string, request group.Request) (group.Response, error) {
	return nil, ErrUnsupported
}

// Coordinator returns the node that coordinates a group.
func (b *Broker) Coordinator(groupID string) (node int32, ok bool) { return -1, false }
