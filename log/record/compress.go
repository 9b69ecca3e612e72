package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// zstdMaxWindow is the largest window that zstd producers use (level 22). DecodeAll takes the
	// output itself as the window, so this costs no memory.
	zstdMaxWindow = 1 << 27
	// zstdBlockBytes is the most that one block, of at least zstdBlockHeader bytes, can give.
	zstdBlockBytes  = 128 << 10
	zstdBlockHeader = 3
	zstdSlack       = zstdBlockBytes + 64
	zstdFirstRoom   = 64 << 10
	zstdGrowth      = 4
	// snappyMaxRatio bounds what raw snappy can give: a copy of 64 bytes takes 3.
	snappyMaxRatio = 22

	xerialHeaderBytes = 16
	firstGrowth       = 4 << 10
	usualRatio        = 6
)

// Codecs compresses and decompresses the records of batches. It pools the state of the
// codecs; the zero value is ready and may be used from any goroutine.
type Codecs struct {
	gzipReaders sync.Pool
	gzipWriters sync.Pool
	lz4Readers  sync.Pool
	lz4Writers  sync.Pool
	zstdReaders sync.Pool
	zstdWriters sync.Pool
}

// Decompress appends to dst what src holds, at most limit bytes, and returns the
// extended slice. CodecNone appends src as it is. Memory beyond dst stays within a
// small multiple of limit whatever src claims. More than limit is an error that wraps
// ErrTooLarge; bytes that the codec does not take, or an unknown codec, wrap ErrCorrupt.
func (c *Codecs) Decompress(dst []byte, codec Codec, src []byte, limit int) ([]byte, error) {
	var out []byte
	var err error
	switch codec {
	case CodecNone:
		if len(src) > limit {
			return dst, tooLarge(codec, limit)
		}
		return append(dst, src...), nil
	case CodecGzip:
		out, err = c.gunzip(dst, src, limit)
	case CodecSnappy:
		out, err = unsnappy(dst, src, limit)
	case CodecLZ4:
		out, err = c.unlz4(dst, src, limit)
	case CodecZstd:
		out, err = c.unzstd(dst, src, limit)
	default:
		return dst, fmt.Errorf("codec %d is not known: %w", codec, ErrCorrupt)
	}
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCorrupt):
		return dst, err
	}
	return dst, fmt.Errorf("decompress %s: %w: %w", codec, err, ErrCorrupt)
}

// String returns the codec's name as Kafka's compression.type spells it.
func (c Codec) String() string {
	switch c {
	case CodecNone:
		return "none"
	case CodecGzip:
		return "gzip"
	case CodecSnappy:
		return "snappy"
	case CodecLZ4:
		return "lz4"
	case CodecZstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

func tooLarge(codec Codec, limit int) error {
	return fmt.Errorf("%s records exceed %d bytes: %w", codec, limit, ErrTooLarge)
}

func (c *Codecs) gunzip(dst, src []byte, limit int) ([]byte, error) {
	var err error
	reader, ok := c.gzipReaders.Get().(*gzip.Reader)
	if ok {
		err = reader.Reset(bytes.NewReader(src))
	} else {
		reader, err = gzip.NewReader(bytes.NewReader(src))
	}
	if err != nil {
		return dst, err
	}
	dst, err = readLimited(slices.Grow(dst, guess(src, limit)), reader, CodecGzip, limit)
	c.gzipReaders.Put(reader)
	return dst, err
}

func (c *Codecs) unlz4(dst, src []byte, limit int) ([]byte, error) {
	reader, ok := c.lz4Readers.Get().(*lz4.Reader)
	if ok {
		reader.Reset(bytes.NewReader(src))
	} else {
		reader = lz4.NewReader(bytes.NewReader(src))
	}
	dst, err := readLimited(slices.Grow(dst, guess(src, limit)), reader, CodecLZ4, limit)
	reader.Reset(nil)
	c.lz4Readers.Put(reader)
	return dst, err
}

// guess returns about how much src gives when it is text, within limit.
func guess(src []byte, limit int) int { return min(limit, usualRatio*len(src)) }

// readLimited appends at most limit bytes from r to dst.
func readLimited(dst []byte, r io.Reader, codec Codec, limit int) ([]byte, error) {
	end := len(dst) + limit
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(1, min(max(firstGrowth, len(dst)), end-len(dst))))
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > end:
			return dst[:end], tooLarge(codec, limit)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

// unsnappy takes raw snappy (librdkafka, franz-go) and the blocks with a header that
// the xerial library writes (Java, kafkajs).
func unsnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < xerialHeaderBytes || !bytes.Equal(src[:8], []byte("\x82SNAPPY\x00")) {
		return unsnappyBlock(dst, src, limit)
	}
	end := len(dst) + limit
	var err error
	for src = src[xerialHeaderBytes:]; len(src) > 0; {
		if len(src) < 4 {
			return dst, fmt.Errorf("xerial block header of %d bytes: %w", len(src), ErrCorrupt)
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return dst, fmt.Errorf("xerial block says %d bytes of %d: %w", n, len(src), ErrCorrupt)
		}
		if dst, err = unsnappyBlock(dst, src[:n], end-len(dst)); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func unsnappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return dst, err
	}
	if n > limit {
		return dst, tooLarge(CodecSnappy, limit)
	}
	if n > len(src)*snappyMaxRatio {
		return dst, fmt.Errorf("%d bytes of snappy say that they give %d: %w", len(src), n, ErrCorrupt)
	}
	start := len(dst)
	dst = slices.Grow(dst, n)
	if isS2(src) {
		return dst, fmt.Errorf("s2 is not snappy, other clients cannot read it: %w", ErrCorrupt)
	}
	out, err := snappy.Decode(dst[start:start+n:start+n], src)
	if err != nil {
		return dst, err
	}
	if n > 0 && &out[0] != &dst[start : start+1][0] {
		copy(dst[start:start+n], out)
	}
	return dst[:start+n], nil
}

// isS2 reports whether a block uses the extension of snappy that klauspost's decoder takes too: a short copy whose offset is 0,
// which means the one before. Its strict decoder takes three times as long as this and the other together.
func isS2(src []byte) bool {
	_, n := binary.Uvarint(src)
	if n <= 0 {
		return false
	}
	for src = src[n:]; len(src) > 1; {
		var step int
		switch tag := src[0]; tag & 3 {
		case 0:
			step = literalBytes(src)
		case 1:
			if tag&0xe0 == 0 && src[1] == 0 {
				return true
			}
			step = 2
		case 2:
			step = 3
		default:
			step = 5
		}
		if step <= 0 || step > len(src) {
			return false // broken: the decoder says so
		}
		src = src[step:]
	}
	return false
}

// literalBytes returns how many bytes the literal takes that src begins with, 0 when its length is not there.
func literalBytes(src []byte) int {
	const inTag = 60
	n := int(src[0] >> 2)
	if n < inTag {
		return 1 + n + 1
	}
	extra := n - inTag + 1
	if len(src) <= extra {
		return 0
	}
	n = 0
	for i := extra; i > 0; i-- {
		n = n<<8 | int(src[i])
	}
	return 1 + extra + n + 1
}

// unzstd decodes into room that it grows itself, never far beyond limit: the decoder
// is told to keep to the room. The room is always a block larger than what may be
// given, so that a block that does not fit is told from one that is broken.
func (c *Codecs) unzstd(dst, src []byte, limit int) ([]byte, error) {
	most := (len(src)/zstdBlockHeader + 1) * zstdBlockBytes
	room := max(zstdFirstRoom, 4*len(src))
	var header zstd.Header
	if err := header.Decode(src); err == nil && header.HasFCS {
		if header.FrameContentSize > uint64(limit) {
			return dst, tooLarge(CodecZstd, limit)
		}
		if header.FrameContentSize > uint64(most) {
			return dst, fmt.Errorf("%d bytes of zstd say that they give %d: %w", len(src), header.FrameContentSize, ErrCorrupt)
		}
		room = int(header.FrameContentSize)
	}
	reader, ok := c.zstdReaders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		reader, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return dst, err
		}
	}
	defer c.zstdReaders.Put(reader)
	start := len(dst)
	for {
		room = min(room, limit, most)
		dst = slices.Grow(dst[:start], room+zstdSlack)
		out, err := reader.DecodeAll(src, dst[:start:start+room+zstdSlack])
		outgrown := len(out)-start > room || errors.Is(err, zstd.ErrDecoderSizeExceeded)
		switch {
		case !outgrown:
			return out, err
		case room == limit:
			return dst[:start], tooLarge(CodecZstd, limit)
		case room == most:
			return dst[:start], fmt.Errorf("%d bytes of zstd give more than %d: %w", len(src), most, ErrCorrupt)
		}
		room = max(zstdFirstRoom, room*zstdGrowth)
	}
}

// Compress appends src, compressed, to dst. An unknown codec is an error.
func (c *Codecs) Compress(dst []byte, codec Codec, src []byte) ([]byte, error) {
	switch codec {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		writer, ok := c.gzipWriters.Get().(*gzip.Writer)
		if !ok {
			writer = gzip.NewWriter(nil)
		}
		defer c.gzipWriters.Put(writer)
		return compressTo(dst, src, writer)
	case CodecSnappy:
		start := len(dst)
		dst = slices.Grow(dst, snappy.MaxEncodedLen(len(src)))
		out := snappy.Encode(dst[start:cap(dst)], src)
		return dst[:start+len(out)], nil
	case CodecLZ4:
		writer, ok := c.lz4Writers.Get().(*lz4.Writer)
		if !ok {
			writer = lz4.NewWriter(nil)
		}
		defer c.lz4Writers.Put(writer)
		return compressTo(dst, src, writer)
	case CodecZstd:
		writer, ok := c.zstdWriters.Get().(*zstd.Encoder)
		if !ok {
			var err error
			if writer, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true)); err != nil {
				return dst, fmt.Errorf("compress zstd: %w", err)
			}
		}
		defer c.zstdWriters.Put(writer)
		return writer.EncodeAll(src, dst), nil
	}
	return dst, fmt.Errorf("compress with codec %d: not known", codec)
}

type resetWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

func compressTo(dst, src []byte, writer resetWriter) ([]byte, error) {
	buffer := bytes.NewBuffer(dst)
	writer.Reset(buffer)
	if _, err := writer.Write(src); err != nil {
		return dst, fmt.Errorf("compress %d bytes: %w", len(src), err)
	}
	if err := writer.Close(); err != nil {
		return dst, fmt.Errorf("compress %d bytes: %w", len(src), err)
	}
	return buffer.Bytes(), nil
}
