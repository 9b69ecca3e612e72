package record

import (
	"encoding/binary"
	"fmt"
	"iter"
)

const (
	// RowBytes is the size of one row of an entry's table.
	RowBytes = 48
	// TrailerBytes is the size of an entry's end.
	TrailerBytes = 24
	// NoteHeaderBytes precede each note: kind (1), zero (3), length (4).
	NoteHeaderBytes = 8

	entryMagic = 0x45544c53 // "SLTE"
)

// A Row says where in an entry one batch lies and what the state machine needs to
// know of it, so that nobody has to read the payload for that.
//
//	 0 partition u32      4 base offset i64     12 last offset delta i32   16 position u32
//	20 bytes u32         24 producer id i64     32 producer epoch i16      34 attributes u16
//	36 base sequence i32 40 max timestamp i64
type Row struct {
	Partition       Partition
	BaseOffset      Offset
	LastOffsetDelta int32
	Position        uint32 // of the batch's first byte within the entry
	Bytes           uint32
	ProducerID      int64
	ProducerEpoch   int16
	Attributes      uint16
	BaseSequence    int32
	MaxTimestamp    int64 // milliseconds since 1970
}

// NextOffset returns the offset after the batch's last record.
func (r *Row) NextOffset() Offset { return r.BaseOffset + Offset(r.LastOffsetDelta) + 1 }

// AppendRow appends the row's bytes to dst.
func AppendRow(dst []byte, r *Row) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.Partition))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.BaseOffset))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.LastOffsetDelta))
	dst = binary.LittleEndian.AppendUint32(dst, r.Position)
	dst = binary.LittleEndian.AppendUint32(dst, r.Bytes)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.ProducerID))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(r.ProducerEpoch))
	dst = binary.LittleEndian.AppendUint16(dst, r.Attributes)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.BaseSequence))
	return binary.LittleEndian.AppendUint64(dst, uint64(r.MaxTimestamp))
}

func parseRow(b []byte) Row {
	return Row{
		Partition:       Partition(binary.LittleEndian.Uint32(b)),
		BaseOffset:      Offset(binary.LittleEndian.Uint64(b[4:])),
		LastOffsetDelta: int32(binary.LittleEndian.Uint32(b[12:])),
		Position:        binary.LittleEndian.Uint32(b[16:]),
		Bytes:           binary.LittleEndian.Uint32(b[20:]),
		ProducerID:      int64(binary.LittleEndian.Uint64(b[24:])),
		ProducerEpoch:   int16(binary.LittleEndian.Uint16(b[32:])),
		Attributes:      binary.LittleEndian.Uint16(b[34:]),
		BaseSequence:    int32(binary.LittleEndian.Uint32(b[36:])),
		MaxTimestamp:    int64(binary.LittleEndian.Uint64(b[40:])),
	}
}

// A Note is a command of a state machine that rides in an entry beside the batches.
// Kinds are the broker's.
type Note struct {
	Kind uint8
	Body []byte
}

// AppendNote appends the note's bytes to dst.
func AppendNote(dst []byte, kind uint8, body []byte) []byte {
	dst = append(dst, kind, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...)
}

// AppendTail appends rows, notes (already built with AppendNote) and the trailer: the end of an entry.
// term is the term in which the entry was stamped: an entry that Raft appended in another term is skipped by all.
func AppendTail(dst []byte, rows []Row, notes []byte, term Term) []byte {
	for i := range rows {
		dst = AppendRow(dst, &rows[i])
	}
	dst = append(dst, notes...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rows)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(notes)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(term))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	return binary.LittleEndian.AppendUint32(dst, entryMagic)
}

// TailBytes returns the size of what AppendTail appends.
func TailBytes(rows, notes int) int { return rows*RowBytes + notes + TrailerBytes }

// Tail is the parsed end of an entry. It refers to the bytes it was parsed from.
type Tail struct {
	Term  Term // in which the entry was stamped
	rows  []byte
	notes []byte
}

// TailOf returns how many bytes at the end of payload are its tail, so that they can be covered by a CRC.
func TailOf(payload []byte) (int, error) {
	if len(payload) < TrailerBytes {
		return 0, fmt.Errorf("entry of %d bytes, a trailer has %d: %w", len(payload), TrailerBytes, ErrCorrupt)
	}
	t := payload[len(payload)-TrailerBytes:]
	if m := binary.LittleEndian.Uint32(t[20:]); m != entryMagic {
		return 0, fmt.Errorf("entry ends with %08x, wanted %08x: %w", m, uint32(entryMagic), ErrCorrupt)
	}
	n := uint64(binary.LittleEndian.Uint32(t))*RowBytes + uint64(binary.LittleEndian.Uint32(t[4:])) + TrailerBytes
	if n > uint64(len(payload)) {
		return 0, fmt.Errorf("entry of %d bytes says its tail has %d: %w", len(payload), n, ErrCorrupt)
	}
	return int(n), nil
}

// ParseTail parses the end of an entry; b may be a whole payload or only its tail.
func ParseTail(b []byte) (Tail, error) {
	n, err := TailOf(b)
	if err != nil {
		return Tail{}, err
	}
	b = b[len(b)-n:]
	t := b[n-TrailerBytes:]
	rows := int(binary.LittleEndian.Uint32(t)) * RowBytes
	tail := Tail{Term: Term(binary.LittleEndian.Uint64(t[8:])), rows: b[:rows], notes: b[rows : n-TrailerBytes]}
	for rest := tail.notes; len(rest) > 0; {
		if len(rest) < NoteHeaderBytes || uint64(binary.LittleEndian.Uint32(rest[4:])) > uint64(len(rest)-NoteHeaderBytes) {
			return Tail{}, fmt.Errorf("note exceeds the %d bytes that are left: %w", len(rest), ErrCorrupt)
		}
		rest = rest[NoteHeaderBytes+binary.LittleEndian.Uint32(rest[4:]):]
	}
	return tail, nil
}

// RowCount returns the number of batches.
func (t Tail) RowCount() int { return len(t.rows) / RowBytes }

// Row returns row i, from 0 to RowCount-1.
func (t Tail) Row(i int) Row { return parseRow(t.rows[i*RowBytes:]) }

// Notes yields the notes in order. Their bodies refer to the entry's bytes.
func (t Tail) Notes() iter.Seq[Note] {
	return func(yield func(Note) bool) {
		for rest := t.notes; len(rest) > 0; {
			n := NoteHeaderBytes + int(binary.LittleEndian.Uint32(rest[4:]))
			if !yield(Note{Kind: rest[0], Body: rest[NoteHeaderBytes:n:n]}) {
				return
			}
			rest = rest[n:]
		}
	}
}

// CheckEntry checks a whole entry: the tail parses, and every batch lies where its
// row says, has a right CRC and carries the numbers of its row. The tail's own CRC
// is not here: the record header of log/segment has it.
func CheckEntry(payload []byte) error {
	tail, err := ParseTail(payload)
	if err != nil {
		return err
	}
	n, _ := TailOf(payload)
	body := payload[:len(payload)-n]
	for i := range tail.RowCount() {
		row := tail.Row(i)
		end := uint64(row.Position) + uint64(row.Bytes)
		if end > uint64(len(body)) {
			return fmt.Errorf("row %d ends at %d of %d: %w", i, end, len(body), ErrCorrupt)
		}
		batch := body[row.Position:end]
		if err := CheckBatch(batch); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		if b := Batch(batch); b.BaseOffset() != row.BaseOffset || b.LeaderEpoch() != tail.Term.Epoch() || b.LastOffsetDelta() != row.LastOffsetDelta {
			return fmt.Errorf("row %d: batch at offset %d epoch %d, wanted %d and %d: %w",
				i, b.BaseOffset(), b.LeaderEpoch(), row.BaseOffset, tail.Term.Epoch(), ErrCorrupt)
		}
	}
	return nil
}
