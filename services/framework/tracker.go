package framework

import (
	"sync"
	"time"

	"github.com/stela-db/stela/client"
)

// A tracker knows which inputs were taken up and which of them are dealt with. Inputs
// end in any order; a partition's checkpoint is before its oldest unfinished input.
type tracker struct {
	mu         sync.Mutex // guards all below
	partitions map[partitionKey]*openInputs
	changed    bool // since the last cut
}

type partitionKey struct {
	topic     string
	partition int32
}

// openInputs are the inputs of one partition from the oldest unfinished one on.
type openInputs struct {
	next  int64 // offset after the newest input that was taken up
	queue []openInput
}

type openInput struct {
	offset int64
	time   time.Time
	done   bool
}

func newTracker(from client.Cut) *tracker {
	t := &tracker{partitions: map[partitionKey]*openInputs{}}
	for topic, offsets := range from {
		for partition, next := range offsets {
			t.partitions[partitionKey{topic, int32(partition)}] = &openInputs{next: next}
		}
	}
	return t
}

// begin takes an input up. Inputs of a partition begin in order.
func (t *tracker) begin(topic string, partition int32, offset int64, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := partitionKey{topic, partition}
	p := t.partitions[key]
	if p == nil {
		p = &openInputs{}
		t.partitions[key] = p
	}
	p.queue = append(p.queue, openInput{offset: offset, time: at})
	p.next = offset + 1
}

// end says that an input was dealt with.
func (t *tracker) end(topic string, partition int32, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.partitions[partitionKey{topic, partition}]
	for i := range p.queue {
		if p.queue[i].offset == offset {
			p.queue[i].done = true
			break
		}
	}
	for len(p.queue) > 0 && p.queue[0].done {
		p.queue = p.queue[1:]
	}
	t.changed = true
}

// cut returns the checkpoints, and whether they may have moved since the last call.
func (t *tracker) cut() (client.Cut, bool) {
	t.mu.Lock()
	changed := t.changed
	t.changed = false
	t.mu.Unlock()
	return t.checkpoints(), changed
}

// checkpoints returns them as they are, for those who only look.
func (t *tracker) checkpoints() client.Cut {
	t.mu.Lock()
	defer t.mu.Unlock()
	cut := client.Cut{}
	for key, p := range t.partitions {
		next := p.next
		if len(p.queue) > 0 {
			next = p.queue[0].offset
		}
		cut.Set(key.topic, key.partition, next)
	}
	return cut
}

// oldest returns the time of the oldest unfinished input, zero when there is none.
func (t *tracker) oldest() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var oldest time.Time
	for _, p := range t.partitions {
		if len(p.queue) > 0 && (oldest.IsZero() || p.queue[0].time.Before(oldest)) {
			oldest = p.queue[0].time
		}
	}
	return oldest
}
