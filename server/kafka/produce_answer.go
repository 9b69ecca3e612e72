package kafka

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/server/broker"
)

// produceAnswer collects the results of one Produce request, which come from any goroutine. A connection uses those of
// answered requests again, so that a request of the usual shape allocates nothing.
type produceAnswer struct {
	connection  *connection
	api         *api
	version     int16
	acks        int16
	correlation int32
	patience    time.Duration // how long the client waits
	began       time.Time     // when the last byte was read
	topics      []*producedTopic
	open        atomic.Int32 // batches without a result, and the reader while it decodes

	// Guarded by the connection's mutex:
	due     time.Time // when the client ceases to wait; zero: not yet known, or nothing is open
	ready   bool
	expired bool // it became ready because due has passed: results still come, and nobody reads them
}

// producedTopic is one topic of a request. Its partitions lie in pieces, so that the broker may write results
// while the reader adds more.
type producedTopic struct {
	name   string
	pieces [][]producedPartition
	count  int
}

const (
	// pieceLength bounds what is allocated for partitions that were only announced.
	pieceLength = 64
	// sparePartitions bounds the partitions that an answer may have room for when it is kept for another request,
	// spareAnswers how many are kept.
	sparePartitions = 16
	spareAnswers    = 5
)

// producedPartition is the answer for one partition.
type producedPartition struct {
	answer     *produceAnswer
	index      int32
	batchBytes int32
	records    int32
	result     broker.ProduceResult
	decided    atomic.Bool // result is there

	conditional bool // the request named a version
}

// addTopic appends a topic, in the room of an earlier request's if there is any.
func (a *produceAnswer) addTopic(name string) *producedTopic {
	n := len(a.topics)
	if n == cap(a.topics) {
		a.topics = append(a.topics, nil)
	}
	a.topics = a.topics[:n+1]
	if a.topics[n] == nil {
		a.topics[n] = &producedTopic{}
	}
	a.topics[n].name = name
	return a.topics[n]
}

// add appends a partition; more, this one included, are announced.
func (t *producedTopic) add(answer *produceAnswer, index int32, more int) *producedPartition {
	last := len(t.pieces) - 1
	if last < 0 || len(t.pieces[last]) == cap(t.pieces[last]) {
		last++
		if last == cap(t.pieces) {
			t.pieces = append(t.pieces, nil)
		}
		t.pieces = t.pieces[:last+1]
		if t.pieces[last] == nil {
			t.pieces[last] = make([]producedPartition, 0, min(more, pieceLength))
		}
	}
	t.pieces[last] = append(t.pieces[last], producedPartition{answer: answer, index: index})
	t.count++
	return &t.pieces[last][len(t.pieces[last])-1]
}

// clear empties the answer and keeps its room. It reports whether that is little enough to be worth keeping.
func (a *produceAnswer) clear() bool {
	room := 0
	for _, topic := range a.topics[:cap(a.topics)] {
		if topic == nil {
			continue
		}
		for _, piece := range topic.pieces[:cap(topic.pieces)] {
			room += cap(piece)
		}
		for i, piece := range topic.pieces {
			clear(piece)
			topic.pieces[i] = piece[:0]
		}
		topic.name, topic.pieces, topic.count = "", topic.pieces[:0], 0
	}
	a.topics, a.due, a.ready = a.topics[:0], time.Time{}, false
	return room <= sparePartitions
}

// refuse answers a partition whose batch does not go to the broker.
func (p *producedPartition) refuse(err error) {
	p.result = broker.ProduceResult{Err: err, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1}
	p.decided.Store(true)
}

// Done implements broker.ProduceReceiver.
func (p *producedPartition) Done(result broker.ProduceResult) {
	p.result = result
	p.decided.Store(true)
	p.answer.finish()
}

// finish takes one off what is open; the last one lets the writer have the answer.
func (a *produceAnswer) finish() {
	if a.open.Add(-1) > 0 {
		return
	}
	c := a.connection
	c.mu.Lock()
	a.ready = true
	if len(c.pending) > 0 && c.pending[0] == a {
		c.changed.Broadcast()
	}
	c.mu.Unlock()
}

// append appends the answer to dst, or nothing with acks 0, and counts it. errNoAnswer asks to close the connection.
func (a *produceAnswer) append(dst []byte) ([]byte, error) {
	r := &request{header: header{key: keyProduce, version: a.version}, connection: a.connection}
	start := len(dst)
	out := answerWriter{flexible: a.version >= a.api.flexible}
	out.bytes = appendAnswerHeader(dst, a.correlation, out.flexible)
	var leaders leaderHints
	out.arrayLength(len(a.topics))
	for _, topic := range a.topics {
		out.text(topic.name)
		out.arrayLength(topic.count)
		for _, piece := range topic.pieces {
			for i := range piece {
				a.appendPartition(&out, r, topic, &piece[i], &leaders)
			}
		}
		out.noTags()
	}
	out.int32(0) // throttle
	leaders.appendBrokers(&out, a.connection, 0)
	a.api.metrics.Latency.Observe(time.Since(a.began))
	if r.failed {
		a.api.metrics.Errors.Add(1)
	}
	if a.acks == 0 {
		if r.failed {
			return dst, errNoAnswer
		}
		return dst, nil
	}
	finishAnswer(out.bytes[start:])
	return out.bytes, nil
}

func (a *produceAnswer) appendPartition(out *answerWriter, r *request, topic *producedTopic, p *producedPartition, leaders *leaderHints) {
	result := &p.result
	if a.expired && !p.decided.Load() {
		result = &broker.ProduceResult{Err: errUndecided, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1}
	}
	code := r.code(result.Err)
	if code == 0 && p.batchBytes > 0 {
		counters := a.connection.server.metrics.Topic(topic.name)
		counters.ProducedBytes.Add(int64(p.batchBytes))
		counters.ProducedRecords.Add(int64(p.records))
	}
	out.int32(p.index)
	out.int16(code)
	out.int64(int64(result.BaseOffset))
	out.int64(result.LogAppendTime)
	if a.version >= 5 {
		out.int64(int64(result.LogStartOffset))
	}
	if a.version >= 8 {
		out.arrayLength(len(result.RecordErrors))
		for _, e := range result.RecordErrors {
			out.int32(e.Index)
			out.nullableText(&e.Message)
			out.noTags()
		}
		out.nullableText(message(result.Err))
	}
	if a.version >= 10 && errors.Is(result.Err, broker.ErrNotLeader) {
		leaders.appendLeader(out, a.connection, 0, topic.name, p.index)
		return
	}
	if p.conditional {
		appendVersion(out, result)
		return
	}
	out.noTags()
}

// appendVersion ends a partition with the tag that says where its records, or the stream that they did not fit, are.
func appendVersion(out *answerWriter, result *broker.ProduceResult) {
	version := result.FirstVersion
	if conflict, ok := errors.AsType[*broker.ConflictError](result.Err); ok {
		version = conflict.Actual
	} else if result.Err != nil {
		out.noTags()
		return
	}
	const size = 8 + 1
	out.bytes = append(out.bytes, 1)
	out.bytes = binary.AppendUvarint(out.bytes, tagExpected)
	out.bytes = append(out.bytes, size)
	out.int64(version)
	duplicate := byte(0)
	if result.Duplicate {
		duplicate = 1
	}
	out.bytes = append(out.bytes, duplicate)
}

var errNoAnswer = errors.New("a batch with acks 0 was refused")

// writeProduced writes the answers of Produce requests, in order, as they get ready.
func (c *connection) writeProduced() {
	var ready []*produceAnswer
	var out []byte
	for {
		ready = ready[:0]
		err := c.await(func() bool { return len(c.pending) > 0 && c.pending[0].ready })
		if err != nil {
			return
		}
		c.mu.Lock()
		for _, a := range c.pending {
			if !a.ready {
				break
			}
			ready = append(ready, a)
		}
		c.mu.Unlock()
		out = out[:0]
		for _, a := range ready {
			if out, err = a.append(out); err != nil {
				break
			}
		}
		if len(out) > 0 {
			if e := c.writeOne(out); e != nil {
				err = e
			}
		}
		if err != nil {
			c.complain(err)
			c.close()
			return
		}
		c.mu.Lock()
		rest := copy(c.pending, c.pending[len(ready):])
		clear(c.pending[rest:])
		c.pending = c.pending[:rest]
		for _, a := range ready {
			if a.expired { // results still come into it
				continue
			}
			if a.clear() && len(c.spare) < spareAnswers {
				c.spare = append(c.spare, a)
			}
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		clear(ready)
		if cap(out) > handOver {
			out = nil
		}
	}
}
