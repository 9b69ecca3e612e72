package broker

import (
	"context"

	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

// A cluster is this node's replica of the metadata. It calls b.viewChanged after each applied change.
type cluster struct{}

// newCluster registers the node-to-node calls; nothing runs before start.
func newCluster(b *Broker) *cluster { return &cluster{} }

// machine returns the state machine of shard 0.
func (c *cluster) machine() (replication.StateMachine, error) { return nil, nil }

// view returns the metadata as it is known here.
func (c *cluster) view() *meta.View { return &meta.View{} }

// start begins to register this node; close ends it.
func (c *cluster) start() {}
func (c *cluster) close() {}

// ready returns nil when the metadata is usable and this node registered, else the reason.
func (c *cluster) ready() error { return nil }

// CreateTopics asks the metadata's leader.
func (b *Broker) CreateTopics(ctx context.Context, request *meta.CreateTopics) (*meta.CreateTopicsResult, error) {
	return nil, ErrUnsupported
}

// DeleteTopics asks the metadata's leader.
func (b *Broker) DeleteTopics(ctx context.Context, request *meta.DeleteTopics) (*meta.DeleteTopicsResult, error) {
	return nil, ErrUnsupported
}

// CreatePartitions asks the metadata's leader.
func (b *Broker) CreatePartitions(ctx context.Context, request *meta.CreatePartitions) (*meta.CreatePartitionsResult, error) {
	return nil, ErrUnsupported
}

// AlterConfigs asks the metadata's leader.
func (b *Broker) AlterConfigs(ctx context.Context, request *meta.AlterConfigs) (*meta.AlterConfigsResult, error) {
	return nil, ErrUnsupported
}

// IncrementalAlterConfigs asks the metadata's leader.
func (b *Broker) IncrementalAlterConfigs(ctx context.Context, request *meta.IncrementalAlterConfigs) (*meta.AlterConfigsResult, error) {
	return nil, ErrUnsupported
}

// AutoCreate creates a topic with the defaults, or returns ErrUnknownTopicOrPartition when that is not allowed.
func (b *Broker) AutoCreate(ctx context.Context, name string) (*meta.Topic, error) {
	return nil, ErrUnknownTopicOrPartition
}

// allocateProducerIDs takes a block of producer ids.
func (b *Broker) allocateProducerIDs(ctx context.Context) (*meta.ProducerIDBlock, error) {
	return nil, ErrUnsupported
}
