package group

import (
	"testing"
	"time"

	"github.com/stela-db/stela/log/record"
)

// TestForgetInPieces: however many offsets are forgotten at once, no record is larger than an entry may be.
func TestForgetInPieces(t *testing.T) {
	m := New(Config{})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.Lead(now)
	replay := func(e Effects) {
		t.Helper()
		for _, entry := range e.Records {
			if err := m.Replay(entry, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	const partitions = 7*forgetTogether + 300
	commit := &OffsetCommit{Group: "g", Generation: NoGeneration, Retention: -1}
	for _, name := range []string{"large", "small", "other"} {
		topic := CommitTopic{Name: name}
		for i := range int32(partitions) {
			if name == "large" || i < 300 {
				topic.Partitions = append(topic.Partitions, CommitPartition{Index: i, Number: record.Partition(i), Offset: 1})
			}
		}
		commit.Topics = append(commit.Topics, topic)
	}
	replay(m.Handle(now, 1, commit))
	effects := m.Handle(now, 2, &ForgetPartitions{Gone: func(record.Partition) bool { return true }})
	if len(effects.Records) != 8 {
		t.Errorf("%d offsets are forgotten in %d records", partitions+600, len(effects.Records))
	}
	replay(effects)
	if len(m.groups) != 0 {
		t.Error("offsets are left")
	}
}
