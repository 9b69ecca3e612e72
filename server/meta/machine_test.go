package meta

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/log/record"
)

// newMachine returns a machine of a three-node cluster with two data shards, and ids that count.
func newMachine(t testing.TB, change func(*Config)) *Machine {
	t.Helper()
	config := Config{Node: 1, Nodes: 3}
	ids := byte(0)
	config.NewTopicID = func() record.TopicID { ids++; return record.TopicID{1, 15: ids} }
	if change != nil {
		change(&config)
	}
	m := New(config)
	m.SpreadOver(2)
	for node := range int32(3) {
		do(t, m, &RegisterBroker{Broker: Broker{Node: node + 1, Listeners: []Listener{{"internal", "localhost", 9092 + node}}}})
	}
	return m
}

// do handles a request and replays what it leads to.
func do(t testing.TB, m *Machine, r Request) Response {
	t.Helper()
	records, response, err := m.Handle(time.UnixMilli(1234).UTC(), r)
	if err != nil {
		t.Fatalf("%T: %v", r, err)
	}
	for _, entry := range records {
		if err := m.Replay(entry, nil); err != nil {
			t.Fatalf("%T: %v", r, err)
		}
	}
	return response
}

func create(t testing.TB, m *Machine, topics ...CreateTopic) []CreateTopicResult {
	t.Helper()
	return do(t, m, &CreateTopics{Topics: topics}).(*CreateTopicsResult).Topics
}

func mustCreate(t testing.TB, m *Machine, topics ...CreateTopic) {
	t.Helper()
	for _, r := range create(t, m, topics...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func TestCreateTopic(t *testing.T) {
	three := []ReplicaAssignment{{0, []int32{1, 2}}, {1, []int32{2, 3}}, {2, []int32{3, 1}}}
	with := func(change func([]ReplicaAssignment)) []ReplicaAssignment {
		a := slices.Clone(three)
		for i := range a {
			a[i].Nodes = slices.Clone(a[i].Nodes)
		}
		change(a)
		return a
	}
	set := func(pairs ...string) []Setting {
		var settings []Setting
		for i := 0; i < len(pairs); i += 2 {
			settings = append(settings, Setting{pairs[i], &pairs[i+1]})
		}
		return settings
	}
	tests := map[string]struct {
		topic      CreateTopic
		partitions int32
		err        error
	}{
		"plain":             {CreateTopic{Name: "t", Partitions: 3, ReplicationFactor: 1}, 3, nil},
		"defaults":          {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1}, 4, nil},
		"all nodes":         {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 3}, 1, nil},
		"every character":   {CreateTopic{Name: "aZ0.-_", Partitions: 1, ReplicationFactor: 3}, 1, nil},
		"long name":         {CreateTopic{Name: strings.Repeat("x", 249), Partitions: 1, ReplicationFactor: 1}, 1, nil},
		"assigned":          {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: three}, 3, nil},
		"configs":           {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("cleanup.policy", "compact, delete", "retention.ms", " 5 ")}, 1, nil},
		"exists":            {CreateTopic{Name: "there", Partitions: 0, ReplicationFactor: 9}, 0, ErrTopicExists},
		"no name":           {CreateTopic{Name: "", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"dot":               {CreateTopic{Name: ".", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"dots":              {CreateTopic{Name: "..", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"too long":          {CreateTopic{Name: strings.Repeat("x", 250), Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"slash":             {CreateTopic{Name: "a/b", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"not ASCII":         {CreateTopic{Name: "ä", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"reserved":          {CreateTopic{Name: "__stream.a.b", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"clash":             {CreateTopic{Name: "a_b.c", Partitions: 1, ReplicationFactor: 1}, 0, ErrInvalidTopic},
		"no partitions":     {CreateTopic{Name: "t", Partitions: 0, ReplicationFactor: 1}, 0, ErrInvalidPartitions},
		"negative":          {CreateTopic{Name: "t", Partitions: -2, ReplicationFactor: 1}, 0, ErrInvalidPartitions},
		"too many":          {CreateTopic{Name: "t", Partitions: 101, ReplicationFactor: 1}, 0, ErrInvalidPartitions},
		"too many in all":   {CreateTopic{Name: "t", Partitions: 100, ReplicationFactor: 1}, 0, ErrPolicyViolation},
		"no copies":         {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 0}, 0, ErrInvalidReplicationFactor},
		"negative copies":   {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: -2}, 0, ErrInvalidReplicationFactor},
		"too many copies":   {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 4}, 0, ErrInvalidReplicationFactor},
		"copies first":      {CreateTopic{Name: "t", Partitions: 0, ReplicationFactor: 4}, 0, ErrInvalidReplicationFactor},
		"assigned and said": {CreateTopic{Name: "t", Partitions: 3, ReplicationFactor: -1, Assignments: three}, 0, ErrInvalidRequest},
		"assigned, copies":  {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: 2, Assignments: three}, 0, ErrInvalidRequest},
		"assigned twice": {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: with(func(a []ReplicaAssignment) {
			a[1].Partition = 0
		})}, 0, ErrInvalidReplicaAssignment},
		"gap": {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: with(func(a []ReplicaAssignment) {
			a[1].Partition = 3
		})}, 0, ErrInvalidReplicaAssignment},
		"no replica": {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []ReplicaAssignment{{0, nil}}}, 0, ErrInvalidReplicaAssignment},
		"uneven": {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: with(func(a []ReplicaAssignment) {
			a[1].Nodes = []int32{1}
		})}, 0, ErrInvalidReplicaAssignment},
		"same node": {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: with(func(a []ReplicaAssignment) {
			a[1].Nodes = []int32{1, 1}
		})}, 0, ErrInvalidReplicaAssignment},
		"unknown node": {CreateTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: with(func(a []ReplicaAssignment) {
			a[1].Nodes = []int32{1, 4}
		})}, 0, ErrInvalidReplicaAssignment},
		"unknown config":  {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("retention", "5")}, 0, ErrInvalidConfig},
		"bad config":      {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("retention.ms", "soon")}, 0, ErrInvalidConfig},
		"no value":        {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: []Setting{{Name: "retention.ms"}}}, 0, ErrInvalidConfig},
		"config twice":    {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("retention.ms", "5", "retention.ms", "6")}, 0, ErrInvalidConfig},
		"configs at odds": {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("min.compaction.lag.ms", "5", "max.compaction.lag.ms", "4")}, 0, ErrInvalidConfig},
		"large message":   {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("max.message.bytes", "33554433")}, 0, ErrInvalidConfig},
		"compacted store": {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("eventstore.enable", "true", "cleanup.policy", "compact")}, 0, ErrInvalidConfig},
		"long config":     {CreateTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: set("leader.replication.throttled.replicas", strings.Repeat("x", 70_000))}, 0, ErrPolicyViolation},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, func(c *Config) {
				c.MaxTopicPartitions, c.MaxPartitions = 100, 101
				c.BrokerConfigs = map[string]string{KeyNumPartitions: "4"}
			})
			mustCreate(t, m, CreateTopic{Name: "there", Partitions: 1, ReplicationFactor: 1}, CreateTopic{Name: "a.b_c", Partitions: 1, ReplicationFactor: -1})
			for _, validateOnly := range []bool{true, false} {
				before := m.View().Version()
				result := do(t, m, &CreateTopics{Topics: []CreateTopic{test.topic}, ValidateOnly: validateOnly}).(*CreateTopicsResult).Topics[0]
				if !errors.Is(result.Err, test.err) || test.err == nil && result.Err != nil {
					t.Fatalf("error %v, wanted %v", result.Err, test.err)
				}
				if (test.err != nil || validateOnly) && m.View().Version() != before {
					t.Error("the metadata changed")
				}
				if test.err != nil {
					continue
				}
				if result.Partitions != test.partitions || result.ReplicationFactor != 3 {
					t.Errorf("%d partitions, replication factor %d, wanted %d and 3", result.Partitions, result.ReplicationFactor, test.partitions)
				}
				topic := m.View().TopicByName(test.topic.Name)
				if validateOnly {
					if topic != nil || result.ID != (record.TopicID{}) {
						t.Errorf("a validation made topic %v, id %x", topic, result.ID)
					}
					continue
				}
				if topic == nil || topic != m.View().TopicByID(result.ID) || len(topic.Partitions) != int(test.partitions) {
					t.Errorf("topic %v by id %x", topic, result.ID)
				}
			}
		})
	}
}

func TestTopicsOfOneRequest(t *testing.T) {
	m := newMachine(t, nil)
	results := create(t, m,
		CreateTopic{Name: "a.b", Partitions: 1, ReplicationFactor: -1}, CreateTopic{Name: "a_b", Partitions: 1, ReplicationFactor: -1},
		CreateTopic{Name: "twice", Partitions: 1, ReplicationFactor: -1}, CreateTopic{Name: "twice", Partitions: 1, ReplicationFactor: -1},
		CreateTopic{Name: "last", Partitions: 2, ReplicationFactor: -1},
	)
	for i, want := range []error{nil, ErrInvalidTopic, ErrInvalidRequest, ErrInvalidRequest, nil} {
		if !errors.Is(results[i].Err, want) {
			t.Errorf("topic %d: error %v, wanted %v", i, results[i].Err, want)
		}
	}
	if n := m.View().TopicCount(); n != 2 {
		t.Errorf("%d topics, wanted 2", n)
	}
}

func TestPartitionNumbers(t *testing.T) {
	m := newMachine(t, nil)
	mustCreate(t, m, CreateTopic{Name: "a", Partitions: 3, ReplicationFactor: -1}, CreateTopic{Name: "b", Partitions: 2, ReplicationFactor: -1})
	grow := func(name string, count int32) error {
		return do(t, m, &CreatePartitions{Topics: []GrowTopic{{Name: name, Count: count}}}).(*CreatePartitionsResult).Topics[0].Err
	}
	if err := errors.Join(grow("b", 3), grow("a", 4)); err != nil {
		t.Fatal(err)
	}
	id := m.View().TopicByName("b").ID
	do(t, m, &DeleteTopics{Topics: []TopicRef{{Name: "b"}}})
	mustCreate(t, m, CreateTopic{Name: "b", Partitions: 2, ReplicationFactor: -1})
	view := m.View()
	numbers := func(name string) (list []record.Partition) {
		for _, p := range view.TopicByName(name).Partitions {
			list = append(list, p.Partition)
		}
		return list
	}
	if diff := cmp.Diff([]record.Partition{0, 1, 2, 6}, numbers("a")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]record.Partition{7, 8}, numbers("b")); diff != "" {
		t.Error(diff)
	}
	if view.TopicByName("b").ID == id || view.TopicByID(id) != nil {
		t.Error("a topic of the same name is taken for the deleted one")
	}
	var where []string
	for n := range record.Partition(11) {
		topic, index := view.Partition(n)
		switch {
		case topic != nil:
			where = append(where, fmt.Sprint(topic.Name, index))
		case view.Gone(n):
			where = append(where, "gone")
		default:
			where = append(where, "unknown")
		}
	}
	want := []string{"a0", "a1", "a2", "gone", "gone", "gone", "a3", "b0", "b1", "unknown", "unknown"}
	if diff := cmp.Diff(want, where); diff != "" {
		t.Error(diff)
	}
	if view.PartitionCount() != 6 || view.Deletions() != 1 {
		t.Errorf("%d partitions, %d deletions", view.PartitionCount(), view.Deletions())
	}
}

func TestShardsAreEvenlyLoaded(t *testing.T) {
	m := newMachine(t, nil)
	m.SpreadOver(3)
	mustCreate(t, m, CreateTopic{Name: "a", Partitions: 1, ReplicationFactor: -1}, CreateTopic{Name: "b", Partitions: 4, ReplicationFactor: -1})
	mustCreate(t, m, CreateTopic{Name: "c", Partitions: 1000, ReplicationFactor: -1})
	load := map[record.Shard]int{}
	for topic := range m.View().Topics() {
		for _, p := range topic.Partitions {
			load[p.Shard]++
		}
	}
	if diff := cmp.Diff(map[record.Shard]int{1: 335, 2: 335, 3: 335}, load); diff != "" {
		t.Error(diff)
	}
	do(t, m, &DeleteTopics{Topics: []TopicRef{{Name: "c"}}})
	mustCreate(t, m, CreateTopic{Name: "d", Partitions: 1, ReplicationFactor: -1})
	if p := m.View().TopicByName("d").Partitions[0]; p.Shard != 3 {
		t.Errorf("the new partition is in shard %d, wanted 3, which has one less than the others", p.Shard)
	}
}

func TestCreatePartitions(t *testing.T) {
	m := newMachine(t, func(c *Config) { c.MaxTopicPartitions = 10; c.MaxPartitions = 14 })
	mustCreate(t, m,
		CreateTopic{Name: "a", Partitions: 3, ReplicationFactor: -1}, CreateTopic{Name: "full", Partitions: 2, ReplicationFactor: -1},
		CreateTopic{Name: "store", Partitions: 1, ReplicationFactor: -1, Configs: []Setting{{KeyEventStore, new("true")}}},
	)
	tests := map[string]struct {
		topic GrowTopic
		err   error
	}{
		"more":             {GrowTopic{Name: "a", Count: 5}, nil},
		"assigned":         {GrowTopic{Name: "a", Count: 4, Assignments: [][]int32{{1, 2, 3}}}, nil},
		"as many":          {GrowTopic{Name: "a", Count: 3}, ErrInvalidPartitions},
		"fewer":            {GrowTopic{Name: "a", Count: 2}, ErrInvalidPartitions},
		"negative":         {GrowTopic{Name: "a", Count: -1}, ErrInvalidPartitions},
		"too many":         {GrowTopic{Name: "a", Count: 11}, ErrInvalidPartitions},
		"too many in all":  {GrowTopic{Name: "full", Count: 10}, nil},
		"unknown":          {GrowTopic{Name: "b", Count: 2}, ErrUnknownTopic},
		"event store":      {GrowTopic{Name: "store", Count: 2}, ErrPolicyViolation},
		"assigned too few": {GrowTopic{Name: "a", Count: 5, Assignments: [][]int32{{1}}}, ErrInvalidReplicaAssignment},
		"assigned nowhere": {GrowTopic{Name: "a", Count: 4, Assignments: [][]int32{{9}}}, ErrInvalidReplicaAssignment},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fork := m.Fork()
			for _, validateOnly := range []bool{true, false} {
				result := do(t, fork, &CreatePartitions{Topics: []GrowTopic{test.topic}, ValidateOnly: validateOnly}).(*CreatePartitionsResult).Topics[0]
				if !errors.Is(result.Err, test.err) || test.err == nil && result.Err != nil {
					t.Fatalf("error %v, wanted %v", result.Err, test.err)
				}
			}
			if topic := fork.View().TopicByName(test.topic.Name); test.err == nil && len(topic.Partitions) != int(test.topic.Count) {
				t.Errorf("%d partitions, wanted %d", len(topic.Partitions), test.topic.Count)
			}
		})
	}
	if len(m.View().TopicByName("a").Partitions) != 3 {
		t.Error("a fork changed the machine")
	}
	both := do(t, m, &CreatePartitions{Topics: []GrowTopic{{Name: "a", Count: 10}, {Name: "full", Count: 4}}}).(*CreatePartitionsResult).Topics
	if both[0].Err != nil || !errors.Is(both[1].Err, ErrPolicyViolation) {
		t.Errorf("errors %v and %v: only the first one fits", both[0].Err, both[1].Err)
	}
	twice := do(t, m, &CreatePartitions{Topics: []GrowTopic{{Name: "a", Count: 4}, {Name: "a", Count: 4}}}).(*CreatePartitionsResult).Topics
	if !errors.Is(twice[0].Err, ErrInvalidRequest) || !errors.Is(twice[1].Err, ErrInvalidRequest) {
		t.Errorf("errors %v and %v", twice[0].Err, twice[1].Err)
	}
}

// TestReplicationFactor: the factor told is the number of copies that there are, whatever was asked for.
func TestReplicationFactor(t *testing.T) {
	for _, nodes := range []int{1, 3, 5} {
		m := newMachine(t, func(c *Config) { c.Nodes = nodes })
		for _, asked := range []int16{-1, 1, int16(nodes)} {
			request := CreateTopic{Name: fmt.Sprint("t", asked), Partitions: 1, ReplicationFactor: asked}
			result := do(t, m, &CreateTopics{Topics: []CreateTopic{request}, ValidateOnly: true}).(*CreateTopicsResult).Topics[0]
			if result.Err != nil || int(result.ReplicationFactor) != nodes {
				t.Errorf("%d nodes, asked for %d copies: told %d, %v", nodes, asked, result.ReplicationFactor, result.Err)
			}
		}
	}
}

func TestDeleteTopics(t *testing.T) {
	m := newMachine(t, nil)
	mustCreate(t, m, CreateTopic{Name: "a", Partitions: 1, ReplicationFactor: -1}, CreateTopic{Name: "b.c", Partitions: 1, ReplicationFactor: -1}, CreateTopic{Name: "d", Partitions: 1, ReplicationFactor: -1})
	a, d := m.View().TopicByName("a").ID, m.View().TopicByName("d").ID
	results := do(t, m, &DeleteTopics{Topics: []TopicRef{{Name: "x"}, {ID: record.TopicID{9}}, {Name: "a"}, {ID: a}, {Name: "b.c"}, {ID: d}}}).(*DeleteTopicsResult).Topics
	for i, want := range []error{ErrUnknownTopic, ErrUnknownTopicID, ErrInvalidRequest, ErrInvalidRequest, nil, nil} {
		if !errors.Is(results[i].Err, want) || want == nil && results[i].Err != nil {
			t.Errorf("topic %d: error %v, wanted %v", i, results[i].Err, want)
		}
	}
	if results[5].Name != "d" || results[4].ID == (record.TopicID{}) {
		t.Errorf("names and ids are not both told: %v", results)
	}
	mustCreate(t, m, CreateTopic{Name: "b_c", Partitions: 1, ReplicationFactor: -1})
	locked := newMachine(t, func(c *Config) { c.BrokerConfigs = map[string]string{KeyDeleteTopicEnable: "false"} })
	mustCreate(t, locked, CreateTopic{Name: "a", Partitions: 1, ReplicationFactor: -1})
	if err := do(t, locked, &DeleteTopics{Topics: []TopicRef{{Name: "a"}}}).(*DeleteTopicsResult).Topics[0].Err; !errors.Is(err, ErrDeletionDisabled) {
		t.Errorf("error %v, wanted %v", err, ErrDeletionDisabled)
	}
}

func TestEventStore(t *testing.T) {
	m := newMachine(t, func(c *Config) { c.BrokerConfigs = map[string]string{KeyEventStoreTopics: "*-events, ledger"} })
	mustCreate(t, m,
		CreateTopic{Name: "plain", Partitions: 1, ReplicationFactor: -1}, CreateTopic{Name: "order-events", Partitions: -1, ReplicationFactor: -1},
		CreateTopic{Name: "stock-events", Partitions: -1, ReplicationFactor: -1, Configs: []Setting{{KeyEventStore, new("false")}}},
		CreateTopic{Name: "store", Partitions: 1, ReplicationFactor: -1, Configs: []Setting{{KeyEventStore, new("true")}, {KeyRetentionMs, new("1000")}}},
	)
	want := map[string]TopicOptions{
		"plain":        {RetentionMs: 604800000, RetentionBytes: -1, Delete: true},
		"order-events": {RetentionMs: -1, RetentionBytes: -1, Delete: true, EventStore: true},
		"stock-events": {RetentionMs: 604800000, RetentionBytes: -1, Delete: true},
		"store":        {RetentionMs: 1000, RetentionBytes: -1, Delete: true, EventStore: true},
	}
	for name, options := range want {
		options.MaxMessageBytes, options.MinInsyncReplicas = 1048588, 1
		options.TimestampBeforeMs, options.TimestampAfterMs, options.CompressionType = 1<<63-1, 3600000, "producer"
		if diff := cmp.Diff(options, m.View().TopicByName(name).Options); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, value := range []string{"false", "true"} {
		name := map[string]string{"false": "store", "true": "plain"}[value]
		err := alter(t, m, Resource{ResourceTopic, name}, ConfigChange{KeyEventStore, ConfigSet, &value})
		if !errors.Is(err, ErrPolicyViolation) {
			t.Errorf("setting %s of %s: error %v, wanted %v", value, name, err, ErrPolicyViolation)
		}
	}
	if err := alter(t, m, Resource{ResourceTopic, "store"}, ConfigChange{KeyEventStore, ConfigSet, new("TRUE")}); err != nil {
		t.Errorf("the same value is refused: %v", err)
	}
}

func TestBrokersAndProducerIDs(t *testing.T) {
	m := newMachine(t, nil)
	version := m.View().Version()
	b := Broker{Node: 2, Listeners: []Listener{{"internal", "localhost", 9093}}}
	do(t, m, &RegisterBroker{Broker: b})
	if m.View().Version() != version {
		t.Error("a broker that is known already changed the metadata")
	}
	b.HTTPAddress, b.Rack, b.Incarnation = "localhost:9644", "r", [16]byte{1}
	do(t, m, &RegisterBroker{Broker: b})
	if diff := cmp.Diff(&b, m.View().Broker(2)); diff != "" {
		t.Error(diff)
	}
	var nodes []int32
	for _, b := range m.View().Brokers() {
		nodes = append(nodes, b.Node)
	}
	if diff := cmp.Diff([]int32{1, 2, 3}, nodes); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []Broker{{Node: -1}, {Node: 1, Listeners: []Listener{{"x", "y", 70_000}}}} {
		if _, _, err := m.Handle(time.Now(), &RegisterBroker{Broker: bad}); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("broker %v: %v", bad, err)
		}
	}
	for _, first := range []int64{0, 1000, 2000} {
		if block := do(t, m, &AllocateProducerIDs{Node: 1}).(*ProducerIDBlock); *block != (ProducerIDBlock{first, 1000}) {
			t.Errorf("block %v, wanted 1000 from %d", block, first)
		}
	}
}

func TestRowsComeToTheState(t *testing.T) {
	m := newMachine(t, nil)
	rows := map[string]string{}
	replay := func(r Request) {
		records, _, err := m.Handle(time.UnixMilli(99), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range records {
			if err := m.Replay(entry, func(key, value []byte) {
				if value == nil {
					delete(rows, string(key))
				} else {
					rows[string(key)] = string(value)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.View().Rows(func(key, value []byte) error { rows[string(key)] = string(value); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		replay(&CreateTopics{Topics: []CreateTopic{{Name: fmt.Sprint("topic.", i*7919%300), Partitions: int32(i%5 + 1), ReplicationFactor: -1}}})
		if i%3 == 0 {
			replay(&DeleteTopics{Topics: []TopicRef{{Name: fmt.Sprint("topic.", i*31%300)}}})
		}
		if i%4 == 0 {
			replay(&CreatePartitions{Topics: []GrowTopic{{Name: fmt.Sprint("topic.", i*57%300), Count: 7}}})
		}
		replay(&IncrementalAlterConfigs{Resources: []ChangeConfigs{
			{Resource{ResourceTopic, fmt.Sprint("topic.", i*13%300)}, []ConfigChange{{KeyRetentionMs, ConfigSet, new(fmt.Sprint(i))}}},
			{Resource{ResourceBroker, ""}, []ConfigChange{{"log.retention.ms", ConfigOperation(i % 2), new("77")}}},
		}})
		replay(&AllocateProducerIDs{})
	}
	other, imported := newMachine(t, nil).reset(), newMachine(t, nil)
	keys := slices.Sorted(maps.Keys(rows))
	slices.Reverse(keys)
	for _, key := range keys {
		if err := other.Load([]byte(key), []byte(rows[key])); err != nil {
			t.Fatal(err)
		}
	}
	var exported bytes.Buffer
	if err := m.Export(&exported); err != nil {
		t.Fatal(err)
	}
	if err := imported.Import(&exported); err != nil {
		t.Fatal(err)
	}
	same(t, m.View(), other.View())
	same(t, m.View(), imported.View())
}

// reset returns a machine without metadata.
func (m *Machine) reset() *Machine { return New(*m.config) }

func same(t *testing.T, want, got *View) {
	t.Helper()
	list := func(v *View) (rows []string) {
		for topic := range v.Topics() {
			rows = append(rows, fmt.Sprint(topic.Name, topic.ID, topic.Created, topic.Configs, topic.Partitions, topic.Options))
			for i, p := range topic.Partitions {
				if found, index := v.Partition(p.Partition); found != topic || index != int32(i) {
					t.Errorf("partition %d of %s is found as %d of %v", i, topic.Name, index, found)
				}
			}
		}
		rows = append(rows, fmt.Sprint(v.TopicCount(), v.PartitionCount(), v.Version(), v.nextPartition, v.nextProducerID, v.load, v.settings))
		for _, b := range v.Brokers() {
			rows = append(rows, fmt.Sprint(*b))
		}
		return rows
	}
	if diff := cmp.Diff(list(want), list(got)); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkReplayInLargeCluster is one topic more among many: its cost must not follow their number.
func BenchmarkReplayInLargeCluster(b *testing.B) {
	for _, topics := range []int{100, 10_000} {
		b.Run(fmt.Sprint(topics, " topics"), func(b *testing.B) {
			m := newMachine(b, func(c *Config) { c.NewTopicID = nil; c.MaxPartitions = 1 << 30 })
			list := make([]CreateTopic, topics)
			for i := range list {
				list[i] = CreateTopic{Name: fmt.Sprint("topic", i), Partitions: 8, ReplicationFactor: -1}
			}
			mustCreate(b, m, list...)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mustCreate(b, m.Fork(), CreateTopic{Name: fmt.Sprint("more", i), Partitions: 8, ReplicationFactor: -1})
			}
		})
	}
}

// BenchmarkCreateManyPartitions is the largest topic that there may be.
func BenchmarkCreateManyPartitions(b *testing.B) {
	m := newMachine(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		mustCreate(b, m.Fork(), CreateTopic{Name: "large", Partitions: 10_000, ReplicationFactor: -1})
	}
}
