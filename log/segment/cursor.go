package segment

import (
	"io"

	"github.com/stela-db/stela/log/record"
)

const (
	// A cursor reads small records many at a time and of large ones little more than the header.
	cursorWindow = 64 << 10
	cursorPeek   = 512
)

// A File is a segment that is read: where it is and what its headers' checksums begin with.
type File struct {
	Source io.ReaderAt
	Path   string // for errors
	Number int64
	Seed   uint32
}

// A Cursor hops from record to record. It checks headers; payloads are checked when they are asked for.
type Cursor struct {
	file   File
	offset int64 // of the next record
	limit  int64

	window   []byte // bytes of the file
	windowAt int64  // where window begins
	large    bool   // the last record was larger than the window
}

// NewCursor returns a cursor over the records in [from, limit) of the file; both are offsets in bytes.
func NewCursor(file File, from, limit int64) *Cursor {
	return &Cursor{file: file, offset: from, limit: limit}
}

// Offset returns where the next record begins; after an error of Next, where the bad one does.
func (c *Cursor) Offset() int64 { return c.offset }

// Next returns the next record's header and moves on. It returns io.EOF exactly at the
// limit, a *CorruptError when the bytes there are no record, else the disk's error.
func (c *Cursor) Next() (Header, error) {
	if c.offset == c.limit {
		return Header{}, io.EOF
	}
	b, err := c.peek(HeaderBytes)
	if err != nil {
		return Header{}, err
	}
	h, err := ParseHeader(b, At(c.file.Number, c.offset), c.file.Seed)
	if err != nil {
		return Header{}, corrupt(c.file.Path, c.offset, err)
	}
	if c.offset+HeaderBytes+int64(h.PayloadBytes) > c.limit {
		err := badf("a record that ends by %d|one that ends at %d", c.limit, c.offset+HeaderBytes+int64(h.PayloadBytes))
		return Header{}, corrupt(c.file.Path, c.offset, err)
	}
	// The last record's padding may not have been written.
	c.offset = min(c.offset+h.Size(), c.limit)
	c.large = h.Size() > cursorWindow/2
	return h, nil
}

// peek returns up to n bytes at the current offset, fewer at the limit or the file's end.
func (c *Cursor) peek(n int) ([]byte, error) {
	if at := c.offset - c.windowAt; at >= 0 && at+int64(n) <= int64(len(c.window)) {
		return c.window[at : at+int64(n)], nil
	}
	size := int64(cursorWindow)
	if c.large {
		size = cursorPeek
	}
	size = min(size, c.limit-c.offset)
	if int64(cap(c.window)) < size {
		c.window = make([]byte, size)
	}
	got, err := readAvailable(c.file.Source, c.window[:size], c.offset)
	if err != nil {
		return nil, err
	}
	c.window, c.windowAt = c.window[:got], c.offset
	return c.window[:min(n, got)], nil
}

// ReadTail reads and checks the tail of the record whose header is h into dst, which grows if need be.
func (f *File) ReadTail(h *Header, dst []byte) ([]byte, error) {
	_, offset := Split(h.Position)
	dst = grow(dst, int(h.TailBytes))
	n, err := readAvailable(f.Source, dst, offset+HeaderBytes+int64(h.PayloadBytes-h.TailBytes))
	if err == nil {
		err = corrupt(f.Path, offset, h.CheckTail(dst[:n]))
	}
	return dst, err
}

// ReadPayload reads and fully checks the payload of the record whose header is h into dst, which grows if need be.
func (f *File) ReadPayload(h *Header, dst []byte) ([]byte, error) {
	_, offset := Split(h.Position)
	dst = grow(dst, int(h.PayloadBytes))
	n, err := readAvailable(f.Source, dst, offset+HeaderBytes)
	if err == nil {
		err = corrupt(f.Path, offset, h.Check(dst[:n]))
	}
	return dst, err
}

// ReadHeader reads and checks the header of the record at offset.
func (f *File) ReadHeader(offset int64) (Header, error) {
	var b [HeaderBytes]byte
	n, err := readAvailable(f.Source, b[:], offset)
	if err != nil {
		return Header{}, err
	}
	h, err := ParseHeader(b[:n], At(f.Number, offset), f.Seed)
	return h, corrupt(f.Path, offset, err)
}

// ReadSuperseded reads and checks the payload of the marker whose header is h.
func (f *File) ReadSuperseded(h *Header) (Superseded, error) {
	_, offset := Split(h.Position)
	if h.PayloadBytes != supersededBytes {
		return Superseded{}, corrupt(f.Path, offset, badf("a marker of %d bytes|%d", supersededBytes, h.PayloadBytes))
	}
	b, err := f.ReadPayload(h, make([]byte, 0, supersededBytes))
	if err != nil {
		return Superseded{}, err
	}
	superseded, err := ParseSuperseded(b)
	return superseded, corrupt(f.Path, offset, err)
}

// CheckRecord checks that buffer, which was read at position at, begins with the record of that place and returns
// its header and its checked payload.
func (f *File) CheckRecord(buffer []byte, at record.Position) (Header, []byte, error) {
	_, offset := Split(at)
	h, err := ParseHeader(buffer, at, f.Seed)
	if err != nil {
		return h, nil, corrupt(f.Path, offset, err)
	}
	payload := buffer[HeaderBytes:]
	payload = payload[:min(len(payload), int(h.PayloadBytes))]
	return h, payload, corrupt(f.Path, offset, h.Check(payload))
}

func grow(dst []byte, n int) []byte {
	if cap(dst) < n {
		return make([]byte, n)
	}
	return dst[:n]
}
