package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/stela-db/stela/log/record"
)

// callPatience is how long a call waits for a connection before it fails.
const callPatience = 250 * time.Millisecond

// forever is for requests whose context ends them.
const forever = time.Duration(1 << 62)

// Call asks another node, or this one. Request and answer have at most MaxCall bytes.
// An error of the other side's handler is a *RemoteError; ErrUnreachable says that
// the request may or may not have been worked on.
func (e *Endpoint) Call(ctx context.Context, node int32, kind uint8, request []byte) ([]byte, error) {
	if len(request) > MaxCall {
		return nil, fmt.Errorf("call of %d bytes, limit %d: %w", len(request), MaxCall, record.ErrTooLarge)
	}
	if node == e.config.Self.Node {
		return e.callSelf(ctx, kind, request)
	}
	k, err := e.callLink(ctx, node, e.handlers[kind].open)
	if err != nil {
		return nil, err
	}
	left := uint32(0)
	if deadline, ok := ctx.Deadline(); ok {
		left = uint32(max(1, min(time.Until(deadline).Milliseconds(), 1<<31)))
	}
	head, err := k.ask(header{kind: kindCall, call: kind, count: left}, request, forever, ctx.Done())
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("call of node %d: %w", node, ctx.Err())
	}
	return head, err
}

func (e *Endpoint) callSelf(ctx context.Context, kind uint8, request []byte) ([]byte, error) {
	handler := e.handlers[kind]
	if handler.answer == nil {
		return nil, &RemoteError{Node: e.config.Self.Node, Text: errNoCall.Error()}
	}
	answer, err := handler.answer(ctx, e.config.Self, request)
	if err != nil {
		return nil, &RemoteError{Node: e.config.Self.Node, Text: err.Error()}
	}
	return answer, nil
}

func (e *Endpoint) callLink(ctx context.Context, node int32, open bool) (*link, error) {
	r := e.remotes[node]
	if r == nil {
		return nil, fmt.Errorf("node %d is not among the peers: %w", node, ErrUnreachable)
	}
	return r.lines[classBulk].wait(callPatience, open, ctx.Done())
}

// Fetch asks a peer for retained entries of a shard, from an index on and at most
// through another, about that many bytes. They lie in one frame: the first entry
// that has one says so, and the caller releases it by Release of the result.
func (e *Endpoint) Fetch(ctx context.Context, node int32, shard record.Shard, from, through record.Index) (*Fetched, error) {
	k, err := e.callLink(ctx, node, false)
	if err != nil {
		return nil, err
	}
	type result struct {
		fetched *Fetched
		err     error
	}
	results := make(chan result, 1)
	id, err := k.register(func(m *message, err error) {
		if err != nil {
			results <- result{err: err}
			return
		}
		f := &Fetched{Entries: m.entries, message: *m}
		for i := range f.Entries {
			f.Entries[i].Frame = m.frame
		}
		m.frame = nil // it is the result's now
		results <- result{fetched: f}
	})
	if err != nil {
		return nil, err
	}
	b := appendFetch(make([]byte, headerBytes), fetchRange{uint64(from), uint64(through), splitBytes})
	putHeader(b, header{kind: kindFetch, shard: shard, length: uint32(len(b)), id: id})
	if err := k.write([][]byte{b}); err != nil {
		return nil, err
	}
	select {
	case r := <-results:
		return r.fetched, r.err
	case <-ctx.Done():
		if !k.forget(id) { // it has just come
			if r := <-results; r.fetched != nil {
				r.fetched.Release()
			}
		}
		return nil, fmt.Errorf("fetch from node %d: %w", node, ctx.Err())
	}
}

// Fetched is a run of entries that a peer sent, verified.
type Fetched struct {
	Entries []Entry
	message message
}

// Release gives the entries' frame back.
func (f *Fetched) Release() { f.message.release() }
