package broker

import (
	"fmt"
	"time"

	"github.com/stela-db/stela/internal/frame"
)

// Produce takes the batches of one request, in order. Each batch is checked here, on
// the caller's goroutine, and then queued for its shard's sequencer; Done comes later,
// or before Produce returns when the batch is refused. Produce blocks while a shard
// holds too many unanswered bytes, which is what slows down a client that is too fast.
func (b *Broker) Produce(batches []ProduceBatch) {
	now := time.Now()
	var few [16]item
	queued := few[:0]
	var shard *shard
	for i := range batches {
		it, rejected := batches[i].prepare(now)
		if rejected != nil {
			batches[i].Frame.Release()
			batches[i].Receiver.Done(ProduceResult{
				Err: rejected.err, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1, RecordErrors: rejected.records,
			})
			continue
		}
		if shard != it.state.shard && len(queued) > 0 {
			shard.enqueue(queued)
			queued = queued[:0]
		}
		shard = it.state.shard
		queued = append(queued, it)
	}
	if len(queued) > 0 {
		shard.enqueue(queued)
	}
}

// prepare checks a batch and makes it an item.
func (batch *ProduceBatch) prepare(now time.Time) (item, *rejection) {
	p := batch.Partition
	if p.state.dropped.Load() {
		return item{}, &rejection{err: ErrUnknownTopicOrPartition}
	}
	if err := p.state.shard.broker.config.Log.Writable(); err != nil {
		return item{}, &rejection{err: fmt.Errorf("%w: %w", ErrStorage, err)}
	}
	if err := p.checkHeader(batch.Batch); err != nil {
		return item{}, &rejection{err: err}
	}
	streams, rejected := p.inspect(batch.Batch, now)
	if rejected != nil {
		return item{}, rejected
	}
	if batch.Conditional {
		if rejected := streams.expect(batch.Expected, int(batch.Batch.RecordCount())); rejected != nil {
			return item{}, rejected
		}
	}
	if streams != nil {
		if n, limit := len(batch.Batch)+streams.bytes, p.state.shard.broker.config.Settings.MaxBatchBytes; n > limit {
			return item{}, &rejection{err: fmt.Errorf("batch and versions of %d bytes, limit %d: %w", n, limit, ErrMessageTooLarge)}
		}
	}
	it := item{
		state: p.state, batch: batch.Batch, frame: batch.Frame, streams: streams, receiver: batch.Receiver,
		bytes:  int64(max(len(batch.Batch), frame.MinMemory)), // a small batch holds a frame, too
		result: ProduceResult{LogAppendTime: -1},
	}
	if p.topic.Options.LogAppendTime {
		it.result.LogAppendTime = now.UnixMilli()
		batch.Batch.StampLogAppendTime(it.result.LogAppendTime)
	}
	return it, nil
}
