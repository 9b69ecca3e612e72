package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ConsumerConfig says what a group reads.
type ConsumerConfig struct {
	// Group is the consumer group's name; its members share the topics' partitions.
	Group string
	// Topics are read by all members.
	Topics []string
	// FromEnd begins a group without a committed offset at the end; default: at the start.
	FromEnd bool
	// InstanceID makes the member static: a restart within SessionTimeout moves no partition.
	InstanceID string
	// SessionTimeout after which a silent member loses its partitions. Default 45 s.
	SessionTimeout time.Duration
	// FetchBytes bounds one answer of a broker, and so what is held unread. Default 4 MiB.
	FetchBytes int32
}

// A Consumer is one member of a consumer group. What was read is committed only by
// Commit: a record counts as done when its owner says so.
type Consumer struct{ kafka *kgo.Client }

// Consumer joins a group. Close it, which leaves the group.
func (c *Client) Consumer(config ConsumerConfig) (*Consumer, error) {
	if config.Group == "" || len(config.Topics) == 0 {
		return nil, errors.New("a consumer needs a group and at least one topic")
	}
	start := kgo.NewOffset().AtStart()
	if config.FromEnd {
		start = kgo.NewOffset().AtEnd()
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(config.Group), kgo.ConsumeTopics(config.Topics...), kgo.ConsumeResetOffset(start),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxBytes(fetchBytes(config.FetchBytes)),
	}
	if config.InstanceID != "" {
		options = append(options, kgo.InstanceID(config.InstanceID))
	}
	if config.SessionTimeout > 0 {
		options = append(options, kgo.SessionTimeout(config.SessionTimeout))
	}
	k, err := c.kafka(options...)
	if err != nil {
		return nil, err
	}
	return &Consumer{kafka: k}, nil
}

// Poll waits for records and returns at most limit of them (0: what is there). The
// partitions stay this member's until the next Poll, so that everything returned may
// still be committed; a member that does not poll holds up the others of its group.
func (c *Consumer) Poll(ctx context.Context, limit int) ([]Record, error) {
	c.kafka.AllowRebalance()
	return poll(ctx, c.kafka, limit)
}

// Commit says that the records, and all before them in their partitions, are done.
func (c *Consumer) Commit(ctx context.Context, records ...Record) error {
	last := make([]*kgo.Record, 0, len(records))
	for i := range records {
		r := &records[i]
		last = append(last, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, LeaderEpoch: r.LeaderEpoch})
	}
	if err := c.kafka.CommitRecords(ctx, last...); err != nil {
		return fmt.Errorf("commit %d records: %w", len(records), err)
	}
	return nil
}

// Close leaves the group and drops the connections.
func (c *Consumer) Close() { c.kafka.CloseAllowingRebalance() }

func fetchBytes(configured int32) int32 {
	if configured <= 0 {
		return 4 << 20
	}
	return configured
}

// poll returns what one poll of k gives. franz-go retries what a retry can mend and
// returns the rest.
func poll(ctx context.Context, k *kgo.Client, limit int) ([]Record, error) {
	fetches := k.PollRecords(ctx, limit)
	if fetches.IsClientClosed() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil && fetches.NumRecords() == 0 {
		return nil, fmt.Errorf("wait for records: %w", err)
	}
	var first error
	fetches.EachError(func(topic string, partition int32, err error) {
		if first == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			if errors.Is(err, kerr.OffsetOutOfRange) {
				err = fmt.Errorf("%w: %w", ErrOutOfRange, err)
			}
			first = fmt.Errorf("fetch %s partition %d: %w", topic, partition, err)
		}
	})
	records := make([]Record, 0, fetches.NumRecords())
	fetches.EachRecord(func(r *kgo.Record) { records = append(records, fromKafka(r)) })
	if first != nil && len(records) == 0 {
		return nil, first
	}
	return records, nil
}
