package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

func (m *Machine) deleteTopics(r *DeleteTopics) ([][]byte, Response, error) {
	if len(r.Topics) > m.config.MaxRequestTopics {
		return nil, nil, fmt.Errorf("%d topics in one request, at most %d are allowed: %w", len(r.Topics), m.config.MaxRequestTopics, ErrPolicyViolation)
	}
	seen := make(map[record.TopicID]int, len(r.Topics))
	topics := make([]*Topic, len(r.Topics))
	for i, ref := range r.Topics {
		if topics[i] = m.resolve(ref); topics[i] != nil {
			seen[topics[i].ID]++
		}
	}
	allowed, _ := parseBool(m.view.BrokerValue(KeyDeleteTopicEnable))
	var records [][]byte
	result := &DeleteTopicsResult{Topics: make([]DeleteTopicResult, len(r.Topics))}
	for i, ref := range r.Topics {
		answer := &result.Topics[i]
		answer.TopicRef = ref
		switch topic := topics[i]; {
		case topic == nil && ref.Name != "":
			answer.Err = fmt.Errorf("topic %q: %w", ref.Name, ErrUnknownTopic)
		case topic == nil:
			answer.Err = fmt.Errorf("topic id %x: %w", ref.ID, ErrUnknownTopicID)
		case seen[topic.ID] > 1:
			answer.Err = fmt.Errorf("topic %q is in the request more than once: %w", topic.Name, ErrInvalidRequest)
		case !allowed:
			answer.Err = fmt.Errorf("topic %q: %s is false: %w", topic.Name, KeyDeleteTopicEnable, ErrDeletionDisabled)
		default:
			answer.TopicRef = TopicRef{Name: topic.Name, ID: topic.ID}
			records = append(records, append([]byte{recordDelete}, topic.ID[:]...))
		}
	}
	return records, result, nil
}

func (m *Machine) resolve(ref TopicRef) *Topic {
	if ref.Name != "" {
		return m.view.TopicByName(ref.Name)
	}
	return m.view.TopicByID(ref.ID)
}

func (m *Machine) createPartitions(r *CreatePartitions) ([][]byte, Response, error) {
	if len(r.Topics) > m.config.MaxRequestTopics {
		return nil, nil, fmt.Errorf("%d topics in one request, at most %d are allowed: %w", len(r.Topics), m.config.MaxRequestTopics, ErrPolicyViolation)
	}
	seen := make(map[string]int, len(r.Topics))
	for i := range r.Topics {
		seen[r.Topics[i].Name]++
	}
	d := &draft{machine: m.Fork()}
	result := &CreatePartitionsResult{Topics: make([]GrowTopicResult, len(r.Topics))}
	for i := range r.Topics {
		request, answer := &r.Topics[i], &result.Topics[i]
		answer.Name = request.Name
		if seen[request.Name] > 1 {
			answer.Err = fmt.Errorf("topic %q is in the request more than once: %w", request.Name, ErrInvalidRequest)
			continue
		}
		entry, err := d.machine.growTopic(request)
		if err != nil {
			answer.Err = err
			continue
		}
		d.add(entry)
	}
	if r.ValidateOnly {
		return nil, result, nil
	}
	return d.records, result, nil
}

func (m *Machine) growTopic(r *GrowTopic) ([]byte, error) {
	topic := m.view.TopicByName(r.Name)
	if topic == nil {
		return nil, fmt.Errorf("topic %q: %w", r.Name, ErrUnknownTopic)
	}
	has, wants := len(topic.Partitions), int(r.Count)
	added := wants - has
	switch {
	case added == 0:
		return nil, fmt.Errorf("topic %q already has %d partitions: %w", r.Name, has, ErrInvalidPartitions)
	case added < 0:
		return nil, fmt.Errorf("topic %q has %d partitions, %d would not be more: %w", r.Name, has, wants, ErrInvalidPartitions)
	case topic.Options.EventStore:
		return nil, fmt.Errorf("topic %q is an event store: its streams are found by key, so its partitions stay %d: %w", r.Name, has, ErrPolicyViolation)
	}
	if len(r.Assignments) > 0 {
		if len(r.Assignments) != added {
			return nil, fmt.Errorf("%d partitions are added to topic %q, %d are assigned: %w", added, r.Name, len(r.Assignments), ErrInvalidReplicaAssignment)
		}
		for i, nodes := range r.Assignments {
			if err := m.checkReplicas(int32(has+i), nodes); err != nil {
				return nil, err
			}
		}
	}
	if err := m.checkCount(wants, added); err != nil {
		return nil, err
	}
	entry := append([]byte{recordGrow}, topic.ID[:]...)
	partitions := m.place(added)
	entry = binary.AppendUvarint(entry, uint64(added))
	entry = binary.AppendUvarint(entry, uint64(partitions[0].Partition))
	for _, p := range partitions {
		entry = append(entry, byte(p.Shard))
	}
	return entry, nil
}
