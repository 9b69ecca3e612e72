package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// maxAppendBytes bounds the batch of one append, so that it fits into a message between nodes, there and back.
const maxAppendBytes = callBytes - 64<<10

// A streamDesk does what is asked of single streams, here or on the node that leads their partition.
type streamDesk struct{ broker *Broker }

// AppendStream appends events to one stream on whichever node leads it. A version that is not the
// expected one is a *ConflictError; after ErrTimedOut a retry with the same event ids is safe.
func (b *Broker) AppendStream(ctx context.Context, request *AppendRequest) (AppendResult, error) {
	d := streamDesk{b}
	if err := request.check(); err != nil {
		return AppendResult{}, err
	}
	p, err := d.streamPartition(request.Topic, request.Key)
	if err != nil {
		return AppendResult{}, err
	}
	builder := request.batch(time.Now())
	if limit := min(p.maxBatchBytes(), maxAppendBytes); builder.Bytes() > limit {
		return AppendResult{}, fmt.Errorf("events of %d bytes, limit %d: %w", builder.Bytes(), limit, ErrMessageTooLarge)
	}
	f := b.config.Pool.Get(builder.Bytes())
	defer f.Release()
	if _, err := builder.AppendBatch(f.Bytes()[:0], nil); err != nil {
		return AppendResult{}, err
	}
	var result AppendResult
	err = d.onLeader(ctx, p, request.hasIDs(), func(node int32) error {
		if node == b.config.Node {
			var err error
			result, err = d.appendHere(ctx, p, f, request.Expected)
			return err
		}
		var err error
		result, err = d.appendThere(ctx, node, p, f.Bytes(), request.Expected)
		return err
	})
	return result, err
}

func (r *AppendRequest) check() error {
	switch {
	case len(r.Events) == 0 || len(r.Events) > MaxAppendEvents:
		return fmt.Errorf("%d events, wanted 1 to %d: %w", len(r.Events), MaxAppendEvents, ErrInvalidRequest)
	case len(r.Key) == 0 || len(r.Key) > MaxKeyBytes:
		return fmt.Errorf("key of %d bytes, wanted 1 to %d: %w", len(r.Key), MaxKeyBytes, ErrInvalidRequest)
	case r.Expected < ExpectNone && r.Expected != ExpectAny && r.Expected != ExpectExists:
		return fmt.Errorf("expected version %d: %w", int64(r.Expected), ErrInvalidRequest)
	}
	for i := range r.Events {
		if n := len(r.Events[i].ID); n > MaxEventIDBytes {
			return fmt.Errorf("event %d has an id of %d bytes, limit %d: %w", i, n, MaxEventIDBytes, ErrInvalidRequest)
		}
	}
	return nil
}

// batch makes the events' records, with the ids as their first header.
func (r *AppendRequest) batch(now time.Time) *record.Builder {
	builder := record.NewBuilder()
	var headers []record.Header
	for i := range r.Events {
		event := &r.Events[i]
		headers = headers[:0]
		if event.ID != "" {
			headers = append(headers, record.Header{Key: []byte(headerEventID), Value: []byte(event.ID)})
		}
		at := event.Time
		if at.IsZero() {
			at = now
		}
		builder.Add(at.UnixMilli(), r.Key, event.Value, append(headers, event.Headers...))
	}
	return builder
}

// streamPartition returns the partition in which a stream lies.
func (d streamDesk) streamPartition(name string, key []byte) (*Partition, error) {
	topic := d.broker.View().TopicByName(name)
	if topic == nil {
		return nil, fmt.Errorf("topic %q: %w", name, d.broker.Unknown(ErrUnknownTopicOrPartition))
	}
	if !topic.Options.EventStore {
		return nil, fmt.Errorf("topic %q: %w", name, ErrNotEventStore)
	}
	return d.broker.PartitionOf(topic, PartitionFor(key, len(topic.Partitions)))
}

// appendHere appends the batch in f, of one stream, to a partition that this node leads. It leaves f to the caller.
func (d streamDesk) appendHere(ctx context.Context, p *Partition, f *frame.Frame, expected Expected) (AppendResult, error) {
	f.Retain()
	outcome := make(chan ProduceResult, 1)
	batch := ProduceBatch{
		Partition: p, Batch: record.Batch(f.Bytes()), Frame: f, Conditional: true, Expected: expected,
		Receiver: ReceiverFunc(func(r ProduceResult) { outcome <- r }),
	}
	it, rejected := batch.prepare(time.Now())
	if rejected != nil {
		f.Release()
		return AppendResult{}, rejected.err
	}
	count := int64(len(it.streams.records))
	key := it.streams.groups[0].key
	p.state.shard.enqueue([]item{it})
	select {
	case r := <-outcome:
		if r.Err != nil {
			return AppendResult{}, d.withUnseen(ctx, p, key, r.Err)
		}
		return AppendResult{
			FirstVersion: r.FirstVersion, LastVersion: r.FirstVersion + count - 1, Partition: p.number,
			FirstOffset: r.BaseOffset, Duplicate: r.Duplicate,
		}, nil
	case <-ctx.Done():
		return AppendResult{}, errors.Join(ErrTimedOut, ctx.Err())
	}
}

// withUnseen adds to a conflict the events that the appender has not seen.
func (d streamDesk) withUnseen(ctx context.Context, p *Partition, key []byte, err error) error {
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || conflict.Expected < ExpectNone {
		return err
	}
	told := *conflict
	slice, readError := d.readHere(ctx, p, &ReadStreamRequest{
		Key: key, From: int64(conflict.Expected) + 1, Limit: MaxUnseen, MinVersion: -1,
	})
	if readError == nil {
		told.Unseen = slice.Events
		told.Actual = max(told.Actual, slice.Head)
	}
	return &told
}

const (
	// leaderRetry is the pause before a leader is asked for again.
	leaderRetry = 20 * time.Millisecond
	// defaultWait bounds appends and reads whose context has no deadline.
	defaultWait = 30 * time.Second
)

// onLeader calls do with the node that leads the partition, again after errors that say that another node leads, until
// ctx ends. After an error that leaves open what happened it does so only if again is set: do is then
// safe to repeat, and the error of the end is ErrTimedOut.
func (d streamDesk) onLeader(ctx context.Context, p *Partition, again bool, do func(node int32) error) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultWait)
		defer cancel()
	}
	var open error // of the last attempt whose outcome is not known
	for {
		err := ErrLeaderNotAvailable
		if node := p.state.shard.group.Leader().Node; node >= 0 {
			err = do(node)
		}
		switch {
		case errors.Is(err, errLost) && again:
			open = err
		case !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrLeaderNotAvailable):
			return err
		}
		if p.state.shard.isClosed() {
			return ErrShuttingDown
		}
		pause := time.NewTimer(leaderRetry)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			if open != nil {
				return open
			}
			return err
		}
	}
}

// hasIDs reports whether a repetition of the append would be recognized.
func (r *AppendRequest) hasIDs() bool {
	for i := range r.Events {
		if r.Events[i].ID == "" {
			return false
		}
	}
	return true
}
