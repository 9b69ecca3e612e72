package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/meta"
)

// CreatePartitions (key 37), versions 0 to 3.
//
// Behaviour: gives topics more partitions, each topic by itself; validate_only tries without doing.
//
// Versions: 2 is flexible.

func createPartitions(r *request, in *kmsg.CreatePartitionsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.CreatePartitionsResponse)
	wanted := &meta.CreatePartitions{ValidateOnly: in.ValidateOnly}
	for i := range in.Topics {
		topic := meta.GrowTopic{Name: in.Topics[i].Topic, Count: in.Topics[i].Count}
		for _, a := range in.Topics[i].Assignment {
			topic.Assignments = append(topic.Assignments, a.Replicas)
		}
		wanted.Topics = append(wanted.Topics, topic)
	}
	ctx, cancel := r.timeout(in.TimeoutMillis)
	defer cancel()
	result, err := r.broker().CreatePartitions(ctx, wanted)
	for i := range in.Topics {
		topicErr := err
		if err == nil {
			topicErr = result.Topics[i].Err
		}
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = in.Topics[i].Topic
		t.ErrorCode, t.ErrorMessage = r.code(topicErr), message(topicErr)
		out.Topics = append(out.Topics, t)
	}
	return out
}
