package meta

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stela-db/stela/log/record"
)

func recordsOf(t testing.TB, m *Machine, r Request) [][]byte {
	records, _, err := m.Handle(time.UnixMilli(5), r)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// FuzzReplay: bytes from a disk are a record or an error, and what was accepted can be exported and imported.
func FuzzReplay(f *testing.F) {
	base := newMachine(f, nil)
	mustCreate(f, base, CreateTopic{Name: "t", Partitions: 3, ReplicationFactor: -1})
	for _, r := range []Request{
		&CreateTopics{Topics: []CreateTopic{{Name: "u", Partitions: 2, ReplicationFactor: -1, Configs: []Setting{{KeyRetentionMs, new("5")}}}}},
		&CreatePartitions{Topics: []GrowTopic{{Name: "t", Count: 5}}}, &DeleteTopics{Topics: []TopicRef{{Name: "t"}}}, &AllocateProducerIDs{},
		&RegisterBroker{Broker: Broker{Node: 9, Rack: "r", Listeners: []Listener{{"a", "b", 1}}}},
		&AlterConfigs{Resources: []ReplaceConfigs{{Resource{ResourceTopic, "t"}, []Setting{{KeyRetentionMs, new("5")}}}}},
		&AlterConfigs{Resources: []ReplaceConfigs{{Resource{ResourceBroker, ""}, []Setting{{"log.retention.ms", new("5")}}}}},
	} {
		for _, entry := range recordsOf(f, base, r) {
			f.Add(entry)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := base.Fork()
		before := m.View()
		err := m.Replay(b, nil)
		if err != nil {
			if m.View() != before || !errors.Is(err, record.ErrCorrupt) {
				t.Fatalf("error %v, changed %v", err, m.View() != before)
			}
			return
		}
		var out, again bytes.Buffer
		if err := m.Export(&out); err != nil {
			t.Fatal(err)
		}
		exported := bytes.Clone(out.Bytes())
		other := base.reset()
		if err := other.Import(&out); err != nil {
			t.Fatalf("import: %v", err)
		}
		if err := other.Export(&again); err != nil || !bytes.Equal(exported, again.Bytes()) {
			t.Fatalf("exports differ: %v", err)
		}
		for topic := range m.View().Topics() {
			m.View().DescribeTopic(topic)
		}
	})
}

// FuzzImport: an export that was damaged is an error, and changes nothing.
func FuzzImport(f *testing.F) {
	base := newMachine(f, nil)
	mustCreate(f, base, CreateTopic{Name: "t", Partitions: 3, ReplicationFactor: -1})
	var out bytes.Buffer
	if err := base.Export(&out); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m := base.Fork()
		if m.Import(bytes.NewReader(b)) != nil && m.View() != base.View() {
			t.Fatal("a part of a damaged export was taken")
		}
	})
}
