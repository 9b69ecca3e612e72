// Package record is the vocabulary of the log and the layout of its bytes.
//
// It knows numbers (Offset, Index, Term), Kafka record batches of format 2, and
// entries: what one Raft log entry carries. It does no I/O and does not know
// segments, Raft, clients or partitions' names.
//
// A batch is the unit that a producer sends, that is stored, replicated and
// served: its bytes are never re-encoded. Only base offset and leader epoch are
// stamped, and both lie outside its CRC. Big-endian, as on Kafka's wire
// (KIP-98, org.apache.kafka.common.record.DefaultRecordBatch):
//
//	 0 base offset        int64    stamped by the leader
//	 8 batch length       int32    bytes after this field
//	12 leader epoch       int32    stamped by the leader
//	16 magic              int8     2
//	17 crc                uint32   CRC-32C of everything from 21 on
//	21 attributes         int16    codec (bits 0-2), timestamp type, transactional, control
//	23 last offset delta  int32
//	27 base timestamp     int64    milliseconds since 1970
//	35 max timestamp      int64
//	43 producer id        int64    -1 for none
//	51 producer epoch     int16
//	53 base sequence      int32
//	57 record count       int32
//	61 records            compressed as a whole when the attributes name a codec
//
// An entry is many batches, of all partitions of a shard, and notes (commands of
// the shard's state machines), with a table at the end, so that batches are
// appended as they come and readers that need only positions read only the tail:
//
//	| batch | batch | ... | row 0 | row 1 | ... | notes | trailer |
//	                      '------------- tail -------------------'
//
// Little-endian; see Row and Entry. The batches are covered by their own CRCs and
// checked against their rows; the tail is covered by a CRC in the record header of
// log/segment.
//
// Everything here is a pure function of its input and may be called from any
// goroutine. Parsing never panics on bad bytes and never allocates more than the
// caller's limit; it returns an error that wraps ErrCorrupt.
package record
