package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// DeleteTopics (key 20), versions 1 to 6.
//
// Behaviour: each topic by itself, all in one entry of the metadata.
//
// Versions: 4 is flexible; 6 names topics by name or by id.

func deleteTopics(r *request, in *kmsg.DeleteTopicsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DeleteTopicsResponse)
	wanted := &meta.DeleteTopics{}
	for _, name := range in.TopicNames {
		wanted.Topics = append(wanted.Topics, meta.TopicRef{Name: name})
	}
	for _, t := range in.Topics {
		ref := meta.TopicRef{ID: record.TopicID(t.TopicID)}
		if t.Topic != nil {
			ref.Name = *t.Topic
		}
		wanted.Topics = append(wanted.Topics, ref)
	}
	ctx, cancel := r.timeout(in.TimeoutMillis)
	defer cancel()
	result, err := r.broker().DeleteTopics(ctx, wanted)
	for i, ref := range wanted.Topics {
		deleted := meta.DeleteTopicResult{TopicRef: ref, Err: err}
		if err == nil {
			deleted = result.Topics[i]
		}
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.ErrorCode, t.ErrorMessage = r.code(deleted.Err), message(deleted.Err)
		t.TopicID = deleted.ID
		if deleted.Name != "" || in.Version < 6 {
			t.Topic = new(deleted.Name)
		}
		out.Topics = append(out.Topics, t)
	}
	return out
}
