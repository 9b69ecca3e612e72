package meta

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// alter changes configs of one resource and returns its error.
func alter(t *testing.T, m *Machine, r Resource, changes ...ConfigChange) error {
	t.Helper()
	return do(t, m, &IncrementalAlterConfigs{Resources: []ChangeConfigs{{r, changes}}}).(*AlterConfigsResult).Resources[0].Err
}

func replace(t *testing.T, m *Machine, r Resource, configs ...Setting) error {
	t.Helper()
	return do(t, m, &AlterConfigs{Resources: []ReplaceConfigs{{r, configs}}}).(*AlterConfigsResult).Resources[0].Err
}

// TestCatalogue checks the catalogue against itself: it is what every check and every description rests on.
func TestCatalogue(t *testing.T) {
	for name, keys := range map[string][]ConfigKey{"topic": TopicKeys(), "broker": BrokerKeys()} {
		for i := range keys {
			key := &keys[i]
			if i > 0 && keys[i-1].Name >= key.Name {
				t.Errorf("%s config %s comes after %s", name, key.Name, keys[i-1].Name)
			}
			if !key.Null {
				if err := key.Check(key.Default); err != nil && key.check != nil && name == "topic" {
					t.Errorf("default: %v", err)
				}
			}
			if key.Documentation == "" || !strings.HasSuffix(key.Documentation, ".") {
				t.Errorf("%s config %s has the documentation %q", name, key.Name, key.Documentation)
			}
			if key.Type == TypeUnknown {
				t.Errorf("%s config %s has no type", name, key.Name)
			}
		}
	}
	brokers := BrokerKeys()
	used := map[string]bool{}
	for _, key := range TopicKeys() {
		fallback := ""
		for _, s := range key.synonyms {
			b := find(brokers, s.name)
			if b == nil {
				t.Errorf("topic config %s has the unknown broker config %s as its default", key.Name, s.name)
				continue
			}
			used[s.name] = true
			if fallback == "" && !b.Null {
				fallback = s.convert(b.Default)
			}
			if s.unit == 1 && b.Type != key.Type {
				t.Errorf("topic config %s is of type %d, its default %s of type %d", key.Name, key.Type, s.name, b.Type)
			}
		}
		if len(key.synonyms) > 0 && fallback != key.Default {
			t.Errorf("topic config %s has the default %s, its broker config says %s", key.Name, key.Default, fallback)
		}
	}
	for _, key := range brokers {
		if key.Dynamic && !used[key.Name] {
			t.Errorf("broker config %s can be altered, but nothing follows it", key.Name)
		}
	}
}

func TestConfigValues(t *testing.T) {
	good := map[string][]string{
		KeyCleanupPolicy: {"delete", "compact", "compact,delete", " delete , compact "}, KeyRetentionMs: {"-1", "0", " 12 "}, KeyEventStore: {"true", "False"},
		"min.cleanable.dirty.ratio": {"0", "1", "0.25"}, KeyMaxMessageBytes: {"0", "33554432"}, KeyTimestampType: {"CreateTime", "LogAppendTime"},
		KeyCompressionType: {"producer", "zstd", "uncompressed"}, "unclean.leader.election.enable": {"false", "FALSE"}, KeyRetentionBytes: {"-1", "9223372036854775807"},
		"leader.replication.throttled.replicas": {"", "0:1,1:2"}, "compression.zstd.level": {"-131072", "22"},
	}
	bad := map[string][]string{
		KeyCleanupPolicy: {"", "Delete", "delete,x"}, KeyRetentionMs: {"-2", "", "1.5", "9223372036854775808"}, KeyEventStore: {"", "yes", "1"},
		"min.cleanable.dirty.ratio": {"-0.1", "1.1", "x", "NaN"}, KeyMaxMessageBytes: {"-1", "33554433", "2147483648"}, KeyTimestampType: {"createtime", ""},
		KeyCompressionType: {"none", ""}, "unclean.leader.election.enable": {"true"}, "remote.storage.enable": {"true"}, KeyMinInsyncReplicas: {"0"},
	}
	keys := TopicKeys()
	for name, values := range good {
		for _, value := range values {
			if err := find(keys, name).Check(value); err != nil {
				t.Error(err)
			}
		}
	}
	for name, values := range bad {
		for _, value := range values {
			if err := find(keys, name).Check(value); !errors.Is(err, ErrInvalidConfig) {
				t.Errorf("%s=%q: error %v, wanted %v", name, value, err, ErrInvalidConfig)
			}
		}
	}
	secret := ConfigKey{Name: "s", Type: TypePassword, check: oneOf("right")}
	if err := secret.Check("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error of a secret tells it: %v", err)
	}
}

func TestAlterConfigs(t *testing.T) {
	topic := Resource{ResourceTopic, "t"}
	set := func(name, value string) ConfigChange { return ConfigChange{name, ConfigSet, &value} }
	tests := map[string]struct {
		before  map[string]string
		changes []ConfigChange
		after   map[string]string
		err     error
	}{
		"set":               {nil, []ConfigChange{set(KeyRetentionMs, "5")}, map[string]string{KeyRetentionMs: "5"}, nil},
		"keep others":       {map[string]string{KeyRetentionMs: "5"}, []ConfigChange{set(KeyRetentionBytes, "6")}, map[string]string{KeyRetentionMs: "5", KeyRetentionBytes: "6"}, nil},
		"delete":            {map[string]string{KeyRetentionMs: "5"}, []ConfigChange{{KeyRetentionMs, ConfigDelete, nil}}, map[string]string{}, nil},
		"delete what isn't": {nil, []ConfigChange{{KeyRetentionMs, ConfigDelete, nil}}, map[string]string{}, nil},
		"append to default": {nil, []ConfigChange{{KeyCleanupPolicy, ConfigAppend, new("compact")}}, map[string]string{KeyCleanupPolicy: "delete,compact"}, nil},
		"append again":      {map[string]string{KeyCleanupPolicy: "compact"}, []ConfigChange{{KeyCleanupPolicy, ConfigAppend, new("compact")}}, map[string]string{KeyCleanupPolicy: "compact"}, nil},
		"subtract":          {map[string]string{KeyCleanupPolicy: "compact,delete"}, []ConfigChange{{KeyCleanupPolicy, ConfigSubtract, new("compact")}}, map[string]string{KeyCleanupPolicy: "delete"}, nil},
		"subtract all":      {map[string]string{KeyCleanupPolicy: "compact"}, []ConfigChange{{KeyCleanupPolicy, ConfigSubtract, new("compact")}}, nil, ErrInvalidConfig},
		"append to number":  {nil, []ConfigChange{{KeyRetentionMs, ConfigAppend, new("1")}}, nil, ErrInvalidConfig},
		"unknown":           {nil, []ConfigChange{set("nope", "1")}, nil, ErrInvalidConfig},
		"append to unknown": {nil, []ConfigChange{{"nope", ConfigAppend, new("1")}}, nil, ErrInvalidConfig},
		"bad value":         {nil, []ConfigChange{set(KeyRetentionMs, "x")}, nil, ErrInvalidConfig},
		"one bad of two":    {nil, []ConfigChange{set(KeyRetentionBytes, "6"), set(KeyRetentionMs, "x")}, nil, ErrInvalidConfig},
		"twice":             {nil, []ConfigChange{set(KeyRetentionMs, "5"), set(KeyRetentionMs, "6")}, nil, ErrInvalidRequest},
		"no value":          {nil, []ConfigChange{{KeyRetentionMs, ConfigSet, nil}}, nil, ErrInvalidRequest},
		"no operation":      {nil, []ConfigChange{{KeyRetentionMs, 9, new("5")}}, nil, ErrInvalidRequest},
		"at odds":           {map[string]string{keyMaxCompactionLag: "5"}, []ConfigChange{set(keyMinCompactionLag, "6")}, nil, ErrInvalidConfig},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, nil)
			var configs []Setting
			for name, value := range test.before {
				configs = append(configs, Setting{name, &value})
			}
			mustCreate(t, m, CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: -1, Configs: configs})
			validated := do(t, m, &IncrementalAlterConfigs{Resources: []ChangeConfigs{{topic, test.changes}}, ValidateOnly: true}).(*AlterConfigsResult).Resources[0].Err
			if got := m.View().TopicByName("t").Configs; len(got) != len(test.before) {
				t.Errorf("a validation changed the configs to %v", got)
			}
			err := alter(t, m, topic, test.changes...)
			if !errors.Is(err, test.err) || test.err == nil && err != nil || (err == nil) != (validated == nil) {
				t.Fatalf("error %v, when validated %v, wanted %v", err, validated, test.err)
			}
			want := test.after
			if test.err != nil {
				want = test.before
			}
			if got := m.View().TopicByName("t").Configs; !maps.Equal(got, want) {
				t.Errorf("configs %v, wanted %v", got, want)
			}
		})
	}
}

func TestReplaceConfigs(t *testing.T) {
	m := newMachine(t, nil)
	mustCreate(t, m, CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: -1, Configs: []Setting{{KeyRetentionMs, new("5")}}})
	topic := Resource{ResourceTopic, "t"}
	if err := replace(t, m, topic, Setting{KeyRetentionBytes, new("7")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{KeyRetentionBytes: "7"}, m.View().TopicByName("t").Configs); diff != "" {
		t.Error(diff)
	}
	errs := map[error]error{
		ErrInvalidConfig:  replace(t, m, topic, Setting{"nope", new("7")}),
		ErrInvalidRequest: replace(t, m, topic, Setting{KeyRetentionBytes, nil}),
		ErrUnknownTopic:   replace(t, m, Resource{ResourceTopic, "u"}),
		ErrInvalidTopic:   replace(t, m, Resource{ResourceTopic, "a/b"}),
		ErrUnknownBroker:  replace(t, m, Resource{ResourceBroker, "7"}),
	}
	for want, got := range errs {
		if !errors.Is(got, want) {
			t.Errorf("error %v, wanted %v", got, want)
		}
	}
	for _, r := range []Resource{{ResourceBroker, "x"}, {8, "logger"}} {
		if err := replace(t, m, r); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%v: error %v", r, err)
		}
	}
	twice := do(t, m, &AlterConfigs{Resources: []ReplaceConfigs{{topic, nil}, {topic, nil}}}).(*AlterConfigsResult).Resources
	if !errors.Is(twice[0].Err, ErrInvalidRequest) || !errors.Is(twice[1].Err, ErrInvalidRequest) {
		t.Errorf("errors %v and %v", twice[0].Err, twice[1].Err)
	}
}

// TestWhereValuesComeFrom follows one topic config through all the places that may set it.
func TestWhereValuesComeFrom(t *testing.T) {
	m := newMachine(t, func(c *Config) { c.BrokerConfigs = map[string]string{"log.retention.hours": "2"} })
	mustCreate(t, m, CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: -1})
	steps := []struct {
		resource Resource
		name     string
		value    string
		want     string
		source   ConfigSource
	}{
		{Resource{ResourceBroker, "2"}, "log.retention.ms", "1", "7200000", SourceStaticBroker}, // another node's
		{Resource{ResourceBroker, ""}, "log.retention.ms", "3", "3", SourceDynamicCluster},
		{Resource{ResourceBroker, "1"}, "log.retention.ms", "4", "4", SourceDynamicBroker},
		{Resource{ResourceTopic, "t"}, "retention.ms", "5", "5", SourceTopic},
	}
	for _, step := range steps {
		if err := alter(t, m, step.resource, ConfigChange{step.name, ConfigSet, &step.value}); err != nil {
			t.Fatal(err)
		}
		topic := m.View().TopicByName("t")
		entries := m.View().DescribeTopic(topic)
		e := entries[slices.IndexFunc(entries, func(e ConfigEntry) bool { return e.Name == KeyRetentionMs })]
		if *e.Value != step.want || e.Source != step.source || topic.Options.RetentionMs != parseLong(step.want, 0) || e.IsDefault() {
			t.Errorf("after %v: %s from %d, options %v; wanted %s from %d", step.resource, *e.Value, e.Source, topic.Options, step.want, step.source)
		}
	}
	entries := m.View().DescribeTopic(m.View().TopicByName("t"))
	e := entries[slices.IndexFunc(entries, func(e ConfigEntry) bool { return e.Name == KeyRetentionMs })]
	var synonyms []string
	for _, s := range e.Synonyms {
		synonyms = append(synonyms, s.Name+"="+*s.Value)
	}
	want := []string{"retention.ms=5", "log.retention.ms=4", "log.retention.ms=3", "log.retention.hours=2", "log.retention.hours=168"}
	if diff := cmp.Diff(want, synonyms); diff != "" {
		t.Error(diff)
	}
}

func TestDescribeBroker(t *testing.T) {
	m := newMachine(t, func(c *Config) {
		c.BrokerConfigs = map[string]string{KeyNodeID: "1", KeyAutoCreateTopics: "false", KeyNumPartitions: "3"}
	})
	if err := alter(t, m, Resource{ResourceBroker, ""}, ConfigChange{"message.max.bytes", ConfigSet, new("2000")}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{KeyNumPartitions, KeyListeners} {
		if err := alter(t, m, Resource{ResourceBroker, "1"}, ConfigChange{name, ConfigSet, new("3")}); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("altering %s: error %v, wanted %v", name, err, ErrInvalidRequest)
		}
	}
	entries := m.View().DescribeBroker()
	if len(entries) != len(BrokerKeys()) {
		t.Errorf("%d configs, wanted %d", len(entries), len(BrokerKeys()))
	}
	type told struct {
		value    string
		source   ConfigSource
		readOnly bool
	}
	want := map[string]told{
		KeyNodeID: {"1", SourceStaticBroker, true}, KeyAutoCreateTopics: {"false", SourceStaticBroker, true}, KeyListeners: {"null", SourceDefault, true},
		"message.max.bytes": {"2000", SourceDynamicCluster, false}, "log.retention.bytes": {"-1", SourceDefault, false},
	}
	for i := range entries {
		e := &entries[i]
		w, ok := want[e.Name]
		if !ok {
			continue
		}
		value := "null"
		if e.Value != nil {
			value = *e.Value
		}
		if got := (told{value, e.Source, e.ReadOnly}); got != w {
			t.Errorf("%s: %v, wanted %v", e.Name, got, w)
		}
	}
	if cluster := m.View().DescribeCluster(); len(cluster) != 1 || cluster[0].Name != "message.max.bytes" {
		t.Errorf("configs of the cluster: %v", cluster)
	}
	if m.View().BrokerValue(KeyNumPartitions) != "3" || m.View().BrokerValue(KeyBrokerRack) != "" {
		t.Error("values of broker configs are not found")
	}
	if err := CheckBrokerConfigs(map[string]string{KeyNumPartitions: "3", brokerRetentionHours: "-1"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []map[string]string{{KeyNumPartitions: "0"}, {"nope": "1"}, {KeyEventStoreTopics: "["}} {
		if err := CheckBrokerConfigs(bad); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%v: error %v", bad, err)
		}
	}
}
