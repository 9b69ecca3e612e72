package broker

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

// The kinds of notes in entries of data shards and of the metadata shard. They are on disk: never change one.
const (
	// noteStamp begins every entry of a data shard, see stamp.
	noteStamp uint8 = 1
	// noteLogStart moves the begin of a partition: partition u32, offset u64.
	noteLogStart uint8 = 2
	// noteDrop says that a partition was deleted: partition u32.
	noteDrop uint8 = 3
	// noteVersions gives stream versions to the records of one batch, see versionsNote.
	noteVersions uint8 = 4
	// noteProducer moves a producer's sequence without records: partition u32, producer id u64,
	// epoch u16, first sequence u32, last sequence u32, base offset u64.
	noteProducer uint8 = 5
	// noteExpire forgets a producer that was silent for long: partition u32, producer id u64, time of its last entry u64.
	noteExpire uint8 = 6
	// noteGroup is a record of the group coordinator; its body goes to coordinator.replay.
	noteGroup uint8 = 16
	// noteMeta is a record of the metadata machine, in shard 0 only.
	noteMeta uint8 = 17
)

// The first byte of a key in a data shard's rows of the index says whose it is. Keys
// of the metadata shard are all the metadata machine's.
const (
	rowChain     byte = 'c' // the last entry's stamp
	rowProducer  byte = 'd' // partition u32, producer id u64, both big-endian
	rowGroup     byte = 'g' // the coordinator's; what follows is its own
	rowPartition byte = 'p' // partition u32 big-endian
	rowSegment   byte = 's' // segment u64 big-endian: where the shard's entries in it begin; of this node only
	rowSkipped   byte = 'x' // index u64 big-endian: an entry that was not applied although its term is right
)

const (
	stampBytes    = 24
	logStartBytes = 12
	dropBytes     = 4
	producerBytes = 30
	expireBytes   = 20
)

// A stamp is what the sequencer says of an entry: entries of one generation are numbered from 1 without gaps. When one
// of them does not make it into Raft's log, those after it were stamped upon a
// promise that was not kept: they are skipped by all replicas, and the sequencer
// begins a new generation.
type stamp struct {
	generation uint64
	number     uint64
	time       int64 // when the leader built the entry, milliseconds since 1970
}

func (s stamp) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, s.generation)
	dst = binary.LittleEndian.AppendUint64(dst, s.number)
	return binary.LittleEndian.AppendUint64(dst, uint64(s.time))
}

func parseStamp(b []byte) (stamp, error) {
	if len(b) != stampBytes {
		return stamp{}, noteError("stamp", len(b))
	}
	return stamp{
		generation: binary.LittleEndian.Uint64(b),
		number:     binary.LittleEndian.Uint64(b[8:]),
		time:       int64(binary.LittleEndian.Uint64(b[16:])),
	}, nil
}

func noteError(name string, bytes int) error {
	return fmt.Errorf("%s note of %d bytes: %w", name, bytes, record.ErrCorrupt)
}

func appendLogStart(dst []byte, partition record.Partition, start record.Offset) []byte {
	var body [logStartBytes]byte
	binary.LittleEndian.PutUint32(body[:], uint32(partition))
	binary.LittleEndian.PutUint64(body[4:], uint64(start))
	return record.AppendNote(dst, noteLogStart, body[:])
}

func appendDrop(dst []byte, partition record.Partition) []byte {
	var body [dropBytes]byte
	binary.LittleEndian.PutUint32(body[:], uint32(partition))
	return record.AppendNote(dst, noteDrop, body[:])
}

func appendProducer(dst []byte, key producerKey, epoch int16, b producerBatch) []byte {
	var body [producerBytes]byte
	binary.LittleEndian.PutUint32(body[:], uint32(key.partition))
	binary.LittleEndian.PutUint64(body[4:], uint64(key.id))
	binary.LittleEndian.PutUint16(body[12:], uint16(epoch))
	binary.LittleEndian.PutUint32(body[14:], uint32(b.first))
	binary.LittleEndian.PutUint32(body[18:], uint32(b.last))
	binary.LittleEndian.PutUint64(body[22:], uint64(b.base))
	return record.AppendNote(dst, noteProducer, body[:])
}

func parseProducer(b []byte) (producerKey, int16, producerBatch, error) {
	if len(b) != producerBytes {
		return producerKey{}, 0, producerBatch{}, noteError("producer", len(b))
	}
	key := producerKey{record.Partition(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint64(b[4:]))}
	return key, int16(binary.LittleEndian.Uint16(b[12:])), producerBatch{
		first: int32(binary.LittleEndian.Uint32(b[14:])),
		last:  int32(binary.LittleEndian.Uint32(b[18:])),
		base:  record.Offset(binary.LittleEndian.Uint64(b[22:])),
	}, nil
}

func appendExpire(dst []byte, key producerKey, last int64) []byte {
	var body [expireBytes]byte
	binary.LittleEndian.PutUint32(body[:], uint32(key.partition))
	binary.LittleEndian.PutUint64(body[4:], uint64(key.id))
	binary.LittleEndian.PutUint64(body[12:], uint64(last))
	return record.AppendNote(dst, noteExpire, body[:])
}

// A versionsNote is: partition u32, base offset u64, then for each record that
// belongs to a stream: key length uvarint, key, version uvarint, offset minus base uvarint, event id (16).
const versionsHeaderBytes = 12

// maxVersionBytes is what one record adds to a versionsNote beside its key.
const maxVersionBytes = 3 + binary.MaxVarintLen64 + binary.MaxVarintLen32 + eventIDBytes

const eventIDBytes = 16

func appendVersionsHeader(dst []byte, partition record.Partition, base record.Offset) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(partition))
	return binary.LittleEndian.AppendUint64(dst, uint64(base))
}

func appendVersion(dst, key []byte, version int64, delta int32, id eventID) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(version))
	dst = binary.AppendUvarint(dst, uint64(delta))
	return append(dst, id[:]...)
}

// visitVersions calls visit for each record of a versionsNote; key refers to b.
func visitVersions(b []byte, visit func(partition record.Partition, key []byte, version int64, offset record.Offset, id eventID) error) error {
	if len(b) < versionsHeaderBytes {
		return noteError("versions", len(b))
	}
	partition := record.Partition(binary.LittleEndian.Uint32(b))
	base := record.Offset(binary.LittleEndian.Uint64(b[4:]))
	for rest := b[versionsHeaderBytes:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return noteError("versions", len(b))
		}
		key := rest[n : n+int(size) : n+int(size)]
		rest = rest[n+int(size):]
		version, n := binary.Uvarint(rest)
		delta, m := binary.Uvarint(rest[max(n, 0):])
		if n <= 0 || m <= 0 || len(rest) < n+m+eventIDBytes {
			return noteError("versions", len(b))
		}
		rest = rest[n+m:]
		if err := visit(partition, key, int64(version), base+record.Offset(delta), eventID(rest)); err != nil {
			return err
		}
		rest = rest[eventIDBytes:]
	}
	return nil
}

func partitionKey(partition record.Partition) []byte {
	return binary.BigEndian.AppendUint32([]byte{rowPartition}, uint32(partition))
}

func parsePartitionKey(key []byte) (record.Partition, bool) {
	if len(key) != 5 {
		return 0, false
	}
	return record.Partition(binary.BigEndian.Uint32(key[1:])), true
}

func segmentKey(number int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{rowSegment}, uint64(number))
}

func skippedKey(i record.Index) []byte {
	return binary.BigEndian.AppendUint64([]byte{rowSkipped}, uint64(i))
}
