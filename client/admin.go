package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A Topic describes a topic to create.
type Topic struct {
	Name       string
	Partitions int32             // from 1
	Replicas   int16             // 0: what the cluster does by itself
	Configs    map[string]string // for example "eventstore.enable": "true"
}

// keyEventStore is the one config that cannot be changed later.
const keyEventStore = "eventstore.enable"

// CreateTopics creates the topics that do not exist yet and leaves those that do as
// they are. One that is to be an event store, exists and is none is a *PlainTopicError:
// nothing but deleting it can make it one.
func (c *Client) CreateTopics(ctx context.Context, topics ...Topic) error {
	admin, err := c.administrator()
	if err != nil {
		return err
	}
	for _, topic := range topics {
		configs := map[string]*string{}
		for name, value := range topic.Configs {
			configs[name] = &value
		}
		replicas := topic.Replicas
		if replicas == 0 {
			replicas = -1
		}
		response, err := admin.CreateTopic(ctx, topic.Partitions, replicas, configs, topic.Name)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			response.ErrMessage, err = "", checkEventStore(ctx, admin, topic)
		}
		if err != nil {
			if response.ErrMessage != "" {
				return fmt.Errorf("create topic %s: %w: %s", topic.Name, err, response.ErrMessage)
			}
			return fmt.Errorf("create topic %s: %w", topic.Name, err)
		}
	}
	return nil
}

// checkEventStore looks whether a topic that exists keeps streams, if it is to.
func checkEventStore(ctx context.Context, admin *kadm.Client, topic Topic) error {
	if topic.Configs[keyEventStore] != "true" {
		return nil
	}
	described, err := admin.DescribeTopicConfigs(ctx, topic.Name)
	if err != nil {
		return err
	}
	configs, err := described.On(topic.Name, nil)
	if err == nil {
		err = configs.Err
	}
	if err != nil {
		return err
	}
	for _, config := range configs.Configs {
		if config.Key == keyEventStore && config.MaybeValue() != "true" {
			return &PlainTopicError{Topic: topic.Name}
		}
	}
	return nil
}

// Cut returns the end of each partition of the topics as of now: the high watermark.
func (c *Client) Cut(ctx context.Context, topics ...string) (Cut, error) {
	return c.offsets(ctx, (*kadm.Client).ListEndOffsets, topics)
}

// Starts returns the first offset that is kept of each partition of the topics: 0 until
// retention has removed something.
func (c *Client) Starts(ctx context.Context, topics ...string) (Cut, error) {
	return c.offsets(ctx, (*kadm.Client).ListStartOffsets, topics)
}

func (c *Client) offsets(ctx context.Context, list func(*kadm.Client, context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (Cut, error) {
	admin, err := c.administrator()
	if err != nil {
		return nil, err
	}
	listed, err := list(admin, ctx, topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets of %v: %w", topics, err)
	}
	cut := Cut{}
	for _, topic := range topics {
		for partition, offset := range listed[topic] {
			cut.Set(topic, partition, offset.Offset)
		}
		if len(cut[topic]) == 0 {
			return nil, fmt.Errorf("list offsets of %s: %w", topic, kerr.UnknownTopicOrPartition)
		}
	}
	return cut, nil
}

// Ping asks any broker for the cluster's nodes: an error says that none answers.
func (c *Client) Ping(ctx context.Context) error {
	admin, err := c.administrator()
	if err != nil {
		return err
	}
	if _, err := admin.BrokerMetadata(ctx); err != nil {
		return fmt.Errorf("reach brokers %v: %w", c.config.Brokers, err)
	}
	return nil
}
