package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// callSeen is the kind of call by which the metadata's leader waits until a node's view has a version.
const callSeen uint8 = 17

// spreadTimeout bounds the wait for the other nodes after a change: one that hangs must not hold up the rest for long.
const spreadTimeout = 250 * time.Millisecond

// spread waits until the other nodes that can be reached know of a change, so that a client
// finds on each of them what it made on one. Followers learn of a commit with the next
// entry, without one only after Raft's commit timeout: the barrier is that entry. The
// change is a success without all this.
func (c *cluster) spread(version uint64) {
	node := c.broker.config.Replication
	request := binary.LittleEndian.AppendUint64(nil, version)
	ctx, cancel := context.WithTimeout(c.ctx, spreadTimeout)
	defer cancel()
	var waiting sync.WaitGroup
	for _, peer := range node.Peers() {
		if peer.Connected {
			waiting.Go(func() {
				if _, err := node.Call(ctx, peer.Node, callSeen, request); err != nil {
					c.broker.logger.Debug("a node may not know of a change yet", "node", peer.Node, "error", err)
				}
			})
		}
	}
	if err := c.group.Barrier(ctx); err != nil {
		c.broker.logger.Debug("the other nodes learn of a change later", "error", err)
	}
	waiting.Wait()
}

// answerSeen answers when this node's view has a version, or ctx ends.
func (c *cluster) answerSeen(ctx context.Context, _ int32, request []byte) ([]byte, error) {
	if len(request) != 8 {
		return nil, fmt.Errorf("version of %d bytes: %w", len(request), ErrInvalidRequest)
	}
	c.await(ctx, binary.LittleEndian.Uint64(request))
	return nil, ctx.Err()
}
