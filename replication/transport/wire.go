package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

const (
	headerBytes      = 24
	appendHeadBytes  = 32
	appendReplyBytes = 17
	voteBytes        = 25
	voteReplyBytes   = 9
	fetchBytes       = 20

	// EntryHeaderBytes precede each payload on the wire.
	EntryHeaderBytes = 64

	// MaxMessage bounds a message in bytes, except one that carries a single larger entry.
	MaxMessage = 8 << 20
	// MaxEntry bounds the payload of one entry in bytes.
	MaxEntry = 40 << 20
	// MaxCall bounds request and answer of a call in bytes.
	MaxCall = 4 << 20

	// splitBytes is where a long append request is cut in two: what is received then fits into a frame of 1 MiB.
	splitBytes = 1<<20 - frame.Prefix

	// An entry whose payload has more than alignedBytes begins at a multiple of entryAlign bytes from the first one of
	// its message, so that it lies in the receiver's frame as a disk wants it that is written past the page cache.
	// Smaller ones are copied there anyway.
	alignedBytes = 32 << 10
	entryAlign   = 512

	entryMagic   = 0x4553 // "SE"
	entryVersion = 1
)

// errProtocol is wrapped by every error that says that a peer sent what it may not send.
var errProtocol = errors.New("not the protocol")

type kind uint8

const (
	kindAppend kind = iota + 1
	kindVote
	kindPreVote
	kindStand
	kindCall
	kindFetch
)

const (
	flagAnswer = 1
	flagError  = 2
)

const (
	replySuccess        = 1
	replyNoRetryBackoff = 2
)

// header is the first 24 bytes of a message.
type header struct {
	length uint32 // of the whole message
	crc    uint32
	kind   kind
	shard  record.Shard
	flags  uint8
	call   uint8
	count  uint32
	id     uint64
}

func (h *header) isAnswer() bool { return h.flags&flagAnswer != 0 }
func (h *header) isError() bool  { return h.flags&flagError != 0 }

// carriesEntries tells whether entries follow the head.
func (h *header) carriesEntries() bool {
	return h.kind == kindAppend && !h.isAnswer() || h.kind == kindFetch && h.isAnswer() && !h.isError()
}

// headBytes returns the size of the head, which the CRC covers.
func (h *header) headBytes() int {
	switch {
	case h.kind == kindAppend && h.carriesEntries():
		return appendHeadBytes
	case h.carriesEntries():
		return 0
	}
	return int(h.length) - headerBytes
}

// putHeader writes the message's first bytes into b and seals them and the head, which follows there.
func putHeader(b []byte, h header) {
	binary.LittleEndian.PutUint32(b, h.length)
	b[8], b[9], b[10], b[11] = byte(h.kind), byte(h.shard), h.flags, h.call
	binary.LittleEndian.PutUint32(b[12:], h.count)
	binary.LittleEndian.PutUint64(b[16:], h.id)
	binary.LittleEndian.PutUint32(b[4:], record.Castagnoli(0, b[8:headerBytes+h.headBytes()]))
}

// parseHeader checks what can be checked without the rest; b has 24 bytes.
func parseHeader(b []byte) (header, error) {
	h := header{
		length: binary.LittleEndian.Uint32(b),
		crc:    binary.LittleEndian.Uint32(b[4:]),
		kind:   kind(b[8]),
		shard:  record.Shard(b[9]),
		flags:  b[10],
		call:   b[11],
		count:  binary.LittleEndian.Uint32(b[12:]),
		id:     binary.LittleEndian.Uint64(b[16:]),
	}
	limit := uint32(MaxMessage)
	if h.carriesEntries() && h.count == 1 {
		limit = headerBytes + appendHeadBytes + EntryHeaderBytes + MaxEntry
	}
	switch {
	case h.kind < kindAppend || h.kind > kindFetch:
		return h, fmt.Errorf("message of kind %d: %w", h.kind, errProtocol)
	case h.length > limit:
		return h, fmt.Errorf("message of %d bytes, limit %d: %w", h.length, limit, errProtocol)
	case h.length < headerBytes || h.headBytes() < 0 || int(h.length) < headerBytes+h.headBytes():
		return h, fmt.Errorf("message of kind %d with %d bytes: %w", h.kind, h.length, errProtocol)
	case h.carriesEntries() && uint64(h.count)*EntryHeaderBytes > uint64(h.length):
		return h, fmt.Errorf("%d entries in %d bytes: %w", h.count, h.length, errProtocol)
	}
	return h, nil
}

// message is one message as it was read.
type message struct {
	header
	head    []byte
	entries []Entry      // their payloads lie in frame
	frame   *frame.Frame // nil without entries; one reference, the reader's
}

func (m *message) release() {
	if m.frame != nil {
		m.frame.Release()
		m.frame = nil
	}
}

// messageTimeout is how long a message may take once its first byte is there.
const messageTimeout = 10 * time.Second

// reader reads messages from one connection. Not for concurrent use.
type reader struct {
	conn     net.Conn // nil when there are no deadlines to set
	buffered *bufio.Reader
	pool     *frame.Pool
	first    [headerBytes]byte
	small    [appendHeadBytes]byte
}

func newReader(r io.Reader, pool *frame.Pool) *reader {
	conn, _ := r.(net.Conn)
	return &reader{conn: conn, buffered: bufio.NewReaderSize(r, 16<<10), pool: pool}
}

// next reads one message and verifies it. A small head is valid until the next call.
func (r *reader) next() (message, error) {
	if _, err := r.buffered.Peek(1); err != nil {
		return message{}, err
	}
	timed, err := r.expect(headerBytes, false)
	if err != nil {
		return message{}, err
	}
	if _, err := io.ReadFull(r.buffered, r.first[:]); err != nil {
		return message{}, err
	}
	h, err := parseHeader(r.first[:])
	if err != nil {
		return message{}, err
	}
	if timed, err = r.expect(int(h.length)-headerBytes, timed); err != nil {
		return message{}, err
	}
	m, err := r.body(h)
	if err == nil && timed {
		if err = r.conn.SetReadDeadline(time.Time{}); err != nil {
			m.release()
		}
	}
	return m, err
}

// expect gives the next n bytes a deadline unless they are here already.
func (r *reader) expect(n int, timed bool) (bool, error) {
	if timed || r.conn == nil || r.buffered.Buffered() >= n {
		return timed, nil
	}
	return true, r.conn.SetReadDeadline(time.Now().Add(messageTimeout))
}

// body reads what follows the header.
func (r *reader) body(h header) (message, error) {
	m := message{header: h, head: r.small[:min(h.headBytes(), len(r.small))]}
	if n := h.headBytes(); n > len(r.small) {
		m.head = make([]byte, n)
	}
	if _, err := io.ReadFull(r.buffered, m.head); err != nil {
		return message{}, err
	}
	if got := record.Castagnoli(record.Castagnoli(0, r.first[8:]), m.head); got != h.crc {
		return message{}, fmt.Errorf("message crc %08x, computed %08x: %w", h.crc, got, errProtocol)
	}
	rest := int(h.length) - headerBytes - len(m.head)
	if !h.carriesEntries() || rest == 0 && h.count == 0 {
		return m, nil
	}
	if rest < EntryHeaderBytes {
		return message{}, fmt.Errorf("%d entries in %d bytes: %w", h.count, rest, errProtocol)
	}
	// Memory for the whole only when the first entry makes sense.
	first, err := r.buffered.Peek(EntryHeaderBytes)
	if err != nil {
		return message{}, err
	}
	n, err := parseEntryHeader(first)
	if err != nil {
		return message{}, err
	}
	if left := rest - EntryHeaderBytes; n > left || h.count == 1 && n != left {
		return message{}, fmt.Errorf("first of %d entries with %d bytes of %d: %w", h.count, n, left, errProtocol)
	}
	m.frame = r.pool.Get(rest)
	_, err = io.ReadFull(r.buffered, m.frame.Bytes())
	if err == nil {
		m.entries, err = parseEntries(m.frame.Bytes(), int(h.count))
	}
	if err != nil {
		m.release()
		return message{}, err
	}
	return m, nil
}

// Entry is one log entry as it travels.
type Entry struct {
	Index   uint64
	Term    uint64
	Kind    raft.LogType
	Payload []byte
	// Frame is where the payload lies; nil when it is a slice of its own. Whoever
	// hands out an Entry says who holds a reference.
	Frame *frame.Frame
}

// paddingAfter returns how many zeros follow an entry that ends at byte end of the entries of its message, where next has so
// many bytes of payload.
func paddingAfter(end, next int) int {
	if next <= alignedBytes {
		return 0
	}
	return -end & (entryAlign - 1)
}

// appendEntryHeader appends the 64 bytes that precede the payload.
func appendEntryHeader(dst []byte, e *Entry, padding int) ([]byte, error) {
	tail := len(e.Payload)
	if e.Kind == raft.LogCommand {
		var err error
		if tail, err = record.TailOf(e.Payload); err != nil {
			return dst, err
		}
	}
	from := len(dst)
	dst = append(dst, make([]byte, EntryHeaderBytes)...)
	b := dst[from:]
	binary.LittleEndian.PutUint16(b[4:], entryMagic)
	b[6], b[7] = entryVersion, byte(e.Kind)
	binary.LittleEndian.PutUint64(b[8:], e.Index)
	binary.LittleEndian.PutUint64(b[16:], e.Term)
	binary.LittleEndian.PutUint32(b[24:], uint32(len(e.Payload)))
	binary.LittleEndian.PutUint32(b[28:], uint32(tail))
	binary.LittleEndian.PutUint32(b[32:], record.Castagnoli(0, e.Payload[len(e.Payload)-tail:]))
	binary.LittleEndian.PutUint16(b[36:], uint16(padding))
	binary.LittleEndian.PutUint32(b, record.Castagnoli(0, b[4:]))
	return dst, nil
}

// parseEntries splits b into exactly count entries and verifies each.
func parseEntries(b []byte, count int) ([]Entry, error) {
	if count*EntryHeaderBytes > len(b) {
		return nil, fmt.Errorf("%d entries in %d bytes: %w", count, len(b), errProtocol)
	}
	entries := make([]Entry, count)
	for i := range entries {
		if len(b) < EntryHeaderBytes {
			return nil, fmt.Errorf("entry %d of %d begins %d bytes before the end: %w", i, count, len(b), errProtocol)
		}
		h := b[:EntryHeaderBytes]
		n, err := parseEntryHeader(h)
		if err == nil && n > len(b)-EntryHeaderBytes {
			err = fmt.Errorf("%d bytes, %d are left: %w", n, len(b)-EntryHeaderBytes, errProtocol)
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d of %d: %w", i, count, err)
		}
		entries[i] = Entry{
			Index:   binary.LittleEndian.Uint64(h[8:]),
			Term:    binary.LittleEndian.Uint64(h[16:]),
			Kind:    raft.LogType(h[7]),
			Payload: b[EntryHeaderBytes : EntryHeaderBytes+n], // capacity not cut: the log finds it in the frame by that
		}
		if err := checkPayload(&entries[i], binary.LittleEndian.Uint32(h[28:]), binary.LittleEndian.Uint32(h[32:])); err != nil {
			return nil, fmt.Errorf("entry %d at index %d: %w", i, entries[i].Index, err)
		}
		b = b[EntryHeaderBytes+n:]
		padding := int(binary.LittleEndian.Uint16(h[36:]))
		if padding >= entryAlign || padding > len(b) || i == count-1 && padding > 0 {
			return nil, fmt.Errorf("entry %d of %d: %d bytes of padding, %d are left: %w", i, count, padding, len(b), errProtocol)
		}
		for _, zero := range b[:padding] {
			if zero != 0 {
				return nil, fmt.Errorf("entry %d of %d: %#x in its padding: %w", i, count, zero, errProtocol)
			}
		}
		b = b[padding:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes after the last entry: %w", len(b), errProtocol)
	}
	return entries, nil
}

// parseEntryHeader checks the 64 bytes before a payload and returns its size.
func parseEntryHeader(h []byte) (int, error) {
	got, crc := record.Castagnoli(0, h[4:]), binary.LittleEndian.Uint32(h)
	n := binary.LittleEndian.Uint32(h[24:])
	switch {
	case got != crc:
		return 0, fmt.Errorf("header crc %08x, computed %08x: %w", crc, got, errProtocol)
	case binary.LittleEndian.Uint16(h[4:]) != entryMagic || h[6] != entryVersion:
		return 0, fmt.Errorf("format %x version %d: %w", h[4:6], h[6], errProtocol)
	case n > MaxEntry:
		return 0, fmt.Errorf("%d bytes, limit %d: %w", n, MaxEntry, errProtocol)
	}
	return int(n), nil
}

func checkPayload(e *Entry, tail, crc uint32) error {
	want := len(e.Payload)
	switch e.Kind {
	case raft.LogCommand:
		n, err := record.TailOf(e.Payload)
		if err != nil {
			return err
		}
		want = n
	case raft.LogNoop, raft.LogBarrier, raft.LogConfiguration:
	default:
		return fmt.Errorf("kind %d: %w", e.Kind, errProtocol)
	}
	if uint32(want) != tail {
		return fmt.Errorf("tail of %d bytes, wanted %d: %w", tail, want, errProtocol)
	}
	if got := record.Castagnoli(0, e.Payload[len(e.Payload)-want:]); got != crc {
		return fmt.Errorf("tail crc %08x, computed %08x: %w", crc, got, errProtocol)
	}
	if e.Kind == raft.LogCommand {
		return record.CheckEntry(e.Payload)
	}
	return nil
}
