package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
)

// DeleteRecords (key 21), versions 0 to 2.
//
// Behaviour: moves a partition's begin up to an offset, or to its end for -1, and answers the new begin.
//
// Versions: 2 is flexible.

func deleteRecords(r *request, in *kmsg.DeleteRecordsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DeleteRecordsResponse)
	ctx, cancel := r.timeout(in.TimeoutMillis)
	defer cancel()
	for i := range in.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = in.Topics[i].Topic
		for _, p := range in.Topics[i].Partitions {
			answer := kmsg.NewDeleteRecordsResponseTopicPartition()
			answer.Partition, answer.LowWatermark = p.Partition, -1
			partition, err := r.broker().Partition(topic.Topic, p.Partition)
			if err == nil {
				low, deleteErr := r.broker().DeleteRecords(ctx, partition, record.Offset(p.Offset))
				if err = deleteErr; err == nil {
					answer.LowWatermark = int64(low)
				}
			}
			answer.ErrorCode = r.code(err)
			topic.Partitions = append(topic.Partitions, answer)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}
