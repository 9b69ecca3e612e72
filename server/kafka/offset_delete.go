package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/group"
)

// OffsetDelete (key 47), version 0.
//
// Behaviour: forgets committed offsets of topics that no member of the group consumes.

func offsetDelete(r *request, in *kmsg.OffsetDeleteRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.OffsetDeleteResponse)
	view := r.broker().View()
	forget := &group.OffsetDelete{Group: in.Group}
	for i := range in.Topics {
		topic := group.FetchTopic{Name: in.Topics[i].Topic}
		known := view.TopicByName(topic.Name)
		for _, p := range in.Topics[i].Partitions {
			if _, ok := partitionNumber(known, p.Partition); ok {
				topic.Partitions = append(topic.Partitions, p.Partition)
			}
		}
		forget.Topics = append(forget.Topics, topic)
	}
	response, err := r.broker().Group(r.ctx, in.Group, forget)
	if out.ErrorCode = r.groupCode(err); err != nil {
		out.Topics = []kmsg.OffsetDeleteResponseTopic{}
		return out
	}
	results := indexResults(response)
	for i := range in.Topics {
		topic := kmsg.NewOffsetDeleteResponseTopic()
		topic.Topic = in.Topics[i].Topic
		known := view.TopicByName(topic.Topic)
		for _, p := range in.Topics[i].Partitions {
			partition := kmsg.NewOffsetDeleteResponseTopicPartition()
			partition.Partition = p.Partition
			partitionErr := results[topicPartition{topic.Topic, p.Partition}]
			if _, ok := partitionNumber(known, p.Partition); !ok {
				partitionErr = broker.ErrUnknownTopicOrPartition
			}
			partition.ErrorCode = r.code(partitionErr)
			topic.Partitions = append(topic.Partitions, partition)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}

type topicPartition struct {
	topic     string
	partition int32
}

// indexResults returns the errors of a result's partitions, nil ones left out.
func indexResults(response group.Response) map[topicPartition]error {
	result, ok := response.(*group.CommitResult)
	if !ok || result == nil {
		return nil
	}
	out := map[topicPartition]error{}
	for _, t := range result.Topics {
		for _, p := range t.Partitions {
			if p.Err != nil {
				out[topicPartition{t.Name, p.Index}] = p.Err
			}
		}
	}
	return out
}
