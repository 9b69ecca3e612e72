package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/group"
)

// OffsetCommit (key 8), versions 2 to 9.
//
// Behaviour: stores the offsets of partitions that exist; the answer comes when they are committed to the log.
//
// Versions: up to 4 the client may say how long to keep them; 6 adds leader epochs; 7 adds static members; 8 is flexible;
// 9 knows GROUP_ID_NOT_FOUND.

func offsetCommit(r *request, in *kmsg.OffsetCommitRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.OffsetCommitResponse)
	commit := &group.OffsetCommit{
		Group:                in.Group,
		MemberID:             in.MemberID,
		InstanceID:           value(in.InstanceID),
		Generation:           in.Generation,
		Retention:            -1,
		ReportsGroupNotFound: in.Version >= 9,
	}
	if in.RetentionTimeMillis >= 0 {
		commit.Retention = time.Duration(min(in.RetentionTimeMillis, maxRetention)) * time.Millisecond
	}
	for i := range in.Topics {
		topic := group.CommitTopic{Name: in.Topics[i].Topic}
		for _, p := range in.Topics[i].Partitions {
			topic.Partitions = append(topic.Partitions, group.CommitPartition{
				Index: p.Partition, Offset: record.Offset(p.Offset), LeaderEpoch: p.LeaderEpoch, Metadata: value(p.Metadata),
			})
		}
		commit.Topics = append(commit.Topics, topic)
	}
	response, err := r.broker().Group(r.ctx, in.Group, commit)
	result, _ := response.(*group.CommitResult)
	for i := range in.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic = in.Topics[i].Topic
		for j, p := range in.Topics[i].Partitions {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition = p.Partition
			partitionErr := err
			if err == nil {
				partitionErr = result.Topics[i].Partitions[j].Err
			}
			partition.ErrorCode = r.groupCode(partitionErr)
			topic.Partitions = append(topic.Partitions, partition)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}

// maxRetention is the longest time in milliseconds that a duration can hold.
const maxRetention = int64(1<<63-1) / int64(time.Millisecond)
