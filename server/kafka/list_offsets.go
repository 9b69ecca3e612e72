package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// ListOffsets (key 2), versions 1 to 9.
//
// Behaviour: the first offset whose record is not older than a time in milliseconds, or -1 for the end, -2 and -4 (local)
// for the begin, -3 for the record with the latest time; -5 (tiered) finds nothing, as nothing is tiered. Both isolation
// levels see the same end, as there are no transactions.
//
// Versions: 4 adds leader epochs; 6 is flexible; 7, 8 and 9 add -3, -4 and -5.

func listOffsets(r *request, in *kmsg.ListOffsetsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.ListOffsetsResponse)
	for i := range in.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = in.Topics[i].Topic
		for j := range in.Topics[i].Partitions {
			p := &in.Topics[i].Partitions[j]
			answer := kmsg.NewListOffsetsResponseTopicPartition()
			answer.Partition = p.Partition
			listed, err := broker.ListedOffset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}, errReplicaOnly
			if in.ReplicaID < 0 {
				listed, err = listOffset(r, topic.Topic, p)
			}
			if answer.ErrorCode = r.code(err); err == nil {
				answer.Offset, answer.Timestamp, answer.LeaderEpoch = int64(listed.Offset), listed.Timestamp, listed.LeaderEpoch
			}
			topic.Partitions = append(topic.Partitions, answer)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}

func listOffset(r *request, topic string, in *kmsg.ListOffsetsRequestTopicPartition) (broker.ListedOffset, error) {
	const (
		earliestLocal = -4
		latestTiered  = -5
	)
	none := broker.ListedOffset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}
	partition, err := r.broker().Partition(topic, in.Partition)
	if err != nil {
		return none, err
	}
	if err := checkLeaderEpoch(r.broker(), partition.ID(), in.CurrentLeaderEpoch); err != nil {
		return none, err
	}
	timestamp := in.Timestamp
	switch {
	case timestamp == earliestLocal:
		timestamp = broker.TimestampEarliest
	case timestamp == latestTiered:
		return none, nil
	case timestamp < latestTiered:
		return none, errTimestampKind
	}
	return r.broker().ListOffsets(r.ctx, partition, timestamp)
}

// checkLeaderEpoch compares the leader's epoch as a client knows it, -1 when it does not, with the present one.
func checkLeaderEpoch(b *broker.Broker, partition record.Partition, known int32) error {
	if known < 0 {
		return nil
	}
	switch _, epoch := b.Leader(partition); {
	case known < epoch:
		return broker.ErrFencedLeaderEpoch
	case known > epoch:
		return broker.ErrUnknownLeaderEpoch
	}
	return nil
}
