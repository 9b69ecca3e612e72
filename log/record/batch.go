package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// BatchHeaderBytes is the size of a batch without its records.
const BatchHeaderBytes = 61

// batchPrefixBytes is what the length field does not count.
const batchPrefixBytes = 12

// MaxRecordCount bounds the records of one batch that will be looked at one by one.
const MaxRecordCount = 1 << 20

// NoProducer is the producer id of a batch without idempotence.
const NoProducer = -1

// Codec is how the records of a batch are compressed.
type Codec uint8

// The codecs of Kafka's batch attributes, bits 0 to 2.
const (
	CodecNone   Codec = 0
	CodecGzip   Codec = 1
	CodecSnappy Codec = 2
	CodecLZ4    Codec = 3
	CodecZstd   Codec = 4
)

const (
	attributeCodec         = 0x07
	attributeLogAppendTime = 0x08
	attributeTransactional = 0x10
	attributeControl       = 0x20
)

// Castagnoli returns the CRC-32C of b, continuing from crc (0 to begin).
func Castagnoli(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is the bytes of one record batch, header first. Its accessors may be used
// only after CheckBatch or NextBatch said that the header is there.
type Batch []byte

// BaseOffset returns the offset of the first record.
func (b Batch) BaseOffset() Offset { return Offset(binary.BigEndian.Uint64(b)) }

// Bytes returns the size of the whole batch as its length field tells it.
func (b Batch) Bytes() int { return int(int32(binary.BigEndian.Uint32(b[8:]))) + batchPrefixBytes }

// LeaderEpoch returns the epoch of the leader that stamped the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

// Magic returns the format, 2 for all that is stored here.
func (b Batch) Magic() byte { return b[16] }

// CRC returns the checksum that the batch claims.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[17:]) }

// Attributes returns the flags and the codec.
func (b Batch) Attributes() uint16 { return binary.BigEndian.Uint16(b[21:]) }

// Codec returns how the records are compressed; values above CodecZstd are invalid.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & attributeCodec) }

// IsTransactional reports whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.Attributes()&attributeTransactional != 0 }

// IsControl reports whether the batch holds control records, which clients may not send.
func (b Batch) IsControl() bool { return b.Attributes()&attributeControl != 0 }

// IsLogAppendTime reports whether the broker set the timestamps.
func (b Batch) IsLogAppendTime() bool { return b.Attributes()&attributeLogAppendTime != 0 }

// LastOffsetDelta returns the last record's offset minus BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[23:])) }

// BaseTimestamp returns the first record's time in milliseconds since 1970.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[27:])) }

// MaxTimestamp returns the latest record's time in milliseconds since 1970.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[35:])) }

// ProducerID returns the idempotent producer's id, or NoProducer.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[43:])) }

// ProducerEpoch returns the producer's epoch. Without a producer id it means nothing (kafkajs sends 0).
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[51:])) }

// BaseSequence returns the first record's sequence number. Without a producer id it means nothing.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[53:])) }

// RecordCount returns how many records the batch claims to hold.
func (b Batch) RecordCount() int32 { return int32(binary.BigEndian.Uint32(b[57:])) }

// Records returns the bytes after the header, compressed when Codec says so.
func (b Batch) Records() []byte { return b[BatchHeaderBytes:] }

// LastOffset returns the offset of the last record.
func (b Batch) LastOffset() Offset { return b.BaseOffset() + Offset(b.LastOffsetDelta()) }

// Stamp writes the two fields that the leader decides; they lie outside the CRC.
func (b Batch) Stamp(base Offset, epoch int32) {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[12:], uint32(epoch))
}

// StampLogAppendTime writes the broker's time in milliseconds as the batch's max
// timestamp, marks the batch so, and renews its CRC.
func (b Batch) StampLogAppendTime(timestamp int64) {
	binary.BigEndian.PutUint16(b[21:], b.Attributes()|attributeLogAppendTime)
	b.SetMaxTimestamp(timestamp)
}

// SetMaxTimestamp writes the latest record's time in milliseconds, and renews the CRC.
func (b Batch) SetMaxTimestamp(timestamp int64) {
	binary.BigEndian.PutUint64(b[35:], uint64(timestamp))
	b.SetCRC()
}

// SetCRC computes the checksum and writes it.
func (b Batch) SetCRC() { binary.BigEndian.PutUint32(b[17:], Castagnoli(0, b[21:])) }

// NextBatch splits the first batch from b. It checks the header's plausibility,
// not the CRC. A short or senseless header is an error that wraps ErrCorrupt.
func NextBatch(b []byte) (Batch, []byte, error) {
	if len(b) < BatchHeaderBytes {
		return nil, nil, fmt.Errorf("batch of %d bytes, a header has %d: %w", len(b), BatchHeaderBytes, ErrCorrupt)
	}
	n := Batch(b).Bytes()
	if n < BatchHeaderBytes || n > len(b) {
		return nil, nil, fmt.Errorf("batch says %d bytes of %d: %w", n, len(b), ErrCorrupt)
	}
	if m := Batch(b).Magic(); m != 2 {
		return nil, nil, fmt.Errorf("batch format %d, wanted 2: %w", m, ErrCorrupt)
	}
	return Batch(b[:n:n]), b[n:], nil
}

// CheckBatch checks that b is exactly one batch whose header makes sense and
// whose CRC is right. It does not look into the records.
func CheckBatch(b []byte) error {
	batch, rest, err := NextBatch(b)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes after the batch: %w", len(rest), ErrCorrupt)
	}
	if got := Castagnoli(0, batch[21:]); got != batch.CRC() {
		return fmt.Errorf("batch crc %08x, computed %08x: %w", batch.CRC(), got, ErrCorrupt)
	}
	if d := batch.LastOffsetDelta(); d < 0 {
		return fmt.Errorf("batch with last offset delta %d: %w", d, ErrCorrupt)
	}
	return nil
}
