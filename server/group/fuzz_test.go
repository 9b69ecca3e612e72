package group

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stela-db/stela/log/record"
)

func seeds(f *testing.F) {
	s := &storedGroup{generation: 3, protocolType: "consumer", protocol: "range", leader: "a", sinceMs: 5, members: []storedMember{{
		id: "a", instanceID: "i", clientID: "c", clientHost: "h", sessionTimeout: time.Second, rebalanceTimeout: time.Minute,
		protocols: []Protocol{{Name: "range", Metadata: subscriptionOf("t")}}, assignment: []byte("x"),
	}}}
	topics := []CommitTopic{{Name: "t", Partitions: []CommitPartition{{Index: 1, Number: 7, Offset: 5, LeaderEpoch: 2, Metadata: "m"}}}}
	f.Add(appendGroupRecord(nil, "g", s))
	f.Add(appendOffsetsRecord(nil, "g", 1, -1, topics))
	f.Add(appendForgetRecord(nil, "g", []forgetTopic{{name: "t", partitions: []forgetPartition{{index: 1, number: 7, committedMs: 1}}}}))
	f.Add(appendDeleteRecord(nil, "g", false))
	f.Add(appendDeleteRecord(nil, "g", true))
	f.Add([]byte{})
}

// FuzzReplay: bytes from a disk are a record or an error, and what was accepted can be exported and imported.
func FuzzReplay(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New(Config{})
		if err := m.Replay(appendOffsetsRecord(nil, "g", 1, -1, []CommitTopic{{Name: "t", Partitions: []CommitPartition{{Index: 1}}}}), nil); err != nil {
			t.Fatal(err)
		}
		rows := New(Config{})
		if err := m.Rows(rows.Load); err != nil {
			t.Fatal(err)
		}
		err := m.Replay(b, func(key, value []byte) {
			if value != nil {
				if err := rows.Load(key, value); err != nil {
					t.Fatalf("row %x: %v", key, err)
				}
			}
		})
		if err != nil {
			if !errors.Is(err, record.ErrCorrupt) {
				t.Fatalf("error %v does not say that the record is corrupt", err)
			}
			return
		}
		var out, again bytes.Buffer
		if err := m.Export(&out); err != nil {
			t.Fatal(err)
		}
		exported := bytes.Clone(out.Bytes())
		other := New(Config{})
		if err := other.Import(&out); err != nil {
			t.Fatalf("import: %v", err)
		}
		if err := other.Export(&again); err != nil || !bytes.Equal(exported, again.Bytes()) {
			t.Fatalf("exports differ: %x, %x, %v", exported, again.Bytes(), err)
		}
		other.Lead(time.Unix(0, 0))
		other.Tick(time.Unix(1<<30, 0))
	})
}

// FuzzImport: an export that was damaged is an error.
func FuzzImport(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{2, 1, 'm', 'g', 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New(Config{})
		if m.Import(bytes.NewReader(b)) != nil && len(m.groups) > 0 {
			t.Fatal("a part of a damaged export was taken")
		}
	})
}

// FuzzSubscription: what members say to each other is looked into without trust.
func FuzzSubscription(f *testing.F) {
	f.Add(subscriptionOf("a+b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		topics, ok := parseSubscription(b)
		size := 0
		for _, topic := range topics {
			size += len(topic)
		}
		if ok && size > len(b) {
			t.Fatalf("%d bytes of topics in %d", size, len(b))
		}
	})
}
