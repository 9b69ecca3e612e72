package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/server/meta"
)

// registerTimeout bounds one attempt to register.
const registerTimeout = 5 * time.Second

// register keeps this node's entry in the metadata as it should be, until close. It asks
// at least once: the answer says how new the view must be to know what the cluster knew
// when this node started.
func (c *cluster) register() {
	self := c.self()
	for c.ctx.Err() == nil {
		changed := c.watch()
		if c.settled.Load() && c.registered(&self) {
			select {
			case <-changed:
			case <-c.ctx.Done():
			}
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, registerTimeout)
		_, err := c.ask(ctx, &meta.RegisterBroker{Broker: self})
		if err == nil && ctx.Err() == nil {
			c.settle()
		}
		cancel()
		if err != nil && c.ctx.Err() == nil {
			c.broker.logger.Info("node is not registered yet", "node", self.Node, "error", err)
			c.pause(changed)
		}
	}
}

// settle notes that the view is as new as the leader's was.
func (c *cluster) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled.Store(true)
	c.wake()
}

// unknown returns the error for a topic or partition that the view does not have: until
// the view is known to be new enough nobody may be told that there is no such thing.
func (c *cluster) unknown(known error) error {
	if c.settled.Load() {
		return known
	}
	return ErrLeaderNotAvailable
}

// Unknown returns why a topic is not found: known, or ErrLeaderNotAvailable while this node may be too new to tell.
func (b *Broker) Unknown(known error) error { return b.cluster.unknown(known) }

// AwaitMetadata waits until this node's metadata is as new as the cluster's was when the
// node started, or ctx ends. Until then it may lack topics; errors for these are ErrLeaderNotAvailable.
func (b *Broker) AwaitMetadata(ctx context.Context) {
	for !b.cluster.settled.Load() {
		changed := b.cluster.watch()
		if b.cluster.settled.Load() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-b.cluster.ctx.Done():
			return
		}
	}
}

// pause waits for a change, but not for long.
func (c *cluster) pause(changed <-chan struct{}) {
	timer := time.NewTimer(metaRetry)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

// self returns this node as clients are to know it.
func (c *cluster) self() meta.Broker {
	config := &c.broker.config
	return meta.Broker{
		Node: config.Node, Incarnation: config.Replication.Incarnation(), Rack: config.Settings.MetaConfigs[meta.KeyBrokerRack],
		Listeners: config.Listeners, HTTPAddress: config.HTTPAddress,
	}
}

func (c *cluster) registered(self *meta.Broker) bool {
	b := c.view().Broker(self.Node)
	return b != nil && b.Equal(self)
}

// ready returns nil when the metadata is usable and this node registered, else the reason.
func (c *cluster) ready() error {
	if c.group.Leader().Node < 0 {
		return fmt.Errorf("metadata: %w", ErrLeaderNotAvailable)
	}
	if !c.settled.Load() {
		return fmt.Errorf("metadata: not yet as new as the leader's: %w", ErrLeaderNotAvailable)
	}
	if self := c.self(); !c.registered(&self) {
		return fmt.Errorf("node %d is not registered yet: %w", self.Node, ErrNotController)
	}
	return nil
}

// A creation is one topic on its way because someone asked for it.
type creation struct {
	done chan struct{} // closed when err is set
	err  error
}

// AutoCreate creates a topic with the defaults, or returns ErrUnknownTopicOrPartition when that is not allowed.
// A name that no topic can have is meta.ErrInvalidTopic. Those who ask for the same topic at once are one request.
func (b *Broker) AutoCreate(ctx context.Context, name string) (*meta.Topic, error) {
	c := b.cluster
	if topic := c.view().TopicByName(name); topic != nil {
		return topic, nil
	}
	if err := meta.CheckTopicName(name); err != nil {
		return nil, err
	}
	if !b.config.Settings.AutoCreate {
		return nil, fmt.Errorf("topic %q: %w", name, c.unknown(ErrUnknownTopicOrPartition))
	}
	c.mu.Lock()
	if c.ctx.Err() != nil {
		c.mu.Unlock()
		return nil, ErrShuttingDown
	}
	waiting := c.creating[name]
	if waiting == nil {
		waiting = &creation{done: make(chan struct{})}
		c.creating[name] = waiting
		c.running.Go(func() { c.create(name, waiting) }) // ends with the request, or at close
	}
	c.mu.Unlock()
	select {
	case <-waiting.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("topic %q: %w", name, ErrTimedOut)
	}
	if waiting.err != nil {
		return nil, waiting.err
	}
	if topic := c.view().TopicByName(name); topic != nil {
		return topic, nil
	}
	return nil, fmt.Errorf("topic %q: %w", name, c.unknown(ErrUnknownTopicOrPartition)) // deleted again, or not seen here yet
}

// create creates one topic for all who wait for it.
func (c *cluster) create(name string, waiting *creation) {
	request := &meta.CreateTopics{Topics: []meta.CreateTopic{{Name: name, Partitions: -1, ReplicationFactor: -1}}}
	result, err := askFor[meta.CreateTopicsResult](c.ctx, c, request)
	if err == nil {
		err = result.Topics[0].Err
		if errors.Is(err, meta.ErrTopicExists) {
			err = nil
		}
	}
	c.mu.Lock()
	delete(c.creating, name)
	c.mu.Unlock()
	waiting.err = err
	close(waiting.done)
}
