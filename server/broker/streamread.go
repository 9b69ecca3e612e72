package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

const (
	// readBytes bounds the events of one read of a stream, so that they fit into a message between nodes; one event
	// is given all the same.
	readBytes = 2 << 20
	// readVersions is how many versions are looked up at once.
	readVersions = 128
)

// ReadStream reads a part of one stream on whichever node leads it. An empty stream is no error: Head is -1. Fewer
// events than the limit may come although there are more: go on after the last one until Head.
func (b *Broker) ReadStream(ctx context.Context, request *ReadStreamRequest) (StreamSlice, error) {
	d := streamDesk{b}
	switch {
	case request.Limit < 1 || request.Limit > MaxReadEvents:
		return StreamSlice{}, fmt.Errorf("limit %d, wanted 1 to %d: %w", request.Limit, MaxReadEvents, ErrInvalidRequest)
	case len(request.Key) == 0 || len(request.Key) > MaxKeyBytes:
		return StreamSlice{}, fmt.Errorf("key of %d bytes, wanted 1 to %d: %w", len(request.Key), MaxKeyBytes, ErrInvalidRequest)
	case request.From < 0 && !(request.Backward && request.From == -1):
		return StreamSlice{}, fmt.Errorf("from version %d: %w", request.From, ErrInvalidRequest)
	}
	p, err := d.streamPartition(request.Topic, request.Key)
	if err != nil {
		return StreamSlice{}, err
	}
	var slice StreamSlice
	err = d.onLeader(ctx, p, true, func(node int32) error {
		var err error
		if node == b.config.Node {
			slice, err = d.readHere(ctx, p, request)
		} else {
			slice, err = d.readThere(ctx, node, p, request)
		}
		return err
	})
	return slice, err
}

// readHere reads a part of a stream of a partition that this node leads.
func (d streamDesk) readHere(ctx context.Context, p *Partition, request *ReadStreamRequest) (StreamSlice, error) {
	_, reign, err := p.state.leadership()
	if err == nil {
		err = p.state.shard.confirm(ctx, reign)
	}
	if err != nil {
		return StreamSlice{}, err
	}
	head, err := d.awaitVersion(ctx, p.state, request)
	if err != nil {
		return StreamSlice{}, err
	}
	r := streamReader{broker: d.broker, partition: p, request: request}
	slice := StreamSlice{Head: head}
	from, bytes := request.From, 0
	if request.Backward && from < 0 {
		from = head
	}
	for from >= 0 && len(slice.Events) < request.Limit {
		versions, err := d.broker.config.Index.Versions(p.state.id, request.Key, from, min(request.Limit-len(slice.Events), readVersions), request.Backward)
		if err != nil {
			return StreamSlice{}, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if len(versions) == 0 {
			break
		}
		for i := range versions {
			event, err := r.event(&versions[i])
			if err != nil {
				return StreamSlice{}, err
			}
			if !request.Until.IsZero() && event.Timestamp > request.Until.UnixMilli() {
				continue
			}
			if bytes += event.bytes(); bytes > readBytes && len(slice.Events) > 0 {
				return slice, nil
			}
			slice.Events = append(slice.Events, event)
			slice.Head = max(slice.Head, event.Version)
		}
		if from = versions[len(versions)-1].Version + 1; request.Backward {
			from -= 2
		}
		if ctx.Err() != nil {
			return StreamSlice{}, fmt.Errorf("%w: %w", ErrTimedOut, ctx.Err())
		}
	}
	return slice, nil
}

// awaitVersion returns the stream's newest version, when that is at least the requested one, or ctx ends.
func (d streamDesk) awaitVersion(ctx context.Context, p *partitionState, request *ReadStreamRequest) (int64, error) {
	for {
		_, before, err := p.bounds()
		if err != nil {
			return -1, err
		}
		head, _, err := d.broker.config.Index.StreamHead(p.id, request.Key)
		if err != nil {
			return -1, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if head >= request.MinVersion {
			return head, nil
		}
		if _, _, err := p.leadership(); err != nil {
			return -1, err
		}
		w := newWaiter(1, 1)
		p.mu.Lock()
		grown := p.next != before
		if !grown {
			w.join(p)
		}
		p.mu.Unlock()
		if grown {
			continue
		}
		if !w.watch(p.shard) {
			w.unwatch(p.shard)
			return -1, ErrNotLeader
		}
		select {
		case <-w.signal:
		case <-ctx.Done():
			err = fmt.Errorf("stream is at version %d, not yet at %d: %w", head, request.MinVersion, ErrTimedOut)
		}
		w.unwatch(p.shard)
		if err != nil {
			return head, err
		}
	}
}

// A streamReader reads events and keeps the batch of the last one, since neighbours often lie together.
type streamReader struct {
	broker    *Broker
	partition *Partition
	request   *ReadStreamRequest
	events    []StreamEvent // of the stream in the last batch, without versions
}

// event returns the event of one version.
func (r *streamReader) event(version *index.StreamVersion) (StreamEvent, error) {
	if e, ok := r.find(version); ok {
		return e, nil
	}
	b := r.broker
	runs, err := b.config.Index.Runs(version.Partition, version.Offset, 1, nil)
	if err != nil {
		return StreamEvent{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	r.events = r.events[:0]
	if len(runs) == 1 {
		if _, err = r.partition.state.visitRun(&runs[0], func(_ *index.Run, batch record.Batch) (bool, error) {
			if batch.LastOffset() < version.Offset {
				return true, nil
			}
			return false, r.load(batch)
		}); err != nil {
			return StreamEvent{}, err
		}
	}
	e, ok := r.find(version)
	if !ok {
		return StreamEvent{}, fmt.Errorf("version %d of stream %q is not at offset %d: %w", version.Version, version.Key, version.Offset, ErrStorage)
	}
	return e, nil
}

func (r *streamReader) find(version *index.StreamVersion) (StreamEvent, bool) {
	for i := range r.events {
		if r.events[i].Offset == version.Offset {
			e := r.events[i]
			e.Version = version.Version
			return e, true
		}
	}
	return StreamEvent{}, false
}

// load copies the stream's events out of a batch.
func (r *streamReader) load(batch record.Batch) error {
	for rec, err := range r.broker.unpacker.records(batch) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if rec.Key == nil || string(rec.Key) != string(r.request.Key) {
			continue
		}
		e := StreamEvent{Partition: r.partition.number, Offset: batch.Offset(&rec), Timestamp: batch.Timestamp(&rec)}
		e.Value = cloneField(rec.Value)
		e.Headers = make([]record.Header, len(rec.Headers))
		for i, h := range rec.Headers {
			e.Headers[i] = record.Header{Key: cloneField(h.Key), Value: cloneField(h.Value)}
		}
		r.events = append(r.events, e)
	}
	return nil
}

// cloneField copies bytes; nil, which means null, stays nil.
func cloneField(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// bytes returns about how many bytes the event takes.
func (e *StreamEvent) bytes() int {
	const fixed = 64
	n := fixed + len(e.Value)
	for _, h := range e.Headers {
		n += len(h.Key) + len(h.Value) + 2
	}
	return n
}

// remaining returns how long ctx lasts, in milliseconds.
func remaining(ctx context.Context) int64 {
	if deadline, ok := ctx.Deadline(); ok {
		return max(1, time.Until(deadline).Milliseconds())
	}
	return defaultWait.Milliseconds()
}
