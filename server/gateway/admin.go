package gateway

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// The bodies of the admin routes; openapi.yaml draws them.
type (
	topicList struct {
		Topics []topicBody `json:"topics"`
	}
	topicBody struct {
		Name       string            `json:"name"`
		ID         string            `json:"id"`
		CreatedAt  string            `json:"createdAt"`
		EventStore bool              `json:"eventStore"`
		Configs    map[string]string `json:"configs"`
		Partitions []partitionBody   `json:"partitions"`
	}
	partitionBody struct {
		Partition   int32   `json:"partition"`
		Shard       int     `json:"shard"`
		Leader      int32   `json:"leader"`
		Epoch       int32   `json:"epoch"`
		Replicas    []int32 `json:"replicas"`
		FirstOffset int64   `json:"firstOffset"`
		NextOffset  int64   `json:"nextOffset"`
	}
)

// topics lists the topics, or the one that the query names.
func (s *Server) topics(r *request) error {
	query, err := parseQuery(r.http.URI().QueryString(), "name")
	if err != nil {
		return badRequest("%v", err)
	}
	view := s.config.Broker.View()
	list := topicList{Topics: []topicBody{}}
	if name, ok := query["name"]; ok {
		topic := view.TopicByName(name)
		if topic == nil {
			return fmt.Errorf("topic %q: %w", clip(name), meta.ErrUnknownTopic)
		}
		list.Topics = append(list.Topics, s.describe(topic))
	} else {
		for topic := range view.Topics() {
			list.Topics = append(list.Topics, s.describe(topic))
		}
	}
	return answerValue(r, list)
}

func (s *Server) describe(topic *meta.Topic) topicBody {
	body := topicBody{
		Name: topic.Name, ID: hex.EncodeToString(topic.ID[:]), CreatedAt: topic.Created.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		EventStore: topic.Options.EventStore, Configs: topic.Configs, Partitions: make([]partitionBody, 0, len(topic.Partitions)),
	}
	if body.Configs == nil {
		body.Configs = map[string]string{}
	}
	for i, info := range topic.Partitions {
		first, next := s.offsets(topic.Name, int32(i))
		leader, epoch := s.config.Broker.Leader(info.Partition)
		body.Partitions = append(body.Partitions, partitionBody{
			Partition: int32(i), Shard: int(info.Shard), Leader: leader, Epoch: epoch,
			Replicas: s.config.Broker.Replicas(info.Partition), FirstOffset: int64(first), NextOffset: int64(next),
		})
	}
	return body
}

// offsets returns where a partition begins and ends as this node knows it; -1 when it does not.
func (s *Server) offsets(topic string, number int32) (first, next record.Offset) {
	partition, err := s.config.Broker.Partition(topic, number)
	if err != nil {
		return -1, -1
	}
	if first, err = partition.LogStart(); err != nil {
		return -1, -1
	}
	if next, err = partition.HighWatermark(); err != nil {
		return -1, -1
	}
	return first, next
}

func answerValue(r *request, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%w: write answer: %w", errInternal, err)
	}
	answerJSON(r, fasthttp.StatusOK, body)
	return nil
}

// cluster tells nodes, shards, leaders and lag as this node knows them.
func (s *Server) cluster(r *request) error {
	if _, err := parseQuery(r.http.URI().QueryString()); err != nil {
		return badRequest("%v", err)
	}
	return answerValue(r, clusterBody{Node: s.config.Broker.Node()})
}

type clusterBody struct {
	Node int32 `json:"node"`
}
