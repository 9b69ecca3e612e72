package broker

import (
	"context"
	"fmt"
	"sync"

	"github.com/stela-db/stela/server/meta"
)

// producerIDs gives out the ids of a block that the metadata's leader gave to this node.
type producerIDs struct {
	mu    sync.Mutex // guards block
	block meta.ProducerIDBlock
}

// take returns the next id of the block, if there is one.
func (p *producerIDs) take() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.block.Count == 0 {
		return -1, false
	}
	id := p.block.First
	p.block.First++
	p.block.Count--
	return id, true
}

// InitProducerID returns a producer id that nobody else has, with epoch 0. A transactional id is ErrUnsupported.
func (b *Broker) InitProducerID(ctx context.Context, transactionalID string) (id int64, epoch int16, err error) {
	if transactionalID != "" {
		return -1, -1, fmt.Errorf("transactions: %w", ErrUnsupported)
	}
	if id, ok := b.producers.take(); ok {
		return id, 0, nil
	}
	block, err := b.cluster.allocateProducerIDs(ctx)
	if err != nil {
		return -1, -1, err
	}
	// Of two that asked at once, each takes an id of its own block; the rest of one of them is never used.
	b.producers.mu.Lock()
	b.producers.block = meta.ProducerIDBlock{First: block.First + 1, Count: block.Count - 1}
	b.producers.mu.Unlock()
	return block.First, 0, nil
}
