package clients

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const perCodec = 40

// codecs are Kafka's, by the number in a batch's attributes.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

func franz(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.MetadataMinAge(100 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

// padded makes a value that is worth compressing; its first word identifies it.
func padded(codec string, i int) string {
	return fmt.Sprintf("%s-%d %s", codec, i, strings.Repeat("compress me ", 20))
}

// checkStored reads a topic whole and checks that each codec's records are all
// there, once, and stored with that codec.
func checkStored(t *testing.T, topic string, each int, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	adm := kadm.NewClient(franz(t))
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil || starts.Error() != nil {
		t.Fatal(err, starts.Error())
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	left := int64(0)
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		left += end.Offset - start.Offset
	})
	deleted := int64(0)
	starts.Each(func(start kadm.ListedOffset) { deleted += start.Offset })
	cl := franz(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]int{}
	wrong := map[string]int{}
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		for _, err := range fetches.Errors() {
			t.Fatalf("read %s: %v", topic, err.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			value := string(r.Value)
			codec := codecs[r.Attrs.CompressionType()]
			if said, _, ok := strings.Cut(value, "-"); ok && strings.Contains(value, "compress me") && said != codec {
				wrong[said+" as "+codec]++
			}
			word, _, _ := strings.Cut(value, " ")
			if seen[word]++; seen[word] > 1 {
				t.Errorf("%s is there %d times", word, seen[word])
			}
		})
	}
	if len(wrong) > 0 {
		t.Errorf("stored with another codec than asked for: %v", wrong)
	}
	absent := int64(0)
	for _, name := range names {
		for i := range each {
			if seen[fmt.Sprintf("%s-%d", name, i)] == 0 {
				absent++
			}
		}
	}
	if absent != deleted {
		t.Errorf("%d records of %s are not there, %d were deleted", absent, topic, deleted)
	}
}

// readGroup reads in a group until wanted records were seen, commits and leaves.
func readGroup(t *testing.T, topic, group string, wanted int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	cl := franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(10*time.Second))
	var seen []string
	for len(seen) < wanted {
		fetches := cl.PollFetches(ctx)
		for _, err := range fetches.Errors() {
			t.Fatalf("group %s, %d of %d records: %v", group, len(seen), wanted, err.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen = append(seen, string(r.Value)) })
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	if err := cl.LeaveGroupContext(ctx); err != nil {
		t.Fatal(err)
	}
	return seen
}

func TestFranz(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	topic := unique("franz")
	adm := kadm.NewClient(franz(t))
	if _, err := adm.CreateTopic(ctx, 3, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
	compressions := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for i, name := range codecs {
		cl := franz(t, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(compressions[i]), kgo.ProducerLinger(20*time.Millisecond))
		for n := range perCodec {
			cl.Produce(ctx, kgo.KeyStringRecord(fmt.Sprint("k", n), padded(name, n)), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce with %s: %v", name, err)
				}
			})
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	readGroup(t, topic, topic, len(codecs)*perCodec)
	cl := franz(t, kgo.DefaultProduceTopic(topic))
	for n := range 10 {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint("later-", n))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, value := range readGroup(t, topic, topic, 10) {
		if !strings.HasPrefix(value, "later-") {
			t.Errorf("after coming back the group read %q", value)
		}
	}
	checkStored(t, topic, perCodec, codecs...)
	adminFranz(ctx, t, adm, topic)
}

func adminFranz(ctx context.Context, t *testing.T, adm *kadm.Client, topic string) {
	lags, err := adm.Lag(ctx, topic)
	if err != nil || lags.Error() != nil {
		t.Fatal(err, lags.Error())
	}
	if lag := lags[topic]; lag.Lag.Total() != 0 || lag.State != "Empty" {
		t.Errorf("group is %s with a lag of %d", lag.State, lag.Lag.Total())
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil || configs[0].Err != nil || len(configs[0].Configs) < 10 {
		t.Errorf("describe configs: %v %+v", err, configs)
	}
	if _, err := adm.DeleteGroup(ctx, topic); err != nil {
		t.Errorf("delete group: %v", err)
	}
	if _, err := adm.CreateTopic(ctx, 1, -1, nil, topic); !strings.Contains(fmt.Sprint(err), kerr.TopicAlreadyExists.Message) {
		t.Errorf("create a topic twice: %v", err)
	}
	if _, err := adm.DeleteTopic(ctx, topic); err != nil {
		t.Errorf("delete topic: %v", err)
	}
	details, err := adm.ListTopics(ctx)
	if err != nil || details.Has(topic) {
		t.Errorf("after its deletion the topic is listed, %v", err)
	}
	metadata, err := adm.BrokerMetadata(ctx)
	if err != nil || len(metadata.Brokers) == 0 || metadata.Cluster == "" {
		t.Errorf("cluster: %v %+v", err, metadata)
	}
}
