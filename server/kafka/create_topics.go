package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/meta"
)

// CreateTopics (key 19), versions 2 to 7.
//
// Behaviour: each topic by itself, all in one entry of the metadata; validate_only tries without doing. -1 asks for the
// default number of partitions and copies.
//
// Versions: 5 is flexible and answers partitions, copies and all configs (never null: Java's tools take that for
// success); 7 answers the topic's id.

func createTopics(r *request, in *kmsg.CreateTopicsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.CreateTopicsResponse)
	wanted := &meta.CreateTopics{ValidateOnly: in.ValidateOnly}
	for i := range in.Topics {
		t := &in.Topics[i]
		topic := meta.CreateTopic{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
		for _, a := range t.ReplicaAssignment {
			topic.Assignments = append(topic.Assignments, meta.ReplicaAssignment{Partition: a.Partition, Nodes: a.Replicas})
		}
		for _, c := range t.Configs {
			topic.Configs = append(topic.Configs, meta.Setting{Name: c.Name, Value: c.Value})
		}
		wanted.Topics = append(wanted.Topics, topic)
	}
	ctx, cancel := r.timeout(in.TimeoutMillis)
	defer cancel()
	result, err := r.broker().CreateTopics(ctx, wanted)
	for i := range in.Topics {
		created := meta.CreateTopicResult{Err: err}
		if err == nil {
			created = result.Topics[i]
		}
		bytes := len(in.Topics[i].Topic)
		for j := range created.Configs {
			bytes += structBytes/2 + len(created.Configs[j].Name) + len(value(created.Configs[j].Value))
		}
		if !r.room(bytes) {
			return nil
		}
		out.Topics = append(out.Topics, createdTopic(r, in.Topics[i].Topic, &created))
	}
	return out
}

func createdTopic(r *request, name string, created *meta.CreateTopicResult) kmsg.CreateTopicsResponseTopic {
	t := kmsg.NewCreateTopicsResponseTopic()
	t.Topic = name
	t.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	if t.ErrorCode, t.ErrorMessage = r.code(created.Err), message(created.Err); created.Err != nil {
		return t
	}
	t.TopicID, t.NumPartitions, t.ReplicationFactor = created.ID, created.Partitions, created.ReplicationFactor
	for i := range created.Configs {
		entry := &created.Configs[i]
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.ReadOnly, c.IsSensitive = entry.Name, entry.Value, entry.ReadOnly, entry.Sensitive
		c.Source = int8(entry.Source)
		t.Configs = append(t.Configs, c)
	}
	return t
}
