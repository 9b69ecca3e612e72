package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// OffsetFetch (key 9), versions 1 to 9.
//
// Behaviour: committed offsets; -1 without an error for a group, topic or partition that has none. All commits are
// stable, as there are no transactions.
//
// Versions: 2 can ask for everything and answers an error for the whole group; 5 adds leader epochs; 6 is flexible; 8 asks for
// many groups at once; 9 adds member ids, which only the newer group protocol uses.

func offsetFetch(r *request, in *kmsg.OffsetFetchRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.OffsetFetchResponse)
	const asksForMany, answersGroupError = 8, 2
	if in.Version >= asksForMany {
		first := once[string]()
		for i := range in.Groups {
			if !first(in.Groups[i].Group) {
				continue
			}
			if out.Groups = append(out.Groups, fetchedGroup(r, &in.Groups[i])); r.answer.refusal != nil {
				return nil
			}
		}
		return out
	}
	fetch := &group.OffsetFetch{Group: in.Group, All: in.Topics == nil}
	for i := range in.Topics {
		fetch.Topics = append(fetch.Topics, group.FetchTopic{Name: in.Topics[i].Topic, Partitions: in.Topics[i].Partitions})
	}
	results, err := fetchOffsets(r, fetch)
	code := r.groupCode(err)
	out.ErrorCode = code
	out.Topics = []kmsg.OffsetFetchResponseTopic{}
	if err != nil && in.Version < answersGroupError {
		results = noOffsets(fetch)
	}
	if !r.room(offsetBytes(results)) {
		return nil
	}
	for i := range results {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = results[i].Name
		for _, p := range results[i].Partitions {
			partition := kmsg.NewOffsetFetchResponseTopicPartition()
			partition.Partition, partition.Offset, partition.LeaderEpoch = p.Index, int64(p.Offset), p.LeaderEpoch
			partition.Metadata, partition.ErrorCode = new(p.Metadata), code
			topic.Partitions = append(topic.Partitions, partition)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}

// fetchedGroup answers one group of version 8 and above.
func fetchedGroup(r *request, in *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = in.Group
	out.Topics = []kmsg.OffsetFetchResponseGroupTopic{}
	fetch := &group.OffsetFetch{Group: in.Group, All: in.Topics == nil}
	for i := range in.Topics {
		fetch.Topics = append(fetch.Topics, group.FetchTopic{Name: in.Topics[i].Topic, Partitions: in.Topics[i].Partitions})
	}
	results, err := fetchOffsets(r, fetch)
	out.ErrorCode = r.groupCode(err)
	if !r.room(offsetBytes(results)) {
		return out
	}
	for i := range results {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = results[i].Name
		for _, p := range results[i].Partitions {
			partition := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			partition.Partition, partition.Offset, partition.LeaderEpoch = p.Index, int64(p.Offset), p.LeaderEpoch
			partition.Metadata = new(p.Metadata)
			topic.Partitions = append(topic.Partitions, partition)
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}

// offsetBytes returns about what offsets take in an answer.
func offsetBytes(results []group.FetchTopicResult) int {
	n := 0
	for i := range results {
		n += structBytes/2 + len(results[i].Name)
		for j := range results[i].Partitions {
			n += structBytes/2 + len(results[i].Partitions[j].Metadata)
		}
	}
	return n
}

func fetchOffsets(r *request, fetch *group.OffsetFetch) ([]group.FetchTopicResult, error) {
	response, err := r.broker().Group(r.ctx, fetch.Group, fetch)
	result, ok := response.(*group.FetchResult)
	if err != nil || !ok || result == nil {
		return nil, err
	}
	return result.Topics, nil
}

// noOffsets answers every partition that was asked for with none.
func noOffsets(fetch *group.OffsetFetch) []group.FetchTopicResult {
	out := make([]group.FetchTopicResult, len(fetch.Topics))
	for i, t := range fetch.Topics {
		out[i].Name = t.Name
		for _, index := range t.Partitions {
			out[i].Partitions = append(out[i].Partitions, group.FetchPartitionResult{Index: index, Offset: -1, LeaderEpoch: -1})
		}
	}
	return out
}
