package broker

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/stela-db/stela/log/record"
)

// producerWindow is how many batches of a producer are remembered, as Kafka does: an
// idempotent producer has at most five requests under way.
const producerWindow = 5

// producerLimit is how many producers of a shard are kept in memory; the others are read from the index.
const producerLimit = 16 << 10

// A producerKey names an idempotent producer in one partition.
type producerKey struct {
	partition record.Partition
	id        int64
}

// producerKeyBytes is the size of a producer's key in the index.
const producerKeyBytes = 13

func (k producerKey) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, rowProducer), uint32(k.partition))
	return binary.BigEndian.AppendUint64(dst, uint64(k.id))
}

func parseProducerRow(key []byte) (producerKey, bool) {
	if len(key) != producerKeyBytes {
		return producerKey{}, false
	}
	return producerKey{record.Partition(binary.BigEndian.Uint32(key[1:])), int64(binary.BigEndian.Uint64(key[5:]))}, true
}

// A producerBatch is one remembered batch.
type producerBatch struct {
	first, last int32 // sequence numbers
	base        record.Offset
}

// A producerState is what decides whether a producer's next batch is new.
type producerState struct {
	epoch   int16
	count   int8 // of batches; 0: nothing is known of this producer
	time    int64
	batches [producerWindow]producerBatch // newest first

	// mark is the proposal that changed it last (sequencer) or the Apply that did (state machine).
	mark uint64
}

// lastSequence returns the sequence number of a batch's last record; numbers wrap to 0 after the largest int32.
func lastSequence(first, delta int32) int32 {
	if first > math.MaxInt32-delta {
		return delta - (math.MaxInt32 - first) - 1
	}
	return first + delta
}

// check decides about a batch with sequence numbers first to last: new (nil, false),
// a repetition of a remembered one (its base offset, true), or an error.
func (p *producerState) check(epoch int16, first, last int32) (record.Offset, bool, error) {
	switch {
	case p.count == 0:
		return 0, false, nil
	case epoch < p.epoch:
		return 0, false, fmt.Errorf("epoch %d of the producer, %d has written since: %w", epoch, p.epoch, ErrInvalidProducerEpoch)
	case epoch > p.epoch:
		if first != 0 {
			return 0, false, fmt.Errorf("sequence %d begins epoch %d: %w", first, epoch, ErrOutOfOrderSequence)
		}
		return 0, false, nil
	}
	for _, b := range p.batches[:p.count] {
		if b.first == first && b.last == last {
			return b.base, true, nil
		}
	}
	newest := p.batches[0].last
	if first == newest+1 || first == 0 && newest == math.MaxInt32 {
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("sequence %d follows %d: %w", first, newest, ErrOutOfOrderSequence)
}

// push remembers a new batch.
func (p *producerState) push(epoch int16, b producerBatch) {
	if p.count == 0 || p.epoch != epoch {
		p.epoch, p.count = epoch, 0
	}
	copy(p.batches[1:], p.batches[:producerWindow-1])
	p.batches[0] = b
	p.count = min(p.count+1, producerWindow)
}

// append encodes the state: epoch u16, count u8, time u64, batches of first u32, last u32, base u64.
func (p *producerState) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(p.epoch))
	dst = append(dst, byte(p.count))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.time))
	for _, b := range p.batches[:p.count] {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(b.first))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(b.last))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(b.base))
	}
	return dst
}

func parseProducerState(b []byte) (producerState, error) {
	const header, each = 11, 16
	if len(b) < header || b[2] > producerWindow || len(b) != header+int(b[2])*each {
		return producerState{}, fmt.Errorf("producer row of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	p := producerState{
		epoch: int16(binary.LittleEndian.Uint16(b)),
		count: int8(b[2]),
		time:  int64(binary.LittleEndian.Uint64(b[3:])),
	}
	for i := range p.batches[:p.count] {
		at := b[header+i*each:]
		p.batches[i] = producerBatch{
			first: int32(binary.LittleEndian.Uint32(at)),
			last:  int32(binary.LittleEndian.Uint32(at[4:])),
			base:  record.Offset(binary.LittleEndian.Uint64(at[8:])),
		}
	}
	return p, nil
}

// loadProducer reads a producer's state from the index; one that is not there is empty.
func (s *shard) loadProducer(key producerKey) (producerState, error) {
	b, ok, err := s.broker.config.Index.Get(s.id, key.append(make([]byte, 0, producerKeyBytes)))
	if err != nil || !ok {
		return producerState{}, err
	}
	return parseProducerState(b)
}
