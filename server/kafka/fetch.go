package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// Fetch (key 1), versions 4 to 17.
//
// Behaviour: whole batches, the first of which contains the offset asked for. Waits until min bytes are there, at most max
// wait and five minutes, woken by the broker. Max bytes are honoured, the limit AnswerBytes too, but one batch is given however large. Sessions are not kept:
// the session id is always 0, which clients take for a full answer each time. There are no transactions, so the last
// stable offset is the high watermark and nothing is aborted. Fields of replicas are refused.
//
// Versions: 12 is flexible and tells the present leader with NOT_LEADER; 13 names topics by id; 15 moves the replica id into a tag.

// fetching is a Fetch request and its answer in the making.
type fetching struct {
	request   *request
	topics    []fetchedTopic
	wanted    broker.FetchRequest
	slots     []int // by partition of the request: its index in wanted, or -1
	refusals  []error
	session   int32
	replica   int32
	isolation int8
	count     int
}

type fetchedTopic struct {
	name       string         // from version 13 on found by id, when it is there
	id         record.TopicID // from version 13 on
	partitions []wantedPartition
	first      int // index of its first partition in slots
}

// wantedPartition is one partition of the request.
type wantedPartition struct {
	index       int32
	leaderEpoch int32 // as the client knows it, -1 when it does not
	maxBytes    int32
	offset      int64
}

// fetch decodes and answers a Fetch request. What it returns ends the connection.
func fetch(r *request, in *fields) error {
	f := &fetching{request: r, replica: -1}
	f.decode(in)
	in.end()
	if in.bad != nil {
		return fmt.Errorf("fetch version %d: %w", r.version, in.bad)
	}
	in.rest = nil // it may wait for long, and what it waits for is in f
	if err := r.hold(f.memory()); err != nil {
		return fmt.Errorf("fetch version %d: %d bytes to decode it: %w", r.version, f.memory(), err)
	}
	f.resolve(r.connection.server.limits.AnswerBytes)
	var refusal error
	switch {
	case f.replica >= 0:
		refusal = errReplicaOnly
	case f.session != 0:
		refusal = errNoSession
	}
	if refusal != nil {
		for i := range f.refusals {
			f.refusals[i] = refusal
		}
		return f.answer(&broker.FetchResult{}, refusal)
	}
	memory := &fetchMemory{budget: r.connection.server.answers, total: r.connection.server.limits.TotalAnswers}
	f.wanted.Memory = memory
	result, err := f.read(memory)
	defer func() {
		result.Release()
		memory.GiveBack()
	}()
	if err != nil {
		return err
	}
	return f.answer(result, nil)
}

// memory returns about how many bytes the decoded request takes, and its answer without batches.
func (f *fetching) memory() int64 {
	const perTopic, perPartition = 128, 256
	return int64(len(f.topics)*perTopic + f.count*perPartition)
}

// read asks the broker, whose reading takes its memory from the budget of answers. When there is none for anything, it waits
// for some and asks again.
func (f *fetching) read(memory *fetchMemory) (*broker.FetchResult, error) {
	if len(f.wanted.Partitions) == 0 {
		return &broker.FetchResult{}, nil
	}
	server := f.request.connection.server
	for {
		memory.short = 0
		result := f.request.broker().Fetch(f.request.ctx, &f.wanted)
		if f.request.ctx.Err() != nil {
			return result, net.ErrClosed
		}
		if memory.short == 0 || memory.used > 0 {
			return result, nil
		}
		result.Release()
		if err := memory.wait(f.request.ctx, server.limits.Wait); err != nil {
			return &broker.FetchResult{}, fmt.Errorf("%d bytes for a fetch answer: %w", memory.short, err)
		}
		f.wanted.MaxWait = 0
	}
}

// fetchMemory is what one Fetch has of the budget of answers. It implements broker.FetchMemory.
type fetchMemory struct {
	budget *budget
	total  int64 // of the budget
	held   int64
	used   int64 // of held
	short  int64 // what was asked for in vain; zero: nothing was
}

// Take implements broker.FetchMemory. It does not wait.
func (m *fetchMemory) Take(bytes int) bool {
	wanted := m.used + int64(bytes)
	if m.used == 0 {
		wanted = min(wanted, m.total) // one batch is given however large
	}
	if more := wanted - m.held; more > 0 {
		if !m.budget.try(more) {
			m.short = wanted - m.used
			return false
		}
		m.held = wanted
	}
	m.used = wanted
	return true
}

// GiveBack implements broker.FetchMemory.
func (m *fetchMemory) GiveBack() {
	m.budget.give(m.held)
	m.held, m.used = 0, 0
}

// wait waits for what was asked for in vain, holding nothing.
func (m *fetchMemory) wait(ctx context.Context, patience time.Duration) error {
	m.GiveBack()
	if err := m.budget.take(ctx, m.short, patience); err != nil {
		return err
	}
	m.held = m.short
	return nil
}

// decode reads the request and finds its partitions.
func (f *fetching) decode(in *fields) {
	version := f.request.version
	if version <= 14 {
		f.replica = in.int32()
	}
	// A client that has sent another request by then is not noticed leaving before this one is answered.
	f.wanted.MaxWait = min(time.Duration(max(in.int32(), 0))*time.Millisecond, mostTimeout)
	f.wanted.MinBytes = int(max(in.int32(), 0))
	f.wanted.MaxBytes = int(max(in.int32(), 0))
	f.isolation = in.int8()
	if version >= 7 {
		f.session = in.int32()
		in.int32() // session epoch: any, as no session is kept
	}
	least := 2 + 4
	switch {
	case version >= 13:
		least = 16 + 2
	case version >= 12:
		least = 3
	}
	topics := in.count(least)
	if topics > maxPartitions {
		in.fail("%d topics, limit %d", topics, maxPartitions)
	}
	for range topics {
		if in.bad != nil {
			return
		}
		f.topic(in)
	}
	if version >= 7 {
		f.forgotten(in, least)
	}
	if version >= 11 {
		in.string() // rack: every partition is read from its leader
	}
	in.tags(func(tag uint32, value []byte) {
		const replicaState = 1
		if version >= 15 && tag == replicaState && len(value) >= 4 {
			f.replica = int32(binary.BigEndian.Uint32(value))
		}
	})
}

// forgotten skips the topics that leave a session.
func (f *fetching) forgotten(in *fields, least int) {
	for range in.count(least) {
		if f.request.version >= 13 {
			in.uuid()
		} else {
			in.string()
		}
		in.take(4 * max(in.count(4), 0))
		in.tags(nil)
		if in.bad != nil {
			return
		}
	}
}

func (f *fetching) topic(in *fields) {
	version := f.request.version
	t := fetchedTopic{first: f.count}
	if version >= 13 {
		t.id = in.uuid()
	} else {
		t.name = string(in.string())
	}
	least := 4 + 8 + 4
	if version >= 5 {
		least += 8
	}
	n := max(in.count(least), 0)
	if f.count += n; f.count > maxPartitions {
		in.fail("%d partitions, limit %d", f.count, maxPartitions)
		return
	}
	t.partitions = make([]wantedPartition, 0, n)
	for range n {
		p := wantedPartition{leaderEpoch: -1}
		p.index = in.int32()
		if version >= 9 {
			p.leaderEpoch = in.int32()
		}
		p.offset = in.int64()
		if version >= 12 {
			in.int32() // last fetched epoch: of replicas
		}
		if version >= 5 {
			in.int64() // log start offset: of replicas
		}
		p.maxBytes = max(in.int32(), 0)
		in.tags(nil) // replica directory and high watermark: of replicas
		if in.bad != nil {
			return
		}
		t.partitions = append(t.partitions, p)
	}
	in.tags(nil)
	f.topics = append(f.topics, t)
}

// resolve finds the partitions of the request and limits the answer.
func (f *fetching) resolve(most int) {
	f.wanted.MaxBytes = min(f.wanted.MaxBytes, most)
	f.wanted.MinBytes = min(f.wanted.MinBytes, f.wanted.MaxBytes)
	f.slots = make([]int, 0, f.count)
	f.refusals = make([]error, 0, f.count)
	f.wanted.Partitions = make([]broker.FetchPartition, 0, f.count)
	for i := range f.topics {
		t := &f.topics[i]
		for _, p := range t.partitions {
			var partition *broker.Partition
			var err error
			if f.request.version >= 13 {
				partition, err = f.request.broker().PartitionByID(t.id, p.index)
			} else {
				partition, err = f.request.broker().Partition(t.name, p.index)
			}
			f.refusals = append(f.refusals, err)
			if err != nil {
				f.slots = append(f.slots, -1)
				continue
			}
			t.name = partition.Topic().Name
			f.slots = append(f.slots, len(f.wanted.Partitions))
			f.wanted.Partitions = append(f.wanted.Partitions, broker.FetchPartition{
				Partition: partition, Offset: record.Offset(p.offset), MaxBytes: int(p.maxBytes), LeaderEpoch: p.leaderEpoch,
			})
		}
	}
}

// fetchedPieces is the answer's bytes: what is written here, and stored batches between it.
type fetchedPieces struct {
	answerWriter
	cuts    []int      // where in bytes batches go
	batches [][][]byte // for each cut
	total   int        // bytes of batches
}

// answer encodes the answer around the batches of result and writes it.
func (f *fetching) answer(result *broker.FetchResult, refusal error) error {
	r := f.request
	out := &fetchedPieces{answerWriter: answerWriter{flexible: r.version >= 12}}
	out.bytes = appendAnswerHeader(make([]byte, 0, 128+64*len(f.slots)), r.correlation, out.flexible)
	out.int32(0) // throttle
	if r.version >= 7 {
		out.int16(r.code(refusal))
		out.int32(0) // session
	}
	var leaders leaderHints
	out.arrayLength(len(f.topics))
	for i := range f.topics {
		t := &f.topics[i]
		if r.version >= 13 {
			out.bytes = append(out.bytes, t.id[:]...)
		} else {
			out.text(t.name)
		}
		out.arrayLength(len(t.partitions))
		for j := range t.partitions {
			p := broker.FetchedPartition{Err: f.refusals[t.first+j], HighWatermark: -1, LogStartOffset: -1}
			if slot := f.slots[t.first+j]; slot >= 0 && p.Err == nil {
				p = result.Partitions[slot]
				f.tally(t, &p)
			}
			f.appendPartition(out, t, t.partitions[j].index, &p, &leaders)
		}
		out.noTags()
	}
	if r.version >= 16 {
		leaders.appendBrokers(&out.answerWriter, r.connection, 0)
	} else {
		out.noTags()
	}
	binary.BigEndian.PutUint32(out.bytes, uint32(len(out.bytes)-4+out.total))
	return r.connection.write(out.pieces())
}

// appendPartition appends one partition of the answer.
func (f *fetching) appendPartition(out *fetchedPieces, t *fetchedTopic, index int32, p *broker.FetchedPartition, leaders *leaderHints) {
	r := f.request
	code := r.code(p.Err)
	out.int32(index)
	out.int16(code)
	out.int64(int64(p.HighWatermark))
	out.int64(int64(p.HighWatermark)) // last stable offset
	if r.version >= 5 {
		out.int64(int64(p.LogStartOffset))
	}
	if f.isolation == 1 {
		out.arrayLength(0) // aborted transactions
	} else {
		out.nullArray()
	}
	if r.version >= 11 {
		out.int32(-1) // preferred replica
	}
	n := p.Bytes()
	out.arrayLength(n)
	if n > 0 {
		out.cuts = append(out.cuts, len(out.bytes))
		out.batches = append(out.batches, p.Batches)
		out.total += n
	}
	const notLeader = 6
	if r.version >= 12 && code == notLeader {
		leaders.appendLeader(&out.answerWriter, r.connection, 1, t.name, index)
		return
	}
	out.noTags()
}

// tally counts what one partition hands out.
func (f *fetching) tally(t *fetchedTopic, p *broker.FetchedPartition) {
	if bytes := p.Bytes(); bytes > 0 {
		counters := f.request.connection.server.metrics.Topic(t.name)
		counters.FetchedBytes.Add(int64(bytes))
		counters.FetchedRecords.Add(countRecords(p.Batches))
	}
}

// countRecords adds up the records that the headers of stored batches tell.
func countRecords(pieces [][]byte) (records int64) {
	for _, rest := range pieces {
		for len(rest) > 0 {
			batch, next, err := record.NextBatch(rest)
			if err != nil {
				return records
			}
			records += int64(batch.RecordCount())
			rest = next
		}
	}
	return records
}

// pieces returns the answer in the order of the wire and its size.
func (o *fetchedPieces) pieces() (net.Buffers, int) {
	var out net.Buffers
	start := 0
	for i, cut := range o.cuts {
		out = append(out, o.bytes[start:cut])
		out = append(out, o.batches[i]...)
		start = cut
	}
	if start < len(o.bytes) {
		out = append(out, o.bytes[start:])
	}
	return out, len(o.bytes) + o.total
}
