package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

// callMeta is the kind of call by which a node brings a request to the metadata's leader.
const callMeta uint8 = 16

// wireBytes bounds what one node tells another in a call, with room for the envelope of the transport.
const wireBytes = 4<<20 - 1024

// A wireRequest is a request on its way to the metadata's leader. One field is set.
type wireRequest struct {
	Create      *meta.CreateTopics            `json:",omitempty"`
	Delete      *meta.DeleteTopics            `json:",omitempty"`
	Grow        *meta.CreatePartitions        `json:",omitempty"`
	Replace     *meta.AlterConfigs            `json:",omitempty"`
	Change      *meta.IncrementalAlterConfigs `json:",omitempty"`
	Register    *meta.RegisterBroker          `json:",omitempty"`
	ProducerIDs *meta.AllocateProducerIDs     `json:",omitempty"`
}

func encodeRequest(request meta.Request) ([]byte, error) {
	var wire wireRequest
	switch r := request.(type) {
	case *meta.CreateTopics:
		wire.Create = r
	case *meta.DeleteTopics:
		wire.Delete = r
	case *meta.CreatePartitions:
		wire.Grow = r
	case *meta.AlterConfigs:
		wire.Replace = r
	case *meta.IncrementalAlterConfigs:
		wire.Change = r
	case *meta.RegisterBroker:
		wire.Register = r
	case *meta.AllocateProducerIDs:
		wire.ProducerIDs = r
	default:
		panic(fmt.Sprintf("BUG: metadata request %T", request))
	}
	b, err := json.Marshal(wire)
	if err != nil {
		return nil, fmt.Errorf("metadata request: %w: %w", err, ErrInvalidRequest)
	}
	if len(b) > wireBytes {
		return nil, fmt.Errorf("metadata request of %d bytes, at most %d are allowed: %w", len(b), wireBytes, ErrInvalidRequest)
	}
	return b, nil
}

func decodeRequest(b []byte) (meta.Request, error) {
	var wire wireRequest
	if err := json.Unmarshal(b, &wire); err != nil {
		return nil, fmt.Errorf("metadata request: %w: %w", err, ErrInvalidRequest)
	}
	switch {
	case wire.Create != nil:
		return wire.Create, nil
	case wire.Delete != nil:
		return wire.Delete, nil
	case wire.Grow != nil:
		return wire.Grow, nil
	case wire.Replace != nil:
		return wire.Replace, nil
	case wire.Change != nil:
		return wire.Change, nil
	case wire.Register != nil:
		return wire.Register, nil
	case wire.ProducerIDs != nil:
		return wire.ProducerIDs, nil
	}
	return nil, fmt.Errorf("metadata request of unknown kind: %w", ErrInvalidRequest)
}

// A wireAnswer is what the metadata's leader says to another node.
type wireAnswer struct {
	Version uint64
	Err     *wireError            `json:",omitempty"`
	Items   []wireItem            `json:",omitempty"` // topics or resources of the request in its order
	IDs     *meta.ProducerIDBlock `json:",omitempty"`
}

// A wireItem is what came of one topic or resource.
type wireItem struct {
	Name              string            `json:",omitempty"`
	Type              meta.ResourceType `json:",omitempty"`
	ID                *record.TopicID   `json:",omitempty"`
	Partitions        int32             `json:",omitempty"`
	ReplicationFactor int16             `json:",omitempty"`
	Set               map[string]string `json:",omitempty"`
	Err               *wireError        `json:",omitempty"`
}

// A wireError is an error by its sentinel's place in wireSentinels, from 1, and its text.
type wireError struct {
	Code int
	Text string `json:",omitempty"`
}

// wireSentinels returns the errors that are told apart on the other side. New ones go to the end.
func wireSentinels() []error {
	return append([]error{ErrNotController, ErrTimedOut, ErrShuttingDown, ErrInvalidRequest}, meta.Sentinels()...)
}

// A remoteError is an error of another node: its text there, and the sentinel that it wraps.
type remoteError struct {
	text     string
	sentinel error
}

// Error returns the text.
func (e *remoteError) Error() string { return e.text }

// Unwrap returns the sentinel.
func (e *remoteError) Unwrap() error { return e.sentinel }

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	for i, sentinel := range wireSentinels() {
		if errors.Is(err, sentinel) {
			return &wireError{Code: i + 1, Text: err.Error()}
		}
	}
	return &wireError{Text: err.Error()}
}

func (w *wireError) error() error {
	if w == nil {
		return nil
	}
	sentinels := wireSentinels()
	if w.Code < 1 || w.Code > len(sentinels) {
		return errors.New(w.Text)
	}
	sentinel := sentinels[w.Code-1]
	if w.Text == "" {
		return sentinel
	}
	return &remoteError{text: w.Text, sentinel: sentinel}
}

func encodeAnswer(answer metaAnswer) ([]byte, error) {
	wire := wireAnswer{Version: answer.version, Err: toWire(answer.err)}
	switch r := answer.response.(type) {
	case *meta.CreateTopicsResult:
		for i := range r.Topics {
			t := &r.Topics[i]
			wire.Items = append(wire.Items, wireItem{
				Name: t.Name, ID: &t.ID, Partitions: t.Partitions, ReplicationFactor: t.ReplicationFactor, Set: t.Set, Err: toWire(t.Err),
			})
		}
	case *meta.DeleteTopicsResult:
		for i := range r.Topics {
			t := &r.Topics[i]
			wire.Items = append(wire.Items, wireItem{Name: t.Name, ID: &t.ID, Err: toWire(t.Err)})
		}
	case *meta.CreatePartitionsResult:
		for i := range r.Topics {
			wire.Items = append(wire.Items, wireItem{Name: r.Topics[i].Name, Err: toWire(r.Topics[i].Err)})
		}
	case *meta.AlterConfigsResult:
		for i := range r.Resources {
			item := &r.Resources[i]
			wire.Items = append(wire.Items, wireItem{Name: item.Resource.Name, Type: item.Resource.Type, Err: toWire(item.Err)})
		}
	case *meta.ProducerIDBlock:
		wire.IDs = r
	}
	b, err := json.Marshal(wire)
	if err == nil && len(b) > wireBytes {
		// Thousands of topics in one request: that it was done is worth more than the details.
		for i := range wire.Items {
			wire.Items[i].Set = nil
			if wire.Items[i].Err != nil {
				wire.Items[i].Err.Text = ""
			}
		}
		b, err = json.Marshal(wire)
	}
	if err != nil {
		return nil, fmt.Errorf("metadata answer: %w", err)
	}
	return b, nil
}

// decodeAnswer reads the answer to a request.
func decodeAnswer(request meta.Request, b []byte) metaAnswer {
	var wire wireAnswer
	if err := json.Unmarshal(b, &wire); err != nil {
		return metaAnswer{err: fmt.Errorf("metadata answer: %w: %w", err, ErrTimedOut)}
	}
	answer := metaAnswer{version: wire.Version, err: wire.Err.error()}
	if answer.err != nil {
		return answer
	}
	switch request.(type) {
	case *meta.CreateTopics:
		r := &meta.CreateTopicsResult{}
		for i := range wire.Items {
			item := &wire.Items[i]
			r.Topics = append(r.Topics, meta.CreateTopicResult{
				Name: item.Name, ID: item.id(), Partitions: item.Partitions, ReplicationFactor: item.ReplicationFactor,
				Set: item.Set, Err: item.Err.error(),
			})
		}
		answer.response = r
	case *meta.DeleteTopics:
		r := &meta.DeleteTopicsResult{}
		for i := range wire.Items {
			item := &wire.Items[i]
			r.Topics = append(r.Topics, meta.DeleteTopicResult{TopicRef: meta.TopicRef{Name: item.Name, ID: item.id()}, Err: item.Err.error()})
		}
		answer.response = r
	case *meta.CreatePartitions:
		r := &meta.CreatePartitionsResult{}
		for i := range wire.Items {
			r.Topics = append(r.Topics, meta.GrowTopicResult{Name: wire.Items[i].Name, Err: wire.Items[i].Err.error()})
		}
		answer.response = r
	case *meta.AlterConfigs, *meta.IncrementalAlterConfigs:
		r := &meta.AlterConfigsResult{}
		for i := range wire.Items {
			item := &wire.Items[i]
			r.Resources = append(r.Resources, meta.AlterConfigsResourceResult{
				Resource: meta.Resource{Type: item.Type, Name: item.Name}, Err: item.Err.error(),
			})
		}
		answer.response = r
	case *meta.AllocateProducerIDs:
		if wire.IDs != nil {
			answer.response = wire.IDs
		}
	}
	return answer
}

func (w *wireItem) id() record.TopicID {
	if w.ID == nil {
		return record.TopicID{}
	}
	return *w.ID
}

// answerCall answers another node's request when this one leads the metadata.
func (c *cluster) answerCall(ctx context.Context, _ int32, b []byte) ([]byte, error) {
	request, err := decodeRequest(b)
	if err != nil {
		return encodeAnswer(metaAnswer{err: err})
	}
	if !c.group.Leader().Local {
		return encodeAnswer(metaAnswer{err: ErrNotController})
	}
	return encodeAnswer(c.submit(ctx, request))
}

// forward brings a request to the node that leads the metadata.
func (c *cluster) forward(ctx context.Context, node int32, request meta.Request) metaAnswer {
	b, err := encodeRequest(request)
	if err != nil {
		return metaAnswer{err: err}
	}
	answer, err := c.broker.config.Replication.Call(ctx, node, callMeta, b)
	switch {
	case err == nil:
		return decodeAnswer(request, answer)
	case errors.Is(err, replication.ErrUnreachable), errors.Is(err, replication.ErrNotReady):
		return metaAnswer{err: fmt.Errorf("node %d: %w: %w", node, ErrNotController, err)}
	default:
		return metaAnswer{err: fmt.Errorf("node %d: %w: %w", node, ErrTimedOut, err)}
	}
}
