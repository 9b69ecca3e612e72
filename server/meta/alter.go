package meta

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A target is what configs are altered of.
type target struct {
	resource Resource
	topic    *Topic // of a topic
	node     int32  // of a broker; allNodes for all
	configs  map[string]string
}

func (m *Machine) target(r Resource) (*target, error) {
	switch r.Type {
	case ResourceTopic:
		if err := CheckTopicName(r.Name); err != nil {
			return nil, err
		}
		topic := m.view.TopicByName(r.Name)
		if topic == nil {
			return nil, fmt.Errorf("topic %q: %w", r.Name, ErrUnknownTopic)
		}
		return &target{resource: r, topic: topic, configs: topic.Configs}, nil
	case ResourceBroker:
		if r.Name == "" {
			return &target{resource: r, node: allNodes, configs: m.view.settings[allNodes]}, nil
		}
		node, err := strconv.ParseInt(r.Name, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("broker %q is not a number: %w", r.Name, ErrInvalidRequest)
		}
		if m.view.Broker(int32(node)) == nil {
			return nil, fmt.Errorf("broker %d: %w", node, ErrUnknownBroker)
		}
		return &target{resource: r, node: int32(node), configs: m.view.settings[int32(node)]}, nil
	default:
		return nil, fmt.Errorf("resource type %d has no configs: %w", r.Type, ErrInvalidRequest)
	}
}

// replaceConfigs is the older AlterConfigs: what is not given goes back to its default.
func (m *Machine) replaceConfigs(r *AlterConfigs) ([][]byte, Response, error) {
	resources := make([]Resource, len(r.Resources))
	for i := range r.Resources {
		resources[i] = r.Resources[i].Resource
	}
	return m.alter(resources, r.ValidateOnly, func(i int, _ *target) (map[string]string, error) {
		configs := make(map[string]string)
		for _, c := range r.Resources[i].Configs {
			if _, twice := configs[c.Name]; twice {
				return nil, fmt.Errorf("config %s is given more than once: %w", c.Name, ErrInvalidRequest)
			}
			if c.Value == nil {
				return nil, fmt.Errorf("config %s has no value: %w", c.Name, ErrInvalidRequest)
			}
			configs[c.Name] = *c.Value
		}
		return configs, nil
	})
}

func (m *Machine) changeConfigs(r *IncrementalAlterConfigs) ([][]byte, Response, error) {
	resources := make([]Resource, len(r.Resources))
	for i := range r.Resources {
		resources[i] = r.Resources[i].Resource
	}
	return m.alter(resources, r.ValidateOnly, func(i int, t *target) (map[string]string, error) {
		configs := maps.Clone(t.configs)
		if configs == nil {
			configs = make(map[string]string)
		}
		seen := make(map[string]bool)
		for _, change := range r.Resources[i].Changes {
			if seen[change.Name] {
				return nil, fmt.Errorf("config %s is given more than once: %w", change.Name, ErrInvalidRequest)
			}
			seen[change.Name] = true
			if err := m.change(configs, t, change); err != nil {
				return nil, err
			}
		}
		return configs, nil
	})
}

func (m *Machine) change(configs map[string]string, t *target, change ConfigChange) error {
	if change.Operation == ConfigDelete {
		delete(configs, change.Name)
		return nil
	}
	if change.Value == nil {
		return fmt.Errorf("config %s has no value: %w", change.Name, ErrInvalidRequest)
	}
	switch change.Operation {
	case ConfigSet:
		configs[change.Name] = *change.Value
		return nil
	case ConfigAppend, ConfigSubtract:
	default:
		return fmt.Errorf("operation %d on config %s: %w", change.Operation, change.Name, ErrInvalidRequest)
	}
	key := find(m.config.catalogue.keysFor(t.resource.Type), change.Name)
	if key == nil {
		return unknownConfig(t.resource.Type, change.Name)
	}
	if key.Type != TypeList {
		return fmt.Errorf("config %s is not a list, so nothing can be added or taken away: %w", change.Name, ErrInvalidConfig)
	}
	items := parseList(m.listValue(key, t))
	for _, item := range parseList(*change.Value) {
		if change.Operation == ConfigSubtract {
			items = slices.DeleteFunc(items, func(s string) bool { return s == item })
		} else if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	configs[change.Name] = strings.Join(items, ",")
	return nil
}

// listValue returns what items are appended to: what is set, else the default.
func (m *Machine) listValue(key *ConfigKey, t *target) string {
	if value, ok := t.configs[key.Name]; ok {
		return value
	}
	if t.topic != nil {
		value, _ := m.view.topicValue(key, t.topic.Configs)
		return value
	}
	return m.view.BrokerValue(key.Name)
}

func (m *Machine) alter(resources []Resource, validateOnly bool, next func(i int, t *target) (map[string]string, error)) ([][]byte, Response, error) {
	if len(resources) > m.config.MaxRequestTopics {
		return nil, nil, fmt.Errorf("%d resources in one request, at most %d are allowed: %w", len(resources), m.config.MaxRequestTopics, ErrPolicyViolation)
	}
	seen := make(map[Resource]int, len(resources))
	for _, r := range resources {
		seen[r]++
	}
	var records [][]byte
	result := &AlterConfigsResult{Resources: make([]AlterConfigsResourceResult, len(resources))}
	for i, r := range resources {
		answer := &result.Resources[i]
		answer.Resource = r
		if seen[r] > 1 {
			answer.Err = fmt.Errorf("resource %q is in the request more than once: %w", r.Name, ErrInvalidRequest)
			continue
		}
		entry, err := m.alterOne(r, i, next)
		if err != nil {
			answer.Err = err
			continue
		}
		if entry != nil && !validateOnly {
			records = append(records, entry)
		}
	}
	return records, result, nil
}

// alterOne returns the record that alters one resource, nil when nothing changes.
func (m *Machine) alterOne(r Resource, i int, next func(i int, t *target) (map[string]string, error)) ([]byte, error) {
	t, err := m.target(r)
	if err != nil {
		return nil, err
	}
	configs, err := next(i, t)
	if err != nil {
		return nil, err
	}
	if err := m.checkConfigs(r.Type, configs); err != nil {
		return nil, err
	}
	if t.topic != nil {
		before, _ := parseBool(t.configs[KeyEventStore])
		after, _ := parseBool(configs[KeyEventStore])
		if before != after {
			return nil, fmt.Errorf("config %s of topic %q is decided when the topic is created: %w", KeyEventStore, r.Name, ErrPolicyViolation)
		}
	}
	if maps.Equal(configs, t.configs) {
		return nil, nil
	}
	if t.topic != nil {
		return appendConfigs(append([]byte{recordConfigs}, t.topic.ID[:]...), configs), nil
	}
	return appendConfigs(binary.AppendVarint([]byte{recordSettings}, int64(t.node)), configs), nil
}

func unknownConfig(t ResourceType, name string) error {
	if t == ResourceTopic {
		return fmt.Errorf("unknown topic config name: %s: %w", name, ErrInvalidConfig)
	}
	return fmt.Errorf("unknown broker config name: %s: %w", name, ErrInvalidConfig)
}

// checkConfigs checks all that is set for a resource, each config by itself and with the others.
func (m *Machine) checkConfigs(t ResourceType, configs map[string]string) error {
	keys := m.config.catalogue.keysFor(t)
	size := 0
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		key := find(keys, name)
		if key == nil {
			return unknownConfig(t, name)
		}
		if t == ResourceBroker && !key.Dynamic {
			return fmt.Errorf("config %s can only be set when the broker starts: %w", name, ErrInvalidRequest)
		}
		if err := key.Check(configs[name]); err != nil {
			return err
		}
		size += len(name) + len(configs[name])
	}
	if size > m.config.MaxConfigBytes {
		return fmt.Errorf("configs of %d bytes, at most %d are allowed: %w", size, m.config.MaxConfigBytes, ErrPolicyViolation)
	}
	if t != ResourceTopic {
		return nil
	}
	effective := func(name string) string {
		value, _ := m.view.topicValue(find(keys, name), configs)
		return value
	}
	if least, most := effective(keyMinCompactionLag), effective(keyMaxCompactionLag); parseLong(least, 0) > parseLong(most, 0) {
		return fmt.Errorf("%s is %s, which is more than %s, %s: %w", keyMinCompactionLag, least, keyMaxCompactionLag, most, ErrInvalidConfig)
	}
	if on, _ := parseBool(configs[KeyEventStore]); on && slices.Contains(parseList(effective(KeyCleanupPolicy)), policyCompact) {
		return fmt.Errorf("%s of an event store cannot have compact, which would drop events: %w", KeyCleanupPolicy, ErrInvalidConfig)
	}
	return nil
}
