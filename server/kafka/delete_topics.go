package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// DeleteTopics (key 20), versions 1 to 6.
//
// Behaviour: each topic by itself, all in one entry of the metadata.
//
// Versions: 4 is flexible; 6 names topics by name or by id, each by one of them.

func deleteTopics(r *request, in *kmsg.DeleteTopicsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DeleteTopicsResponse)
	wanted := &meta.DeleteTopics{}
	answer := func(deleted meta.DeleteTopicResult) {
		const knowsDisabled = 3
		if in.Version < knowsDisabled && errors.Is(deleted.Err, meta.ErrDeletionDisabled) {
			deleted.Err = fmt.Errorf("%w: %w", meta.ErrInvalidRequest, deleted.Err)
		}
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.ErrorCode, t.ErrorMessage = r.code(deleted.Err), message(deleted.Err)
		t.TopicID = deleted.ID
		if deleted.Name != "" || in.Version < 6 {
			t.Topic = new(deleted.Name)
		}
		out.Topics = append(out.Topics, t)
	}
	for _, name := range in.TopicNames {
		ref := meta.TopicRef{Name: name}
		if name == "" {
			answer(meta.DeleteTopicResult{TopicRef: ref, Err: meta.ErrUnknownTopic})
			continue
		}
		wanted.Topics = append(wanted.Topics, ref)
	}
	for _, t := range in.Topics {
		ref := meta.TopicRef{Name: value(t.Topic), ID: record.TopicID(t.TopicID)}
		identified := ref.ID != record.TopicID{}
		switch {
		case identified == (t.Topic != nil):
			answer(meta.DeleteTopicResult{TopicRef: ref, Err: errNameOrID})
		case !identified && ref.Name == "":
			answer(meta.DeleteTopicResult{TopicRef: ref, Err: meta.ErrUnknownTopic})
		default:
			wanted.Topics = append(wanted.Topics, ref)
		}
	}
	if len(wanted.Topics) == 0 {
		return out
	}
	ctx, cancel := r.timeout(in.TimeoutMillis)
	defer cancel()
	result, err := r.broker().DeleteTopics(ctx, wanted)
	for i, ref := range wanted.Topics {
		deleted := meta.DeleteTopicResult{TopicRef: ref, Err: err}
		if err == nil {
			deleted = result.Topics[i]
		}
		answer(deleted)
	}
	return out
}
