package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/meta"
)

// Metadata (key 3), versions 0 to 12.
//
// Behaviour: brokers are those that this node or a leader reaches; they have the addresses of the listener through which the client
// came. Topics that do not exist are created when the
// request allows it and the broker does; versions 0 to 3 cannot say and allow it. A partition without a leader is
// LEADER_NOT_AVAILABLE. The controller is always among the brokers. Replicas in sync are what the partition's leader said no
// more than a second ago: those that are connected with it and had all it had within ten seconds. Offline are those
// that neither it nor this node reaches.
//
// Versions: with 0 an empty list of topics means all, from 1 on null does; 9 is flexible; 10 tells topic ids, 12 takes them.

// metadataPatience bounds the time that a client waits for the metadata of a node that has just started.
const metadataPatience = 2 * time.Second

// Bits of the operations that a client may do: all of those that exist, as nobody is asked who they are.
const (
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	groupOperations   = 1<<3 | 1<<6 | 1<<8
)

func metadata(r *request, in *kmsg.MetadataRequest) kmsg.Response {
	// A node that has just started may not know what there is; soon it will.
	ctx, cancel := context.WithTimeout(r.ctx, metadataPatience)
	r.broker().AwaitMetadata(ctx)
	cancel()
	out := in.ResponseKind().(*kmsg.MetadataResponse)
	replicas := r.broker().Replicas(r.ctx)
	brokers := r.connection.present(replicas)
	for _, e := range brokers {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = e.node, e.host, e.port
		if e.rack != "" {
			b.Rack = new(e.rack)
		}
		out.Brokers = append(out.Brokers, b)
	}
	out.ControllerID = r.connection.controller(brokers)
	if id := r.broker().ClusterID(); id != "" {
		out.ClusterID = new(id)
	}
	if in.IncludeClusterAuthorizedOperations {
		out.AuthorizedOperations = clusterOperations
	}
	m := metadataAnswer{request: r, in: in, brokers: brokers, replicas: replicas}
	if in.Topics == nil || in.Version == 0 && len(in.Topics) == 0 {
		for topic := range r.broker().View().Topics() {
			if !m.room(topic) {
				return nil
			}
			out.Topics = append(out.Topics, m.topic(topic))
		}
		return out
	}
	type key struct {
		name string
		id   [16]byte
	}
	first := once[key]()
	for i := range in.Topics {
		t := &in.Topics[i]
		if !first(key{value(t.Topic), t.TopicID}) {
			continue
		}
		if out.Topics = append(out.Topics, m.wanted(t)); r.answer.refusal != nil {
			return nil
		}
	}
	return out
}

type metadataAnswer struct {
	request  *request
	in       *kmsg.MetadataRequest
	brokers  []endpoint
	replicas *broker.Replicas
}

// wanted answers one topic of the request, which may have to be created.
func (m *metadataAnswer) wanted(in *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	b := m.request.broker()
	if in.TopicID != [16]byte{} {
		if topic := b.View().TopicByID(record.TopicID(in.TopicID)); topic != nil {
			return m.known(topic)
		}
		return m.refused(in, b.Unknown(meta.ErrUnknownTopicID))
	}
	if in.Topic == nil {
		return m.refused(in, meta.ErrInvalidTopic)
	}
	if topic := b.View().TopicByName(*in.Topic); topic != nil {
		return m.known(topic)
	}
	if err := meta.CheckTopicName(*in.Topic); err != nil {
		return m.refused(in, err)
	}
	const saysAutoCreate = 4
	if m.in.Version >= saysAutoCreate && !m.in.AllowAutoTopicCreation {
		return m.refused(in, b.Unknown(broker.ErrUnknownTopicOrPartition))
	}
	topic, err := b.AutoCreate(m.request.ctx, *in.Topic)
	if err == nil {
		return m.known(topic)
	}
	switch {
	case errors.Is(err, broker.ErrUnknownTopicOrPartition) || errors.Is(err, meta.ErrInvalidTopic):
	case errors.Is(err, broker.ErrNotController) || errors.Is(err, broker.ErrTimedOut) || errors.Is(err, broker.ErrShuttingDown):
		err = broker.ErrLeaderNotAvailable // clients ask again
	default:
		m.request.connection.server.noise.warn("kafka: topic was not created", "topic", *in.Topic, "error", err)
	}
	return m.refused(in, err)
}

func (m *metadataAnswer) refused(in *kmsg.MetadataRequestTopic, err error) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.ErrorCode = m.request.code(err)
	t.Topic, t.TopicID = in.Topic, in.TopicID
	const takesNull = 12
	if t.Topic == nil && m.in.Version < takesNull {
		t.Topic = new("")
	}
	t.Partitions = []kmsg.MetadataResponseTopicPartition{}
	return t
}

// known is topic, or nothing when there is no memory for it.
func (m *metadataAnswer) known(topic *meta.Topic) kmsg.MetadataResponseTopic {
	if !m.room(topic) {
		return kmsg.MetadataResponseTopic{}
	}
	return m.topic(topic)
}

// room takes memory for what is told of a topic.
func (m *metadataAnswer) room(topic *meta.Topic) bool {
	const perPartition, perNode = 40, 12
	return m.request.room(len(topic.Name) + len(topic.Partitions)*(structBytes+perPartition+len(m.brokers)*perNode)/2)
}

func (m *metadataAnswer) topic(topic *meta.Topic) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID = new(topic.Name), topic.ID
	if m.in.IncludeTopicAuthorizedOperations {
		t.AuthorizedOperations = topicOperations
	}
	b := m.request.broker()
	t.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(topic.Partitions))
	for i := range topic.Partitions {
		p := &t.Partitions[i]
		p.Default()
		number := topic.Partitions[i].Partition
		p.Partition = int32(i)
		p.Leader, p.LeaderEpoch = b.Leader(number)
		p.Replicas = m.replicas.Nodes()
		p.ISR = m.replicas.InSync(topic.Partitions[i].Shard)
		p.OfflineReplicas = m.replicas.Offline(topic.Partitions[i].Shard)
		if !m.reachable(p.Leader) {
			p.Leader = -1
			p.ErrorCode = m.request.code(broker.ErrLeaderNotAvailable)
		}
	}
	return t
}

// reachable reports whether the client was told how to reach a node.
func (m *metadataAnswer) reachable(node int32) bool {
	for i := range m.brokers {
		if m.brokers[i].node == node {
			return true
		}
	}
	return false
}
