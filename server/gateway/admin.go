package gateway

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
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
		InSync      []int32 `json:"inSync"`
		FirstOffset int64   `json:"firstOffset"`
		NextOffset  int64   `json:"nextOffset"`
	}
	clusterBody struct {
		Cluster    string      `json:"cluster"`
		Node       int32       `json:"node"`
		Version    string      `json:"version"`
		Controller int32       `json:"controller"`
		Nodes      []nodeBody  `json:"nodes"`
		Shards     []shardBody `json:"shards"`
	}
	nodeBody struct {
		Node      int32          `json:"node"`
		HTTP      string         `json:"http"`
		Connected bool           `json:"connected"`
		Problem   string         `json:"problem,omitempty"`
		Listeners []listenerBody `json:"listeners"`
	}
	listenerBody struct {
		Name    string `json:"name"`
		Address string `json:"address"`
	}
	shardBody struct {
		Shard     int            `json:"shard"`
		Leader    int32          `json:"leader"`
		Term      uint64         `json:"term"`
		Role      string         `json:"role"`
		Commit    uint64         `json:"commit"`
		Applied   uint64         `json:"applied"`
		Last      uint64         `json:"last"`
		Followers []followerBody `json:"followers"`
	}
	followerBody struct {
		Node  int32  `json:"node"`
		Voter bool   `json:"voter"`
		Match uint64 `json:"match"`
		Lag   uint64 `json:"lag"`
	}
)

// topics lists the topics, or the one that the query names.
func (s *Server) topics(r *request) error {
	query, err := parseQuery(r.http.URI().QueryString(), "name")
	if err != nil {
		return badRequest("%v", err)
	}
	view, replicas := s.config.Broker.View(), s.config.Broker.Replicas(r.ctx)
	list := topicList{Topics: []topicBody{}}
	if name, ok := query["name"]; ok {
		topic := view.TopicByName(name)
		if topic == nil {
			return fmt.Errorf("topic %q: %w", clip(name), meta.ErrUnknownTopic)
		}
		list.Topics = append(list.Topics, s.describe(topic, replicas))
	} else {
		for topic := range view.Topics() {
			list.Topics = append(list.Topics, s.describe(topic, replicas))
		}
	}
	return answerValue(r, list)
}

func (s *Server) describe(topic *meta.Topic, replicas *broker.Replicas) topicBody {
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
			Replicas: replicas.Nodes(), InSync: replicas.InSync(info.Shard), FirstOffset: int64(first), NextOffset: int64(next),
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
	b := s.config.Broker
	status := b.Status()
	body := clusterBody{
		Cluster: b.ClusterID(), Node: b.Node(), Version: s.config.Version, Controller: b.Controller(),
		Nodes: []nodeBody{}, Shards: make([]shardBody, 0, len(status.Shards)),
	}
	for _, node := range b.View().Brokers() {
		one := nodeBody{Node: node.Node, HTTP: node.HTTPAddress, Connected: node.Node == b.Node(), Listeners: []listenerBody{}}
		for _, peer := range status.Peers {
			if peer.Node == node.Node {
				one.Connected, one.Problem = peer.Connected, peer.Problem
			}
		}
		for _, listener := range node.Listeners {
			address := net.JoinHostPort(listener.Host, strconv.Itoa(int(listener.Port)))
			one.Listeners = append(one.Listeners, listenerBody{Name: listener.Name, Address: address})
		}
		body.Nodes = append(body.Nodes, one)
	}
	for _, shard := range status.Shards {
		one := shardBody{
			Shard: int(shard.Shard), Leader: shard.Leader, Term: uint64(shard.Term), Role: shard.Role,
			Commit: uint64(shard.Commit), Applied: uint64(shard.Applied), Last: uint64(shard.Last), Followers: []followerBody{},
		}
		for _, follower := range shard.Followers {
			one.Followers = append(one.Followers, followerBody{
				Node: follower.Node, Voter: follower.Voter, Match: uint64(follower.Match), Lag: follower.Lag,
			})
		}
		body.Shards = append(body.Shards, one)
	}
	return answerValue(r, body)
}
