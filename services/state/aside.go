package state

import (
	"encoding/json"
	"fmt"
	"time"
)

// An Aside is a record that was not understood and kept in mind; it blocks nothing.
// The record itself is in the log.
type Aside struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Reason    string    `json:"reason"`
	Preview   string    `json:"preview"` // the first bytes of its value
	At        time.Time `json:"at"`
}

const maxPreviewBytes = 256

// PutAside notes a record that was put aside. The same record is noted once.
func (t *Tx) PutAside(aside Aside) {
	if len(aside.Preview) > maxPreviewBytes {
		aside.Preview = aside.Preview[:maxPreviewBytes]
	}
	value, err := json.Marshal(aside)
	if err != nil {
		t.fail(fmt.Errorf("put aside: %w", err))
		return
	}
	t.set(asideKey(aside.Topic, aside.Partition, aside.Offset), value)
}

// Asides returns at most limit records that were put aside, in order of their place in
// the log, and how many there are.
func (t *Tx) Asides(limit int) (first []Aside, count int) {
	for key, value := range t.scan([]byte{spaceAside}, []byte{spaceAside + 1}) {
		count++
		if len(first) >= limit {
			continue
		}
		var aside Aside
		_, _, _, err := parseAsideKey(key)
		if err == nil {
			err = json.Unmarshal(value, &aside)
		}
		if err != nil {
			t.fail(fmt.Errorf("read record put aside: %w", err))
			return first, count
		}
		first = append(first, aside)
	}
	return first, count
}
