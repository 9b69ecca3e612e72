package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ReaderConfig says where a Reader begins.
type ReaderConfig struct {
	// From names the topics, their partitions and the first offset of each.
	From Cut
	// FetchBytes bounds one answer of a broker, and so what is held unread. Default 4 MiB.
	FetchBytes int32
}

// A Reader reads given partitions from given offsets and goes on as records arrive.
// Its owner keeps the positions: no group, no commit. An offset that the log does not
// have (any more) is an error of Poll, never a silent jump.
type Reader struct{ kafka *kgo.Client }

// Reader opens a reader. Close it.
func (c *Client) Reader(config ReaderConfig) (*Reader, error) {
	partitions := map[string]map[int32]kgo.Offset{}
	for topic, offsets := range config.From {
		partitions[topic] = map[int32]kgo.Offset{}
		for partition, offset := range offsets {
			partitions[topic][int32(partition)] = kgo.NewOffset().At(offset)
		}
	}
	if len(partitions) == 0 {
		return nil, errors.New("a reader needs at least one topic")
	}
	k, err := c.kafka(
		kgo.ConsumePartitions(partitions), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(fetchBytes(config.FetchBytes)), kgo.FetchMaxPartitionBytes(fetchBytes(config.FetchBytes)),
	)
	if err != nil {
		return nil, err
	}
	return &Reader{kafka: k}, nil
}

// Poll waits for records and returns at most limit of them (0: what is there), in
// order per partition.
func (r *Reader) Poll(ctx context.Context, limit int) ([]Record, error) {
	return poll(ctx, r.kafka, limit)
}

// Close drops the connections.
func (r *Reader) Close() { r.kafka.Close() }

// Progress tells how far a Replay is.
type Progress struct {
	Done  int64 // offsets passed
	Total int64 // offsets between the two cuts that the replay began with
	Cut   Cut   // where each partition stands; read only during the call
}

// ReplayRequest says what to replay.
type ReplayRequest struct {
	// From is where to begin. Default: offset 0 of every partition, which is an error where
	// offset 0 is no longer kept; what Client.Starts returned begins with what there is.
	From Cut
	// To is where to stop: what Client.Cut returned, or an earlier vector.
	To Cut
	// Visit gets every record from From on and below To once, in order per partition. Its error ends the replay.
	Visit func(Record) error
	// Progress, if set, is called after each piece that was read, from the goroutine of Replay.
	Progress func(Progress)
}

// Replay reads topics from one cut to another and returns when all of it was visited. A
// cut that the log has not come to yet is an error.
func (c *Client) Replay(ctx context.Context, request ReplayRequest) error {
	from, at := Cut{}, Cut{}
	var done, total int64
	for topic, offsets := range request.To {
		for partition, end := range offsets {
			begin := request.From.Offset(topic, int32(partition))
			from.Set(topic, int32(partition), begin)
			at.Set(topic, int32(partition), begin)
			total += max(0, end-begin)
		}
	}
	report := func() {
		if request.Progress != nil {
			request.Progress(Progress{Done: done, Total: total, Cut: at})
		}
	}
	report()
	if total == 0 {
		return nil
	}
	ends, err := c.Cut(ctx, slices.Sorted(maps.Keys(request.To))...)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if !ends.Covers(request.To) {
		return fmt.Errorf("replay: the log ends at %s, before %s", ends, request.To)
	}
	reader, err := c.Reader(ReaderConfig{From: from})
	if err != nil {
		return err
	}
	defer reader.Close()
	for done < total {
		records, err := reader.Poll(ctx, 0)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		for _, r := range records {
			end := request.To.Offset(r.Topic, r.Partition)
			next := min(r.Offset+1, end)
			if r.Offset < end {
				if err := request.Visit(r); err != nil {
					return fmt.Errorf("replay %s partition %d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
				}
			}
			// Offsets without a record (retention, control records) count as passed.
			done += max(0, next-at.Offset(r.Topic, r.Partition))
			at.Set(r.Topic, r.Partition, max(next, at.Offset(r.Topic, r.Partition)))
		}
		report()
	}
	return nil
}
