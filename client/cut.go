package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Cut is a vector of positions: for each topic the next offset of each partition,
// partition 0 first. Everything below it has happened, nothing at or above it. State
// that was folded from the log is comparable only at a cut.
type Cut map[string][]int64

// Clone returns a copy that shares nothing with c.
func (c Cut) Clone() Cut {
	clone := make(Cut, len(c))
	for topic, offsets := range c {
		clone[topic] = slices.Clone(offsets)
	}
	return clone
}

// Events returns how many offsets lie below the cut.
func (c Cut) Events() (count int64) {
	for _, offsets := range c {
		for _, offset := range offsets {
			count += offset
		}
	}
	return count
}

// Offset returns the next offset of a partition, 0 when the cut does not name it.
func (c Cut) Offset(topic string, partition int32) int64 {
	offsets := c[topic]
	if partition < 0 || int(partition) >= len(offsets) {
		return 0
	}
	return offsets[partition]
}

// Set moves one partition to offset, making room for it.
func (c Cut) Set(topic string, partition int32, offset int64) {
	offsets := c[topic]
	for int(partition) >= len(offsets) {
		offsets = append(offsets, 0)
	}
	offsets[partition] = offset
	c[topic] = offsets
}

// Covers reports whether c is at or after other in every partition.
func (c Cut) Covers(other Cut) bool {
	for topic, offsets := range other {
		for partition, offset := range offsets {
			if c.Offset(topic, int32(partition)) < offset {
				return false
			}
		}
	}
	return true
}

// String writes the cut as "order-events:3,0,17 payment-events:2,2,1", topics in
// order; ParseCut reads it.
func (c Cut) String() string {
	var b strings.Builder
	for i, topic := range slices.Sorted(maps.Keys(c)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(topic)
		for partition, offset := range c[topic] {
			b.WriteByte(":,"[min(partition, 1)])
			b.WriteString(strconv.FormatInt(offset, 10))
		}
	}
	return b.String()
}

// maxCutPartitions bounds what ParseCut makes of one topic.
const maxCutPartitions = 1 << 16

// ParseCut reads what String wrote.
func ParseCut(text string) (Cut, error) {
	c := Cut{}
	for field := range strings.FieldsSeq(text) {
		topic, list, found := strings.Cut(field, ":")
		if !found || topic == "" {
			return nil, fmt.Errorf("cut %q: wanted a topic and its offsets, as in topic:3,0,17", field)
		}
		offsets := strings.Split(list, ",")
		if len(offsets) > maxCutPartitions {
			return nil, fmt.Errorf("cut of %s names %d partitions, limit %d", topic, len(offsets), maxCutPartitions)
		}
		for partition, number := range offsets {
			offset, err := strconv.ParseInt(number, 10, 64)
			if err != nil || offset < 0 {
				return nil, fmt.Errorf("cut of %s: offset %q of partition %d is not a number from 0", topic, number, partition)
			}
			c[topic] = append(c[topic], offset)
		}
	}
	return c, nil
}
