package kafka_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
)

func TestClientProducesAndConsumesInAGroup(t *testing.T) {
	address := node(t)
	ctx := patience(t)
	producer := client(t, address, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("orders"))
	const records = 1000
	for i := range records {
		producer.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "key-%d", i%7), Value: fmt.Appendf(nil, "value-%d", i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	consumer := client(t, address, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())
	for seen := 0; seen < records; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprintf("value-%d", seen); string(r.Value) != want || r.Offset != int64(seen) {
				t.Fatalf("record %d is %q at %d", seen, r.Value, r.Offset)
			}
			seen++
		})
	}
	if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

// What a client compressed is stored and served as it is, and readable.
func TestCodecsPassThrough(t *testing.T) {
	address := node(t)
	ctx := patience(t)
	for codec, compression := range map[record.Codec]kgo.CompressionCodec{
		record.CodecNone: kgo.NoCompression(), record.CodecGzip: kgo.GzipCompression(), record.CodecSnappy: kgo.SnappyCompression(),
		record.CodecLZ4: kgo.Lz4Compression(), record.CodecZstd: kgo.ZstdCompression(),
	} {
		t.Run(codec.String(), func(t *testing.T) {
			topic := "packed-" + codec.String()
			producer := client(t, address, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(topic),
				kgo.ProducerBatchCompression(compression), kgo.ProducerLinger(20*time.Millisecond))
			value := strings.Repeat("all work and no play ", 100)
			const records = 50
			for i := range records {
				producer.Produce(ctx, kgo.StringRecord(fmt.Sprint(value, i)), nil)
			}
			if err := producer.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			w := &walk{TB: t, conn: dialNode(t, address)}
			stored := ask(t, w.conn, w.fetchVersion(11, topic, 0, nil)).(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
			for len(stored) > 0 {
				batch, rest, err := record.NextBatch(stored)
				if err != nil || batch.Codec() != codec {
					t.Fatalf("a batch with codec %s, %v", batch.Codec(), err)
				}
				stored = rest
			}
			consumer := client(t, address, kgo.ConsumeTopics(topic))
			for seen := 0; seen < records; {
				fetches := consumer.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatal(err)
				}
				fetches.EachRecord(func(r *kgo.Record) {
					if want := fmt.Sprint(value, seen); string(r.Value) != want {
						t.Fatalf("record %d is %q", seen, r.Value)
					}
					seen++
				})
			}
		})
	}
}

// Two members share a topic's partitions, and one takes all when the other leaves.
func TestGroupRebalances(t *testing.T) {
	address := node(t)
	ctx := patience(t)
	w := &walk{TB: t, conn: dialNode(t, address)}
	w.topic("shared")
	owned := make(chan int, 100)
	member := func() *kgo.Client {
		partitions := 0
		return client(t, address, kgo.ConsumerGroup("sharing"), kgo.ConsumeTopics("shared"), kgo.Balancers(kgo.RangeBalancer()),
			kgo.HeartbeatInterval(100*time.Millisecond),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
				partitions += len(m["shared"])
				owned <- partitions
			}),
			kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { partitions -= len(m["shared"]) }))
	}
	wait := func(want int) {
		t.Helper()
		for {
			select {
			case n := <-owned:
				if n == want {
					return
				}
			case <-ctx.Done():
				t.Fatalf("nobody was given %d partitions", want)
			}
		}
	}
	member()
	wait(2)
	second := member()
	wait(1)
	wait(1)
	second.Close()
	wait(2)
}
