package record

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A Builder makes a batch from records. Call NewBuilder; one goroutine at a time.
type Builder struct {
	// Codec is how the records will be compressed.
	Codec Codec
	// ProducerID, ProducerEpoch and BaseSequence are written into the batch as they are.
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32

	records []byte
	body    []byte // of one record, used again
	count   int32
	base    int64 // timestamp of the first record
	latest  int64
}

// NewBuilder returns a builder of uncompressed batches without a producer.
func NewBuilder() *Builder {
	return &Builder{ProducerID: NoProducer, ProducerEpoch: -1, BaseSequence: -1}
}

// Reset forgets the records, not the settings.
func (b *Builder) Reset() {
	b.records, b.count, b.base, b.latest = b.records[:0], 0, 0, 0
}

// Count returns the number of records added since the start or Reset.
func (b *Builder) Count() int { return int(b.count) }

// Bytes returns the size of the batch before compression.
func (b *Builder) Bytes() int { return BatchHeaderBytes + len(b.records) }

// Add appends a record with its time in milliseconds since 1970. A nil key or value is null. The bytes are copied.
func (b *Builder) Add(timestamp int64, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.base, b.latest = timestamp, timestamp
	}
	b.latest = max(b.latest, timestamp)
	body := append(b.body[:0], 0)
	body = binary.AppendVarint(body, timestamp-b.base)
	body = binary.AppendVarint(body, int64(b.count))
	body = appendField(body, key)
	body = appendField(body, value)
	body = binary.AppendVarint(body, int64(len(headers)))
	for _, h := range headers {
		body = binary.AppendVarint(body, int64(len(h.Key)))
		body = append(body, h.Key...)
		body = appendField(body, h.Value)
	}
	b.records = binary.AppendVarint(b.records, int64(len(body)))
	b.records = append(b.records, body...)
	b.body = body
	b.count++
}

func appendField(dst, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(field)))
	return append(dst, field...)
}

// AppendBatch appends the batch to dst, with base offset 0, leader epoch -1 and its CRC.
// codecs may be nil when nothing is compressed. No record at all is an error.
func (b *Builder) AppendBatch(dst []byte, codecs *Codecs) ([]byte, error) {
	if b.count == 0 {
		return dst, fmt.Errorf("batch without records")
	}
	start := len(dst)
	dst = slices.Grow(dst, b.Bytes())
	dst = append(dst, make([]byte, BatchHeaderBytes)...)
	if b.Codec == CodecNone {
		dst = append(dst, b.records...)
	} else {
		var err error
		if dst, err = codecs.Compress(dst, b.Codec, b.records); err != nil {
			return dst[:start], err
		}
	}
	batch := Batch(dst[start:])
	binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-batchPrefixBytes))
	batch.Stamp(0, -1)
	batch[16] = 2
	binary.BigEndian.PutUint16(batch[21:], uint16(b.Codec))
	binary.BigEndian.PutUint32(batch[23:], uint32(b.count-1))
	binary.BigEndian.PutUint64(batch[27:], uint64(b.base))
	binary.BigEndian.PutUint64(batch[35:], uint64(b.latest))
	binary.BigEndian.PutUint64(batch[43:], uint64(b.ProducerID))
	binary.BigEndian.PutUint16(batch[51:], uint16(b.ProducerEpoch))
	binary.BigEndian.PutUint32(batch[53:], uint32(b.BaseSequence))
	binary.BigEndian.PutUint32(batch[57:], uint32(b.count))
	batch.SetCRC()
	return dst, nil
}
