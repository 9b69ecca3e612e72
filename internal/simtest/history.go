package simtest

import (
	"fmt"
	"sort"
	"sync"
)

// maxViolations bounds a report: the first few tell the story.
const maxViolations = 20

type place struct {
	partition int32
	offset    int64
}

// History collects what clients saw. Its methods may be called from any goroutine.
type History struct {
	mu         sync.Mutex // guards all below
	acked      map[place]string
	seen       map[place]string  // by any reader at any time
	next       map[string]int64  // per reader and partition: the offset that must come next
	committed  map[string]int64  // per group and partition: highest acknowledged commit
	appended   map[string]string // per "stream/version": event id of an acknowledged append
	violations []string
	acks       int
	reads      int
	appends    int
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{
		acked: map[place]string{}, seen: map[place]string{}, next: map[string]int64{},
		committed: map[string]int64{}, appended: map[string]string{},
	}
}

func (h *History) violate(format string, arguments ...any) {
	if len(h.violations) < maxViolations {
		h.violations = append(h.violations, fmt.Sprintf(format, arguments...))
	}
}

// Acked notes that the broker acknowledged value at an offset.
func (h *History) Acked(partition int32, offset int64, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acks++
	at := place{partition, offset}
	if old, ok := h.acked[at]; ok && old != value {
		h.violate("partition %d offset %d was acknowledged for %s and for %s", partition, offset, old, value)
	}
	h.acked[at] = value
}

// Read notes that a reader, which began at offset 0 and reads on, got value.
func (h *History) Read(reader string, partition int32, offset int64, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	key := fmt.Sprint(reader, "/", partition)
	if want := h.next[key]; offset != want {
		h.violate("%s read offset %d of partition %d, wanted %d", reader, offset, partition, want)
	}
	h.next[key] = offset + 1
	h.sawLocked(partition, offset, value)
}

// Saw notes a read by somebody who may begin anywhere.
func (h *History) Saw(partition int32, offset int64, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	h.sawLocked(partition, offset, value)
}

func (h *History) sawLocked(partition int32, offset int64, value string) {
	at := place{partition, offset}
	if old, ok := h.seen[at]; ok && old != value {
		h.violate("partition %d offset %d was read as %s and as %s", partition, offset, old, value)
	}
	h.seen[at] = value
}

// Committed notes that a group's commit was acknowledged.
func (h *History) Committed(group string, partition int32, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := fmt.Sprint(group, "/", partition)
	h.committed[key] = max(h.committed[key], offset)
}

// Resumed notes where a group was told to go on.
func (h *History) Resumed(group string, partition int32, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if key := fmt.Sprint(group, "/", partition); offset < h.committed[key] {
		h.violate("group %s goes on at %d of partition %d after a commit of %d", group, offset, partition, h.committed[key])
	}
}

// Appended notes that a conditional append of one event was acknowledged at a version.
func (h *History) Appended(stream string, version int64, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.appends++
	key := fmt.Sprint(stream, "/", version)
	if old, ok := h.appended[key]; ok && old != id {
		h.violate("version %s was acknowledged for %s and for %s", key, old, id)
	}
	h.appended[key] = id
}

// Final is what the whole log holds after everything has healed.
type Final struct {
	Partitions map[int32][]string  // values from offset 0 to the high watermark
	Streams    map[string][]string // event ids from version 0
}

// Check compares the history with the final state and returns what is wrong.
//
// Values are "producer sequence"; each producer sends its sequence to each
// partition in rising order, so a value that comes again is a duplicate and one
// that is smaller than its predecessor came out of order.
func (h *History) Check(final Final) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, value := range h.acked {
		values := final.Partitions[at.partition]
		switch {
		case at.offset >= int64(len(values)):
			h.violate("LOST: %s was acknowledged at %d/%d, the partition ends at %d", value, at.partition, at.offset, len(values))
		case values[at.offset] != value:
			h.violate("LOST: %s was acknowledged at %d/%d, which holds %s", value, at.partition, at.offset, values[at.offset])
		}
	}
	for at, value := range h.seen {
		if values := final.Partitions[at.partition]; at.offset >= int64(len(values)) || values[at.offset] != value {
			h.violate("%s was read at %d/%d and is not there", value, at.partition, at.offset)
		}
	}
	for partition, values := range final.Partitions {
		last := map[string]int{}
		for offset, value := range values {
			producer, sequence := split(value)
			if before, ok := last[producer]; ok && sequence <= before {
				h.violate("producer %s: %d after %d at %d/%d", producer, sequence, before, partition, offset)
			}
			last[producer] = sequence
		}
	}
	for key, id := range h.appended {
		stream, version := split2(key)
		if ids := final.Streams[stream]; version >= len(ids) || ids[version] != id {
			h.violate("LOST: event %s was acknowledged as %s", id, key)
		}
	}
	for stream, ids := range final.Streams {
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] {
				h.violate("stream %s holds event %s twice", stream, id)
			}
			seen[id] = true
		}
	}
	sort.Strings(h.violations)
	return h.violations
}

// Counts returns how many acknowledgements, reads and conditional appends were seen.
func (h *History) Counts() (acks, reads, appends int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acks, h.reads, h.appends
}

func split(value string) (producer string, sequence int) {
	if n, _ := fmt.Sscanf(value, "%s %d", &producer, &sequence); n != 2 {
		return value, -1
	}
	return producer, sequence
}

func split2(key string) (stream string, version int) {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '/' {
			_, _ = fmt.Sscan(key[i+1:], &version)
			return key[:i], version
		}
	}
	return key, -1
}
