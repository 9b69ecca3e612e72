package segment

import (
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

const (
	// HeaderBytes is the size of a record's header.
	HeaderBytes = 64

	recordMagic   = 0x5e1a
	recordVersion = 1
)

// Kinds of records. Kinds below KindTruncate are Raft's log types.
const (
	KindCommand  = 0    // the payload is an entry of log/record
	KindTruncate = 0xf0 // entries from Index on are superseded; the payload is a Superseded
	KindFirst    = 0xf1 // the window begins at Index; the payload is a Superseded, which may be empty
	KindNote     = 0xf2 // carries Durable only
)

// FlagBackfill marks an entry that was fetched from a peer after its time and is not part of Raft's window.
const FlagBackfill = 1

// Header is what precedes a payload on disk.
type Header struct {
	Kind         uint8
	Flags        uint8
	Shard        record.Shard
	Position     record.Position
	Index        record.Index
	Term         record.Term
	PayloadBytes uint32
	TailBytes    uint32
	TailCRC      uint32
	Durable      record.Position // the log was synced up to here when this was queued
	Applied      record.Index    // of the shard, as known then
}

// Seed returns what the checksums of all headers of a node begin with, so that records
// of another node, or bytes that a client made up, are not taken for this node's.
func Seed(incarnation [16]byte) uint32 { return record.Castagnoli(0, incarnation[:]) }

// IsMarker reports whether the record is one of ours instead of an entry of Raft's.
func (h *Header) IsMarker() bool { return h.Kind >= KindTruncate }

// IsBackfill reports whether the entry was written with FlagBackfill.
func (h *Header) IsBackfill() bool { return h.Flags&FlagBackfill != 0 }

// Size returns the record's bytes on disk, padding included.
func (h *Header) Size() int64 { return Padded(HeaderBytes + int64(h.PayloadBytes)) }

// Put writes the header's HeaderBytes to dst.
func (h *Header) Put(dst []byte, seed uint32) {
	dst = dst[:HeaderBytes]
	binary.LittleEndian.PutUint16(dst[4:], recordMagic)
	dst[6], dst[7] = recordVersion, h.Kind
	binary.LittleEndian.PutUint64(dst[8:], uint64(h.Position))
	binary.LittleEndian.PutUint64(dst[16:], uint64(h.Index))
	binary.LittleEndian.PutUint64(dst[24:], uint64(h.Term))
	binary.LittleEndian.PutUint32(dst[32:], h.PayloadBytes)
	binary.LittleEndian.PutUint32(dst[36:], h.TailBytes)
	binary.LittleEndian.PutUint32(dst[40:], h.TailCRC)
	dst[44], dst[45], dst[46], dst[47] = byte(h.Shard), h.Flags, 0, 0
	binary.LittleEndian.PutUint64(dst[48:], uint64(h.Durable))
	binary.LittleEndian.PutUint64(dst[56:], uint64(h.Applied))
	binary.LittleEndian.PutUint32(dst, record.Castagnoli(seed, dst[4:]))
}

// ParseHeader reads the header of the record that should lie at position at. The error
// says what was wanted and found and wraps record.ErrCorrupt.
func ParseHeader(b []byte, at record.Position, seed uint32) (Header, error) {
	if len(b) < HeaderBytes {
		return Header{}, badf("a record header of %d bytes|the end of the data after %d", HeaderBytes, len(b))
	}
	b = b[:HeaderBytes]
	if magic := binary.LittleEndian.Uint16(b[4:]); magic != recordMagic {
		return Header{}, badf("a record that begins with %04x|%04x", recordMagic, magic)
	}
	if crc, computed := binary.LittleEndian.Uint32(b), record.Castagnoli(seed, b[4:]); crc != computed {
		return Header{}, badf("header checksum %08x|%08x", computed, crc)
	}
	if b[6] != recordVersion {
		return Header{}, badf("record version %d|%d, which was written by another release", recordVersion, b[6])
	}
	h := Header{
		Kind:         b[7],
		Position:     record.Position(binary.LittleEndian.Uint64(b[8:])),
		Index:        record.Index(binary.LittleEndian.Uint64(b[16:])),
		Term:         record.Term(binary.LittleEndian.Uint64(b[24:])),
		PayloadBytes: binary.LittleEndian.Uint32(b[32:]),
		TailBytes:    binary.LittleEndian.Uint32(b[36:]),
		TailCRC:      binary.LittleEndian.Uint32(b[40:]),
		Shard:        record.Shard(b[44]),
		Flags:        b[45],
		Durable:      record.Position(binary.LittleEndian.Uint64(b[48:])),
		Applied:      record.Index(binary.LittleEndian.Uint64(b[56:])),
	}
	if h.Position != at {
		return Header{}, badf("the record of position %d|that of position %d", at, h.Position)
	}
	if h.Durable > h.Position {
		return Header{}, badf("a log synced up to %d at most|one synced up to %d", h.Position, h.Durable)
	}
	if h.TailBytes > h.PayloadBytes {
		return Header{}, badf("a tail of at most %d bytes|one of %d", h.PayloadBytes, h.TailBytes)
	}
	return h, nil
}

// CheckTail compares the tail's bytes with the header's checksum.
func (h *Header) CheckTail(tail []byte) error {
	if len(tail) != int(h.TailBytes) {
		return badf("a tail of %d bytes|%d", h.TailBytes, len(tail))
	}
	if crc := record.Castagnoli(0, tail); crc != h.TailCRC {
		return badf("tail checksum %08x|%08x", h.TailCRC, crc)
	}
	return nil
}

// Check checks the whole payload: every byte that means something is covered.
func (h *Header) Check(payload []byte) error {
	if len(payload) != int(h.PayloadBytes) {
		return badf("a payload of %d bytes|%d", h.PayloadBytes, len(payload))
	}
	if err := h.CheckTail(payload[len(payload)-int(h.TailBytes):]); err != nil {
		return err
	}
	if h.Kind != KindCommand {
		if h.TailBytes != h.PayloadBytes {
			return badf("a checksum over all %d bytes|one over %d", h.PayloadBytes, h.TailBytes)
		}
		return nil
	}
	if n, err := record.TailOf(payload); err != nil || n != int(h.TailBytes) {
		return badf("an entry whose tail has %d bytes|%d (%v)", h.TailBytes, n, err)
	}
	if err := record.CheckEntry(payload); err != nil {
		return badf("an entry whose batches are as its rows say|%v", err)
	}
	return nil
}

// Superseded is the payload of a marker: entries that are no longer part of the log.
type Superseded struct {
	From, Last record.Index // empty when From is 0
	Segment    int64        // the lowest segment in which one of them lies
}

// supersededBytes is the size of a marker's payload.
const supersededBytes = 24

// Append appends the marker's payload to dst.
func (s Superseded) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Last))
	return binary.LittleEndian.AppendUint64(dst, uint64(s.Segment))
}

// ParseSuperseded reads a marker's payload.
func ParseSuperseded(b []byte) (Superseded, error) {
	if len(b) != supersededBytes {
		return Superseded{}, badf("a marker of %d bytes|%d", supersededBytes, len(b))
	}
	return Superseded{
		From:    record.Index(binary.LittleEndian.Uint64(b)),
		Last:    record.Index(binary.LittleEndian.Uint64(b[8:])),
		Segment: int64(binary.LittleEndian.Uint64(b[16:])),
	}, nil
}

// mismatch says what was wanted and found at a place that the caller knows.
type mismatch struct{ wanted, found string }

func (m *mismatch) Error() string { return fmt.Sprintf("wanted %s, found %s", m.wanted, m.found) }
func (m *mismatch) Unwrap() error { return record.ErrCorrupt }
