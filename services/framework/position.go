package framework

import (
	"context"
	"sync"

	"github.com/stela-db/stela/client"
)

// A position is how far a session has folded, for those who wait for more.
type position struct {
	mu      sync.Mutex // guards cut, changed
	cut     client.Cut
	changed chan struct{} // closed when cut moves
}

func newPosition(cut client.Cut) *position {
	return &position{cut: cut.Clone(), changed: make(chan struct{})}
}

// advance moves the cut past records that were folded.
func (p *position) advance(records []client.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range records {
		r := &records[i]
		p.cut.Set(r.Topic, r.Partition, max(r.Offset+1, p.cut.Offset(r.Topic, r.Partition)))
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *position) now() (client.Cut, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut.Clone(), p.changed
}

// wait returns when enough says yes to the cut, asked again whenever it has moved.
func (p *position) wait(ctx context.Context, enough func(client.Cut) (bool, error)) error {
	for {
		cut, changed := p.now()
		if done, err := enough(cut); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// covers waits for a cut.
func (p *position) covers(ctx context.Context, wanted client.Cut) error {
	return p.wait(ctx, func(cut client.Cut) (bool, error) { return cut.Covers(wanted), nil })
}
