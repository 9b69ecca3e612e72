package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ProducerConfig tunes a Producer. The zero value is right for services.
type ProducerConfig struct {
	// BufferBytes bounds what waits to be sent; ProduceAsync blocks above it. Default 64 MiB.
	BufferBytes int
	// CreateTopics lets the first record to an unknown topic create it, when the server allows that.
	CreateTopics bool
}

// A Producer writes records: idempotent, acks from a majority, keys to partitions by
// murmur2 as every Kafka client does by default.
type Producer struct{ kafka *kgo.Client }

// Producer opens a producer. Close it.
func (c *Client) Producer(config ProducerConfig) (*Producer, error) {
	if config.BufferBytes <= 0 {
		config.BufferBytes = 64 << 20
	}
	options := []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedBytes(config.BufferBytes)}
	if config.CreateTopics {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	k, err := c.kafka(options...)
	if err != nil {
		return nil, err
	}
	return &Producer{kafka: k}, nil
}

// Produce stores the records and sets their Partition, Offset and LeaderEpoch. It
// returns when all are stored, or with the first error; then the records before
// the failed one of the same partition are stored. It goes on trying while the
// cluster has no leader, until ctx ends; a record that is on its way when ctx ends
// is waited for, since nobody could say what became of it.
func (p *Producer) Produce(ctx context.Context, records ...*Record) error {
	var (
		mu    sync.Mutex // guards first
		first error
		wait  sync.WaitGroup
	)
	for _, r := range records {
		wait.Add(1)
		p.ProduceAsync(ctx, r, func(_ *Record, err error) {
			defer wait.Done()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	wait.Wait()
	return first
}

// ProduceAsync queues one record, blocking while the buffer is full, and calls done
// once, from another goroutine and in order per partition. done must not block.
func (p *Producer) ProduceAsync(ctx context.Context, r *Record, done func(*Record, error)) {
	p.kafka.Produce(ctx, r.toKafka(), func(k *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("produce to %s: %w", r.Topic, err)
		} else {
			r.Partition, r.Offset, r.LeaderEpoch, r.Time = k.Partition, k.Offset, k.LeaderEpoch, k.Timestamp
		}
		if done != nil {
			done(r, err)
		}
	})
}

// Flush waits until nothing is queued.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.kafka.Flush(ctx); err != nil {
		return fmt.Errorf("flush producer: %w", err)
	}
	return nil
}

// Close drops what is still queued (Flush first) and the connections.
func (p *Producer) Close() { p.kafka.Close() }
