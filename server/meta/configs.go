package meta

import (
	"slices"
	"strconv"
)

// TopicOptions is a topic's effective configs, as far as the broker itself acts upon them.
type TopicOptions struct {
	RetentionMs       int64 // -1: for ever
	RetentionBytes    int64 // of one partition; -1: no limit
	MaxMessageBytes   int32
	MinInsyncReplicas int32
	TimestampBeforeMs int64 // how far a record's time may lie before the broker's
	TimestampAfterMs  int64 // how far a record's time may lie after the broker's
	LogAppendTime     bool  // the broker sets records' times
	Compact           bool
	Delete            bool
	EventStore        bool
	CompressionType   string
}

func (v *View) options(configs map[string]string) TopicOptions {
	value := func(name string) string {
		key := find(v.config.catalogue.topic, name)
		value, _ := v.topicValue(key, configs)
		if key.Check(value) != nil {
			return key.Default // only a config that the node was started with can be wrong here
		}
		return value
	}
	long := func(name string) int64 { return parseLong(value(name), 0) }
	policies := parseList(value(KeyCleanupPolicy))
	eventStore, _ := parseBool(value(KeyEventStore))
	return TopicOptions{
		RetentionMs:       long(KeyRetentionMs),
		RetentionBytes:    long(KeyRetentionBytes),
		MaxMessageBytes:   int32(long(KeyMaxMessageBytes)),
		MinInsyncReplicas: int32(long(KeyMinInsyncReplicas)),
		TimestampBeforeMs: long(KeyTimestampBefore),
		TimestampAfterMs:  long(KeyTimestampAfter),
		LogAppendTime:     value(KeyTimestampType) == logTimestampAppend,
		Compact:           slices.Contains(policies, policyCompact),
		Delete:            slices.Contains(policies, policyDelete),
		EventStore:        eventStore,
		CompressionType:   value(KeyCompressionType),
	}
}

// A level is one of the places where a broker config may be set, the nearest first.
type level struct {
	source  ConfigSource
	configs map[string]string
}

func (v *View) levels() [3]level {
	return [3]level{
		{SourceDynamicBroker, v.settings[v.config.Node]},
		{SourceDynamicCluster, v.settings[allNodes]},
		{SourceStaticBroker, v.config.BrokerConfigs},
	}
}

// topicValue returns the value that a topic with these configs has, and where it is from.
func (v *View) topicValue(key *ConfigKey, configs map[string]string) (string, ConfigSource) {
	if value, ok := configs[key.Name]; ok {
		return value, SourceTopic
	}
	for _, level := range v.levels() {
		for _, s := range key.synonyms {
			if value, ok := level.configs[s.name]; ok {
				return s.convert(value), level.source
			}
		}
	}
	return key.Default, SourceDefault
}

// convert returns what a broker config's value is as a topic config's. Negative values mean the same in every unit.
func (s synonym) convert(value string) string {
	if s.unit == 1 {
		return value
	}
	n := parseLong(value, -1)
	if n < 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n*s.unit, 10)
}

// topicSynonyms returns where a topic config's value may come from, the strongest first.
func (v *View) topicSynonyms(key *ConfigKey, configs map[string]string) []ConfigSynonym {
	var list []ConfigSynonym
	if value, ok := configs[key.Name]; ok {
		list = append(list, ConfigSynonym{Name: key.Name, Value: &value, Source: SourceTopic})
	}
	names := make([]string, len(key.synonyms))
	for i, s := range key.synonyms {
		names[i] = s.name
	}
	if len(names) == 0 {
		return append(list, ConfigSynonym{Name: key.Name, Value: &key.Default, Source: SourceDefault})
	}
	return append(list, v.brokerSynonyms(names)...)
}

// brokerSynonyms returns where the value of any of the broker configs of these names may come from.
func (v *View) brokerSynonyms(names []string) []ConfigSynonym {
	var list []ConfigSynonym
	for _, level := range v.levels() {
		for _, name := range names {
			if value, ok := level.configs[name]; ok {
				list = append(list, ConfigSynonym{Name: name, Value: &value, Source: level.source})
			}
		}
	}
	for _, name := range names {
		if key := find(v.config.catalogue.broker, name); key != nil && !key.Null {
			list = append(list, ConfigSynonym{Name: name, Value: &key.Default, Source: SourceDefault})
		}
	}
	return list
}

// DescribeTopic returns all configs of a topic, sorted by name.
func (v *View) DescribeTopic(topic *Topic) []ConfigEntry { return v.DescribeConfigs(topic.Configs) }

// DescribeConfigs returns all configs, sorted by name, of a topic for which these are set.
func (v *View) DescribeConfigs(configs map[string]string) []ConfigEntry {
	keys := v.config.catalogue.topic
	entries := make([]ConfigEntry, len(keys))
	for i := range keys {
		key := &keys[i]
		value, source := v.topicValue(key, configs)
		entries[i] = key.entry(&value, source)
		entries[i].Synonyms = v.topicSynonyms(key, configs)
	}
	return entries
}

// DescribeBroker returns all configs of this node, sorted by name: what it was started with is known of no other.
func (v *View) DescribeBroker() []ConfigEntry {
	keys := v.config.catalogue.broker
	entries := make([]ConfigEntry, len(keys))
	for i := range keys {
		key := &keys[i]
		synonyms := v.brokerSynonyms([]string{key.Name})
		if len(synonyms) == 0 {
			entries[i] = key.entry(nil, SourceDefault)
		} else {
			entries[i] = key.entry(synonyms[0].Value, synonyms[0].Source)
		}
		entries[i].ReadOnly = !key.Dynamic
		if key.Sensitive() {
			for j := range synonyms {
				synonyms[j].Value = nil
			}
		}
		entries[i].Synonyms = synonyms
	}
	return entries
}

// DescribeCluster returns the configs that were set for all brokers while they ran, sorted by name.
func (v *View) DescribeCluster() []ConfigEntry {
	var entries []ConfigEntry
	for i := range v.config.catalogue.broker {
		key := &v.config.catalogue.broker[i]
		if value, ok := v.settings[allNodes][key.Name]; ok {
			e := key.entry(&value, SourceDynamicCluster)
			e.Synonyms = []ConfigSynonym{{Name: key.Name, Value: e.Value, Source: SourceDynamicCluster}}
			entries = append(entries, e)
		}
	}
	return entries
}

// BrokerValue returns the value that a broker config has on this node, "" when it has none.
func (v *View) BrokerValue(name string) string {
	synonyms := v.brokerSynonyms([]string{name})
	if len(synonyms) == 0 {
		return ""
	}
	return *synonyms[0].Value
}

func (k *ConfigKey) entry(value *string, source ConfigSource) ConfigEntry {
	if k.Sensitive() {
		value = nil
	}
	return ConfigEntry{
		Name: k.Name, Value: value, Source: source, Type: k.Type,
		Sensitive: k.Sensitive(), Documentation: k.Documentation,
	}
}

// A ConfigEntry is one config as DescribeConfigs and CreateTopics tell it.
type ConfigEntry struct {
	Name          string
	Value         *string // nil when there is none, or it is sensitive
	Source        ConfigSource
	Type          ConfigType
	ReadOnly      bool
	Sensitive     bool
	Documentation string
	Synonyms      []ConfigSynonym // the strongest first
}

// IsDefault reports whether nobody set the config.
func (e *ConfigEntry) IsDefault() bool { return e.Source == SourceDefault }

// A ConfigSynonym is one of the places that a config's value may come from.
type ConfigSynonym struct {
	Name   string
	Value  *string
	Source ConfigSource
}
