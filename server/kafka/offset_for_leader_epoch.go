package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// OffsetForLeaderEpoch (key 23), versions 2 to 4.
//
// Behaviour: the newest epoch at most the one asked for, and the offset after its last record, so that a consumer learns
// whether what it has read was cut off by a change of leaders. -1 and -1 when there is no such epoch.
//
// Versions: 3 adds the replica id; 4 is flexible.

func offsetForLeaderEpoch(r *request, in *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for i := range in.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = in.Topics[i].Topic
		for j := range in.Topics[i].Partitions {
			p := &in.Topics[i].Partitions[j]
			answer := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			answer.Partition, answer.LeaderEpoch, answer.EndOffset = p.Partition, -1, -1
			if in.Version >= 3 && in.ReplicaID >= 0 {
				answer.ErrorCode = r.code(errReplicaOnly)
				topic.Partitions = append(topic.Partitions, answer)
				continue
			}
			partition, err := r.broker().Partition(topic.Topic, p.Partition)
			if err == nil {
				end, endErr := r.broker().OffsetForLeaderEpoch(partition, p.CurrentLeaderEpoch, p.LeaderEpoch)
				if err = endErr; err == nil {
					answer.LeaderEpoch, answer.EndOffset = end.LeaderEpoch, int64(end.EndOffset)
				}
			}
			answer.ErrorCode = r.code(err)
			topic.Partitions = append(topic.Partitions, answer)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}
