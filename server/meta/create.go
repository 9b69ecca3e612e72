package meta

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/stela-db/stela/log/record"
)

// A draft is the view as it will be when the records so far are replayed: the topics of one request
// see each other through it.
type draft struct {
	machine *Machine
	records [][]byte
}

// add replays a record in the draft.
func (d *draft) add(entry []byte) {
	if err := d.machine.Replay(entry, nil); err != nil {
		panic(fmt.Sprintf("BUG: metadata record of our own is refused: %v", err))
	}
	d.records = append(d.records, entry)
}

func (m *Machine) createTopics(now time.Time, r *CreateTopics) ([][]byte, Response, error) {
	if len(r.Topics) > m.config.MaxRequestTopics {
		return nil, nil, fmt.Errorf("%d topics in one request, at most %d are allowed: %w", len(r.Topics), m.config.MaxRequestTopics, ErrPolicyViolation)
	}
	seen := make(map[string]int, len(r.Topics))
	for i := range r.Topics {
		seen[r.Topics[i].Name]++
	}
	d := &draft{machine: m.Fork()}
	result := &CreateTopicsResult{Topics: make([]CreateTopicResult, len(r.Topics))}
	for i := range r.Topics {
		request, answer := &r.Topics[i], &result.Topics[i]
		answer.Name = request.Name
		if seen[request.Name] > 1 {
			answer.Err = fmt.Errorf("topic %q is in the request more than once: %w", request.Name, ErrInvalidRequest)
			continue
		}
		topic, err := d.machine.newTopic(now, request)
		if err != nil {
			answer.Err = err
			continue
		}
		d.add(appendTopic([]byte{recordTopic}, topic))
		answer.ID = topic.ID
		answer.Partitions = int32(len(topic.Partitions))
		answer.ReplicationFactor = m.config.replicas()
		answer.Set = topic.Configs
	}
	if r.ValidateOnly {
		for i := range result.Topics {
			result.Topics[i].ID = record.TopicID{}
		}
		return nil, result, nil
	}
	return d.records, result, nil
}

// newTopic returns the topic that the request asks for, in the order of Kafka's checks.
func (m *Machine) newTopic(now time.Time, r *CreateTopic) (*Topic, error) {
	if m.view.TopicByName(r.Name) != nil {
		return nil, fmt.Errorf("topic %q already exists: %w", r.Name, ErrTopicExists)
	}
	if err := CheckTopicName(r.Name); err != nil {
		return nil, err
	}
	if other := m.view.clash(r.Name); other != "" {
		return nil, fmt.Errorf("topic %q collides with topic %q: names may not differ in '.' and '_' alone: %w", r.Name, other, ErrInvalidTopic)
	}
	count, err := m.partitionCount(r)
	if err != nil {
		return nil, err
	}
	if err := m.checkCount(count, count); err != nil {
		return nil, err
	}
	configs, err := m.newTopicConfigs(r)
	if err != nil {
		return nil, err
	}
	return &Topic{
		Name: r.Name, ID: m.newTopicID(), Created: now.UTC().Truncate(time.Millisecond),
		Configs: configs, Partitions: m.place(count),
	}, nil
}

// newTopicID returns an id that no topic has and that Kafka's tools can take: not zero, not reserved.
func (m *Machine) newTopicID() record.TopicID {
	for {
		id := m.config.NewTopicID()
		if binary.BigEndian.Uint64(id[:]) != 0 && m.view.TopicByID(id) == nil {
			return id
		}
	}
}

// partitionCount returns how many partitions the request asks for, and checks its replication factor.
func (m *Machine) partitionCount(r *CreateTopic) (int, error) {
	if len(r.Assignments) > 0 {
		return m.assignedCount(r)
	}
	if r.ReplicationFactor < -1 || r.ReplicationFactor == 0 {
		return 0, fmt.Errorf("replication factor %d, it must be larger than 0, or -1 for the default: %w", r.ReplicationFactor, ErrInvalidReplicationFactor)
	}
	if int(r.ReplicationFactor) > m.config.Nodes {
		return 0, fmt.Errorf("replication factor %d, the cluster has %d nodes: %w", r.ReplicationFactor, m.config.Nodes, ErrInvalidReplicationFactor)
	}
	if r.Partitions < -1 || r.Partitions == 0 {
		return 0, fmt.Errorf("%d partitions, there must be at least 1, or -1 for the default: %w", r.Partitions, ErrInvalidPartitions)
	}
	if r.Partitions == -1 {
		return int(max(1, parseLong(m.view.BrokerValue(KeyNumPartitions), 1))), nil
	}
	return int(r.Partitions), nil
}

func (m *Machine) assignedCount(r *CreateTopic) (int, error) {
	if r.ReplicationFactor != -1 || r.Partitions != -1 {
		return 0, fmt.Errorf("replicas are assigned by hand, so partitions and replication factor must be -1: %w", ErrInvalidRequest)
	}
	seen := make(map[int32]bool, len(r.Assignments))
	for _, a := range r.Assignments {
		if seen[a.Partition] {
			return 0, fmt.Errorf("partition %d is assigned more than once: %w", a.Partition, ErrInvalidReplicaAssignment)
		}
		seen[a.Partition] = true
		if a.Partition < 0 || int(a.Partition) >= len(r.Assignments) {
			return 0, fmt.Errorf("partition %d of %d: numbers must follow each other from 0: %w", a.Partition, len(r.Assignments), ErrInvalidReplicaAssignment)
		}
		if len(a.Nodes) != len(r.Assignments[0].Nodes) {
			return 0, fmt.Errorf("partition %d has %d replicas, others have %d: %w", a.Partition, len(a.Nodes), len(r.Assignments[0].Nodes), ErrInvalidReplicaAssignment)
		}
		if err := m.checkReplicas(a.Partition, a.Nodes); err != nil {
			return 0, err
		}
	}
	return len(r.Assignments), nil
}

func (m *Machine) checkReplicas(partition int32, nodes []int32) error {
	if len(nodes) == 0 {
		return fmt.Errorf("partition %d has no replicas: %w", partition, ErrInvalidReplicaAssignment)
	}
	for i, node := range nodes {
		if slices.Contains(nodes[:i], node) {
			return fmt.Errorf("partition %d has two replicas on node %d: %w", partition, node, ErrInvalidReplicaAssignment)
		}
		if m.view.Broker(node) == nil {
			return fmt.Errorf("partition %d has a replica on node %d, which is not a broker: %w", partition, node, ErrInvalidReplicaAssignment)
		}
	}
	return nil
}

// checkCount checks that a topic may have count partitions, added of which are new.
func (m *Machine) checkCount(count, added int) error {
	if count > m.config.MaxTopicPartitions {
		return fmt.Errorf("%d partitions, a topic may have %d: %w", count, m.config.MaxTopicPartitions, ErrInvalidPartitions)
	}
	if m.view.partitions+added > m.config.MaxPartitions {
		return fmt.Errorf("%d more partitions, the cluster has %d and may have %d: %w", added, m.view.partitions, m.config.MaxPartitions, ErrPolicyViolation)
	}
	if uint64(m.view.nextPartition)+uint64(added) > maxPartition {
		return fmt.Errorf("%d more partitions, all %d numbers are used up: %w", added, uint64(maxPartition), ErrPolicyViolation)
	}
	return nil
}

// place returns count new partitions, each in the shard that has the fewest by then.
func (m *Machine) place(count int) []PartitionInfo {
	load := m.view.load
	partitions := make([]PartitionInfo, count)
	for i := range partitions {
		shard := 1
		for s := 2; s <= m.dataShards; s++ {
			if load[s] < load[shard] {
				shard = s
			}
		}
		load[shard]++
		partitions[i] = PartitionInfo{Partition: record.Partition(m.view.nextPartition) + record.Partition(i), Shard: record.Shard(shard)}
	}
	return partitions
}

// newTopicConfigs returns the configs of a new topic: those of the request and what an event store has to have.
func (m *Machine) newTopicConfigs(r *CreateTopic) (map[string]string, error) {
	configs := make(map[string]string, len(r.Configs))
	for _, c := range r.Configs {
		if c.Value == nil {
			return nil, fmt.Errorf("config %s of topic %q has no value: %w", c.Name, r.Name, ErrInvalidConfig)
		}
		if _, twice := configs[c.Name]; twice {
			return nil, fmt.Errorf("config %s of topic %q is given more than once: %w", c.Name, r.Name, ErrInvalidConfig)
		}
		configs[c.Name] = *c.Value
	}
	if _, said := configs[KeyEventStore]; !said && m.isEventStoreName(r.Name) {
		configs[KeyEventStore] = "true"
	}
	if on, _ := parseBool(configs[KeyEventStore]); on {
		history := map[string]string{KeyRetentionMs: "-1", KeyRetentionBytes: "-1", KeyCleanupPolicy: policyDelete}
		maps.Copy(history, configs)
		configs = history
	}
	if err := m.checkConfigs(ResourceTopic, configs); err != nil {
		return nil, err
	}
	return configs, nil
}

func (m *Machine) isEventStoreName(name string) bool {
	return slices.ContainsFunc(parseList(m.view.BrokerValue(KeyEventStoreTopics)), func(pattern string) bool {
		matched, err := path.Match(pattern, name)
		return err == nil && matched && !strings.HasPrefix(name, "_")
	})
}
