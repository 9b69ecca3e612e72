package segment

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/stela-db/stela/log/record"
)

const (
	// HeadBlock is what the size of a head is a multiple of, in bytes.
	HeadBlock = 4096

	headMagic      = "STELASEG"
	headVersion    = 1
	headFixedBytes = 72
	rowBytes       = 72
	maxHeadBytes   = (headFixedBytes + 256*rowBytes + HeadBlock - 1) &^ (HeadBlock - 1)
)

// Head is the beginning of a segment file. It is written together with the segment's
// first records, after everything before it was synced: it is the seal of the previous
// segment and the checkpoint from which recovery starts.
//
//	 0 magic "STELASEG"   8 version u16   10 zero u16   12 head bytes u32
//	16 number i64        24 start i64     the position of the first record
//	32 previous end i64   where valid data before this segment ends; 0 for the first
//	40 created i64        milliseconds since 1970
//	48 incarnation [16]  64 rows u32
//	68 crc u32            over everything else up to the last row
//	72 rows               each: shard u8, 7 zero, first, last, applied, low, high,
//	                      superseded from, superseded last, superseded segment (u64 each)
type Head struct {
	Number      int64
	Start       record.Position
	PreviousEnd record.Position
	CreatedAt   time.Time // whole milliseconds
	Incarnation [16]byte
	Rows        []Row
}

// Row is what a head says of one shard.
type Row struct {
	Shard       record.Shard
	First, Last record.Index // Raft's window when the segment began; 0 when empty
	Applied     record.Index // as known then
	Held        Held         // of the segment in which PreviousEnd lies
}

// Held says which entries of a shard a segment holds, so that it need not be read to know.
type Held struct {
	Low, High  record.Index // the lowest and highest index, backfilled ones included; 0 for none
	Superseded Superseded   // all that this segment's markers supersede, as one range
}

// Add widens h by the entry or marker whose header this is; superseded is a marker's payload.
func (h *Held) Add(header *Header, superseded Superseded) {
	if !header.IsMarker() {
		h.Low, h.High = widen(h.Low, h.High, header.Index, header.Index)
		return
	}
	if superseded.From == 0 {
		return
	}
	s := &h.Superseded
	if s.From == 0 || superseded.Segment < s.Segment {
		s.Segment = superseded.Segment
	}
	s.From, s.Last = widen(s.From, s.Last, superseded.From, superseded.Last)
}

// Touches reports whether the segment holds or supersedes any entry in [from, through].
func (h *Held) Touches(from, through record.Index) bool {
	return h.Low != 0 && h.Low <= through && h.High >= from ||
		h.Superseded.From != 0 && h.Superseded.From <= through && h.Superseded.Last >= from
}

func widen(low, high, from, last record.Index) (record.Index, record.Index) {
	if low == 0 {
		return from, last
	}
	return min(low, from), max(high, last)
}

// HeadBytes returns the size of a head with that many rows.
func HeadBytes(rows int) int64 {
	return int64(headFixedBytes+rows*rowBytes+HeadBlock-1) &^ (HeadBlock - 1)
}

// Encode returns the head's bytes. Start must be At(Number, HeadBytes(len(Rows))).
func (h *Head) Encode() []byte {
	b := make([]byte, headFixedBytes, HeadBytes(len(h.Rows)))
	copy(b, headMagic)
	binary.LittleEndian.PutUint16(b[8:], headVersion)
	binary.LittleEndian.PutUint32(b[12:], uint32(cap(b)))
	binary.LittleEndian.PutUint64(b[16:], uint64(h.Number))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.Start))
	binary.LittleEndian.PutUint64(b[32:], uint64(h.PreviousEnd))
	binary.LittleEndian.PutUint64(b[40:], uint64(h.CreatedAt.UnixMilli()))
	copy(b[48:], h.Incarnation[:])
	binary.LittleEndian.PutUint32(b[64:], uint32(len(h.Rows)))
	for i := range h.Rows {
		r := &h.Rows[i]
		b = append(b, byte(r.Shard), 0, 0, 0, 0, 0, 0, 0)
		for _, v := range [...]record.Index{r.First, r.Last, r.Applied, r.Held.Low, r.Held.High} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		b = r.Held.Superseded.Append(b)
	}
	binary.LittleEndian.PutUint32(b[68:], headCRC(b))
	return b[:cap(b)]
}

func headCRC(b []byte) uint32 {
	return record.Castagnoli(record.Castagnoli(0, b[:68]), b[headFixedBytes:])
}

// ReadHead reads and checks the head of segment number. file is its path, for the error.
// A head that is not there or not valid is a *CorruptError.
func ReadHead(source io.ReaderAt, file string, number int64) (Head, error) {
	b := make([]byte, HeadBlock)
	n, err := readAvailable(source, b, 0)
	if err != nil {
		return Head{}, err
	}
	size, err := headSize(b[:n])
	if err != nil {
		return Head{}, corrupt(file, 0, err)
	}
	if size > len(b) {
		b = make([]byte, size)
		if n, err = readAvailable(source, b, 0); err != nil {
			return Head{}, err
		}
	}
	h, err := parseHead(b[:n], number)
	return h, corrupt(file, 0, err)
}

// ReadHead is ReadHead of a file of size bytes, of which nothing is read when nothing was ever written to it.
func (f *File) ReadHead(size int64) (Head, error) {
	if size > 0 && nextData(f.Source, 0, size) == size {
		return Head{}, corrupt(f.Path, 0, badf("a segment head|nothing that was ever written"))
	}
	return ReadHead(f.Source, f.Path, f.Number)
}

func headSize(b []byte) (int, error) {
	if len(b) < headFixedBytes {
		return 0, badf("a segment head of %d bytes|a file of %d", HeadBlock, len(b))
	}
	if string(b[:8]) != headMagic {
		return 0, badf("a segment that begins with %q|%q", headMagic, b[:8])
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != headVersion {
		return 0, badf("segment version %d|%d, which was written by another release", headVersion, v)
	}
	size := binary.LittleEndian.Uint32(b[12:])
	if size < HeadBlock || size > maxHeadBytes || size%HeadBlock != 0 {
		return 0, badf("a head of %d to %d bytes|%d", HeadBlock, maxHeadBytes, size)
	}
	return int(size), nil
}

func parseHead(b []byte, number int64) (Head, error) {
	size, err := headSize(b)
	if err != nil {
		return Head{}, err
	}
	rows := int64(binary.LittleEndian.Uint32(b[64:]))
	if rows > 256 || HeadBytes(int(rows)) != int64(size) || len(b) < size {
		return Head{}, badf("a head of %d bytes|%d rows in %d bytes", size, rows, len(b))
	}
	b = b[:headFixedBytes+rows*rowBytes]
	if crc, computed := binary.LittleEndian.Uint32(b[68:]), headCRC(b); crc != computed {
		return Head{}, badf("head checksum %08x|%08x", computed, crc)
	}
	h := Head{
		Number:      int64(binary.LittleEndian.Uint64(b[16:])),
		Start:       record.Position(binary.LittleEndian.Uint64(b[24:])),
		PreviousEnd: record.Position(binary.LittleEndian.Uint64(b[32:])),
		CreatedAt:   time.UnixMilli(int64(binary.LittleEndian.Uint64(b[40:]))),
		Incarnation: [16]byte(b[48:64]),
		Rows:        make([]Row, rows),
	}
	if h.Number != number || h.Start != At(number, int64(size)) {
		return Head{}, badf("the head of segment %d|that of segment %d", number, h.Number)
	}
	for i := range h.Rows {
		r := b[headFixedBytes+i*rowBytes:][:rowBytes]
		h.Rows[i] = parseRow(r)
	}
	return h, nil
}

func parseRow(b []byte) Row {
	index := func(i int) record.Index { return record.Index(binary.LittleEndian.Uint64(b[8+8*i:])) }
	return Row{
		Shard: record.Shard(b[0]),
		First: index(0), Last: index(1), Applied: index(2),
		Held: Held{
			Low: index(3), High: index(4),
			Superseded: Superseded{From: index(5), Last: index(6), Segment: int64(index(7))},
		},
	}
}
