package clients

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func TestSarama(t *testing.T) {
	// 2.8 is what sarama speaks unless told otherwise; the other is the newest it knows.
	t.Run("2.8", func(t *testing.T) { smokeSarama(t, sarama.DefaultVersion) })
	t.Run("newest", func(t *testing.T) { smokeSarama(t, sarama.MaxVersion) })
}

func saramaConfig(version sarama.KafkaVersion) *sarama.Config {
	config := sarama.NewConfig()
	config.Version = version
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	return config
}

func smokeSarama(t *testing.T, version sarama.KafkaVersion) {
	seeds := strings.Split(brokers, ",")
	topic := unique("sarama")
	admin, err := sarama.NewClusterAdmin(seeds, saramaConfig(version))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: -1}, false); err != nil {
		t.Fatal(err)
	}
	for i, name := range codecs {
		config := saramaConfig(version)
		config.Producer.Compression = sarama.CompressionCodec(i)
		if config.Producer.Idempotent = i%2 == 0; config.Producer.Idempotent {
			config.Net.MaxOpenRequests = 1
		}
		produceSarama(t, config, topic, perCodec, func(n int) string { return padded(name, n) })
	}
	readSarama(t, version, topic, len(codecs)*perCodec)
	produceSarama(t, saramaConfig(version), topic, 10, func(n int) string { return fmt.Sprint("later-", n) })
	for _, value := range readSarama(t, version, topic, 10) {
		if !strings.HasPrefix(value, "later-") {
			t.Errorf("after coming back the group read %q", value)
		}
	}
	checkStored(t, topic, perCodec, codecs...)
	adminSarama(t, admin, topic)
}

func produceSarama(t *testing.T, config *sarama.Config, topic string, count int, value func(int) string) {
	t.Helper()
	producer, err := sarama.NewSyncProducer(strings.Split(brokers, ","), config)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for n := range count {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(fmt.Sprint("k", n)), Value: sarama.StringEncoder(value(n))})
	}
	if err := producer.SendMessages(messages); err != nil {
		t.Fatalf("produce with %v: %v", config.Producer.Compression, err)
	}
}

// A saramaMember collects values until it has the wanted number.
type saramaMember struct {
	wanted int
	values chan string
}

func (m *saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			session.MarkMessage(message, "m")
			m.values <- string(message.Value)
		case <-session.Context().Done():
			session.Commit()
			return nil
		}
	}
}

// readSarama reads in a group until wanted records were seen, commits and leaves.
func readSarama(t *testing.T, version sarama.KafkaVersion, topic string, wanted int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	group, err := sarama.NewConsumerGroup(strings.Split(brokers, ","), topic, saramaConfig(version))
	if err != nil {
		t.Fatal(err)
	}
	member := &saramaMember{wanted: wanted, values: make(chan string, wanted+1000)}
	consuming, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for consuming.Err() == nil {
			if err := group.Consume(consuming, []string{topic}, member); err != nil && !errors.Is(err, context.Canceled) {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	var values []string
	for len(values) < wanted {
		select {
		case value := <-member.values:
			values = append(values, value)
		case err := <-group.Errors():
			t.Fatalf("group: %v", err)
		case err := <-ended:
			t.Fatalf("group ended: %v", err)
		case <-ctx.Done():
			t.Fatalf("saw %d of %d records", len(values), wanted)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := group.Close(); err != nil {
		t.Fatal(err)
	}
	return values
}

func adminSarama(t *testing.T, admin sarama.ClusterAdmin, topic string) {
	committed, err := admin.ListConsumerGroupOffsets(topic, map[string][]int32{topic: {0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, block := range committed.Blocks[topic] {
		sum += block.Offset
		if block.Metadata != "m" {
			t.Errorf("the metadata of a commit is %q", block.Metadata)
		}
	}
	if sum != int64(len(codecs)*perCodec+10) {
		t.Errorf("committed offsets add up to %d", sum)
	}
	described, err := admin.DescribeConsumerGroups([]string{topic})
	if err != nil || described[0].State != "Empty" {
		t.Errorf("describe group: %v %+v", err, described)
	}
	resource := &sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}
	configs, err := admin.DescribeConfigs([]*sarama.ConfigResource{resource}, sarama.DescribeConfigsOptions{IncludeSynonyms: true})
	if err != nil || len(configs) != 1 || configs[0].ErrorCode != sarama.ErrNoError || len(configs[0].Configs) < 10 {
		t.Errorf("describe configs: %v %+v", err, configs)
	}
	if _, _, err := admin.DescribeCluster(); err != nil {
		t.Errorf("describe cluster: %v", err)
	}
	if err := admin.CreatePartitions(topic, 4, nil, false); err != nil {
		t.Errorf("create partitions: %v", err)
	}
	if err := admin.DeleteConsumerGroup(topic); err != nil {
		t.Errorf("delete group: %v", err)
	}
	if err := admin.DeleteTopic(topic); err != nil {
		t.Errorf("delete topic: %v", err)
	}
	topics, err := admin.ListTopics()
	if _, there := topics[topic]; err != nil || there {
		t.Errorf("after its deletion the topic is listed, %v", err)
	}
}
