package kafka_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
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
