package kafka

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// Produce (key 0), versions 3 to 11.
//
// Behaviour: each partition's records are exactly one batch of format 2, read from the socket straight into the frame in which it is
// stored, its CRC checked once. acks 1 means the same as acks -1: committed. acks 0 gets no answer; a failure
// then closes the connection, as in Kafka, so that the client looks for the leader. A batch about which nothing is
// decided within the request's timeout (see patience) is REQUEST_TIMED_OUT; what becomes of it is open.
//
// A partition of a flexible version may have the tagged field 21332 (KIP-482 leaves such numbers to whoever needs one): the version,
// int64, that the stream of the batch's records is expected to be at, as broker.Expected has it. Its answer then has a
// field of that number: int64, the version of the first record or, with INVALID_RECORD, where the stream is; int8, 1 when the
// records were there already. So a Go client appends to streams without HTTP, and nothing of the condition is stored.
//
// Versions: 9 is flexible; 8 adds the records to blame; 10 adds the present leader to NOT_LEADER (KIP-951). Versions 0 to
// 2 are told by ApiVersions but not served (see table).

const (
	// produceFirst is the first version that is served.
	produceFirst = 3
	// tagExpected is the tagged field in which a partition has the expected version of its stream.
	tagExpected = 21332
)

// producer is what a connection that produces keeps between requests.
type producer struct {
	find    func(topic string, index int32) (partition *broker.Partition, largest int, err error)
	send    func([]broker.ProduceBatch)
	batches []broker.ProduceBatch // collected for send
	held    int64                 // of the server's budget, for what is collected

	topicName string // the last that was named
}

// newProducer returns a producer to b.
func newProducer(b *broker.Broker) *producer {
	find := func(topic string, index int32) (*broker.Partition, int, error) {
		partition, err := b.Partition(topic, index)
		if err != nil {
			return nil, 0, err
		}
		return partition, int(partition.Topic().Options.MaxMessageBytes), nil
	}
	return &producer{find: find, send: b.Produce}
}

// producing decodes one Produce request from the socket.
type producing struct {
	*producer
	connection *connection
	source     *source
	flexible   bool
	answer     *produceAnswer
	count      int // partitions so far
}

// produce reads a Produce request and hands its batches to the broker. What it returns ends the connection.
func (c *connection) produce(api *api, h header) error {
	err := c.await(func() bool { return !c.busy && len(c.pending) < c.server.limits.InFlight })
	if err != nil {
		return err
	}
	if c.producer == nil {
		c.producer = newProducer(c.server.config.Broker)
		// Ends when the connection does.
		c.workers.Go(func() {
			c.writeProduced()
		})
	}
	answer := c.expect(api, h)
	p := producing{producer: c.producer, connection: c, source: c.source, flexible: h.version >= api.flexible, answer: answer}
	err = p.decode()
	p.handOver()
	if err != nil {
		api.metrics.Errors.Add(1)
		return fmt.Errorf("produce version %d: %w", h.version, err)
	}
	answer.began = time.Now()
	c.grant(answer)
	answer.finish()
	return nil
}

// expect adds the answer of a Produce request to those that are pending.
func (c *connection) expect(api *api, h header) *produceAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var a *produceAnswer
	if last := len(c.spare) - 1; last >= 0 {
		a, c.spare[last] = c.spare[last], nil
		c.spare = c.spare[:last]
	} else {
		a = &produceAnswer{connection: c}
	}
	a.api, a.version, a.correlation, a.acks = api, h.version, h.correlation, 0
	a.open.Store(1) // the reader's
	c.pending = append(c.pending, a)
	return a
}

// decode reads the request after what was peeked of its header.
func (p *producing) decode() error {
	if err := p.source.skip(headerBytes); err != nil {
		return err
	}
	if _, err := p.text(false); err != nil { // client id
		return err
	}
	if err := p.tags(); err != nil {
		return err
	}
	if _, err := p.text(p.flexible); err != nil { // transactional id: without transactions it changes nothing
		return err
	}
	fixed, err := p.source.next(6)
	if err != nil {
		return err
	}
	p.answer.acks = int16(binary.BigEndian.Uint16(fixed))
	p.answer.patience = patience(int32(binary.BigEndian.Uint32(fixed[2:])))
	topics, err := p.arrayLength(p.least(2, 4))
	if err != nil {
		return err
	}
	if topics > maxPartitions {
		return fmt.Errorf("%d topics, limit %d: %w", topics, maxPartitions, errMalformed)
	}
	for range topics {
		if err := p.topic(); err != nil {
			return err
		}
	}
	if err := p.tags(); err != nil {
		return err
	}
	return p.source.skip(p.source.left)
}

// least returns how many bytes a structure takes at least that has a string or array of strings bytes and
// others bytes when it is not flexible.
func (p *producing) least(lengths, others int) int {
	if p.flexible {
		return 3 // one byte for each length, and one for the tags
	}
	return lengths + others
}

func (p *producing) topic() error {
	name, err := p.text(p.flexible)
	if err != nil {
		return err
	}
	if string(name) != p.topicName { // most requests name the topic of the one before
		p.topicName = string(name)
	}
	topic := p.answer.addTopic(p.topicName)
	partitions, err := p.arrayLength(p.least(4, 4))
	if err != nil {
		return err
	}
	if p.count += partitions; p.count > maxPartitions {
		return fmt.Errorf("%d partitions, limit %d: %w", p.count, maxPartitions, errMalformed)
	}
	for i := range partitions {
		if err := p.partition(topic, partitions-i); err != nil {
			return err
		}
	}
	return p.tags()
}

// partition reads one partition of topic, of which more, this one included, follow.
func (p *producing) partition(topic *producedTopic, more int) error {
	b, err := p.source.next(4)
	if err != nil {
		return err
	}
	slot := topic.add(p.answer, int32(binary.BigEndian.Uint32(b)), more)
	size, err := p.blobLength()
	if err != nil {
		return err
	}
	partition, refusal := p.target(topic.name, slot.index, size)
	if refusal != nil {
		slot.refuse(refusal)
		if err := p.source.skip(size); err != nil {
			return err
		}
		return p.tags()
	}
	taken, err := p.batch(slot, partition, size)
	if err != nil {
		return err
	}
	expected, given, err := p.tagged(tagExpected)
	if err != nil {
		return err
	}
	if given && taken {
		slot.conditional = true
		batch := &p.batches[len(p.batches)-1]
		batch.Conditional, batch.Expected = true, broker.Expected(expected)
	}
	if p.held >= handOver {
		p.handOver()
	}
	return nil
}

// target finds the partition and refuses what need not be read: nothing is allocated for a batch larger than its topic takes.
func (p *producing) target(topic string, index int32, size int) (*broker.Partition, error) {
	if acks := p.answer.acks; acks < -1 || acks > 1 {
		return nil, errAcks
	}
	partition, largest, err := p.find(topic, index)
	if err != nil {
		return nil, err
	}
	if size < record.BatchHeaderBytes {
		return nil, errOneBatch
	}
	if size > min(largest, frame.MaxBytes) {
		return nil, fmt.Errorf("batch of %d bytes, max.message.bytes is %d: %w", size, largest, broker.ErrMessageTooLarge)
	}
	return partition, nil
}

// batch reads a batch into a frame of its own and collects it for the broker, unless it is refused.
func (p *producing) batch(slot *producedPartition, partition *broker.Partition, size int) (taken bool, err error) {
	server := p.connection.server
	cost := int64(max(size, frame.MinMemory))
	if !server.requests.try(cost) {
		p.handOver() // nothing may be held while waiting
		if err := server.requests.take(p.connection.ctx, cost, server.limits.Wait); err != nil {
			return false, err
		}
	}
	p.held += cost
	memory := server.config.Pool.Get(size)
	if err := p.source.read(memory.Bytes()); err != nil {
		memory.Release()
		return false, err
	}
	batch := record.Batch(memory.Bytes())
	if err := checkBatch(batch, p.answer.version); err != nil {
		memory.Release()
		slot.refuse(err)
		return false, nil
	}
	slot.batchBytes, slot.records = int32(size), batch.RecordCount()
	p.answer.open.Add(1)
	p.batches = append(p.batches, broker.ProduceBatch{Partition: partition, Batch: batch, Frame: memory, Receiver: slot})
	return true, nil
}

// checkBatch checks that b is one batch that a client may send.
func checkBatch(b record.Batch, version int16) error {
	if b.Magic() != 2 {
		return fmt.Errorf("format %d: %w", b.Magic(), errOneBatch)
	}
	if n := b.Bytes(); n >= record.BatchHeaderBytes && n < len(b) {
		return fmt.Errorf("batch of %d bytes in %d: %w", n, len(b), errOneBatch)
	}
	if err := record.CheckBatch(b); err != nil {
		return err
	}
	const knowsZstd = 7
	if version < knowsZstd && b.Codec() == record.CodecZstd {
		return fmt.Errorf("zstd in version %d of produce: %w", version, broker.ErrUnsupportedCompression)
	}
	if b.IsControl() {
		return fmt.Errorf("clients may not write control records: %w", broker.ErrInvalidRecord)
	}
	return nil
}

// handOver gives the collected batches to the broker, which may make it wait, and their bytes back to the budget.
func (p *producing) handOver() {
	if len(p.batches) > 0 {
		p.send(p.batches)
		clear(p.batches)
		p.batches = p.batches[:0]
	}
	p.connection.server.requests.give(p.held)
	p.held = 0
}

// text reads a string that may be null; it stays valid until the next read.
func (p *producing) text(compact bool) ([]byte, error) {
	var n int
	if compact {
		length, err := p.uvarint()
		if err != nil {
			return nil, err
		}
		n = int(length) - 1
	} else {
		b, err := p.source.next(2)
		if err != nil {
			return nil, err
		}
		n = int(int16(binary.BigEndian.Uint16(b)))
	}
	if n < -1 || n > maxStringBytes {
		return nil, fmt.Errorf("string of %d bytes: %w", n, errMalformed)
	}
	return p.source.next(max(n, 0))
}

func (p *producing) uvarint() (uint32, error) {
	var x uint64
	for shift := 0; shift < 35; shift += 7 {
		b, err := p.source.next(1)
		if err != nil {
			return 0, err
		}
		x |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			if x > 1<<32-1 {
				break
			}
			return uint32(x), nil
		}
	}
	return 0, fmt.Errorf("varint: %w", errMalformed)
}

// arrayLength reads the length before an array of elements of at least least bytes.
func (p *producing) arrayLength(least int) (int, error) {
	n, err := p.length()
	if err == nil && (n < 0 || n > p.source.left/least) {
		err = fmt.Errorf("array of %d elements in %d bytes: %w", n, p.source.left, errMalformed)
	}
	return n, err
}

// blobLength reads the length before a partition's records; null has none.
func (p *producing) blobLength() (int, error) {
	n, err := p.length()
	if err == nil && (n < -1 || n > p.source.left) {
		err = fmt.Errorf("records of %d bytes in %d: %w", n, p.source.left, errMalformed)
	}
	return max(n, 0), err
}

func (p *producing) length() (int, error) {
	if p.flexible {
		n, err := p.uvarint()
		return int(n) - 1, err
	}
	b, err := p.source.next(4)
	if err != nil {
		return 0, err
	}
	return int(int32(binary.BigEndian.Uint32(b))), nil
}

// tags skips the tagged fields that end a structure of a flexible version.
func (p *producing) tags() error {
	_, _, err := p.tagged(math.MaxUint32)
	return err
}

// tagged is tags and returns the number in one of the fields, if that is there.
func (p *producing) tagged(wanted uint32) (number int64, found bool, err error) {
	if !p.flexible {
		return 0, false, nil
	}
	count, err := p.uvarint()
	if err != nil {
		return 0, false, err
	}
	if count > maxTags {
		return 0, false, fmt.Errorf("%d tags, limit %d: %w", count, maxTags, errMalformed)
	}
	for range count {
		tag, err := p.uvarint()
		if err != nil {
			return 0, false, err
		}
		size, err := p.uvarint()
		if err != nil {
			return 0, false, err
		}
		switch {
		case size > maxTagBytes:
			return 0, false, fmt.Errorf("tag of %d bytes, limit %d: %w", size, maxTagBytes, errMalformed)
		case tag != wanted:
			if err := p.source.skip(int(size)); err != nil {
				return 0, false, err
			}
		case size != 8 || found:
			return 0, false, fmt.Errorf("tag %d of %d bytes, wanted one of 8: %w", tag, size, errMalformed)
		default:
			value, err := p.source.next(8)
			if err != nil {
				return 0, false, err
			}
			number, found = int64(binary.BigEndian.Uint64(value)), true
		}
	}
	return number, found, nil
}
