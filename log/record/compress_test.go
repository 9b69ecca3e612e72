package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

var allCodecs = []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd}

func TestCompressRoundTrip(t *testing.T) {
	var codecs Codecs
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	inputs := map[string][]byte{
		"empty":  {},
		"short":  []byte("a"),
		"text":   bytes.Repeat([]byte("the order was placed "), 20_000),
		"zeroes": make([]byte, 1<<20),
		"noise":  noise,
	}
	for _, codec := range allCodecs {
		for name, in := range inputs {
			t.Run(fmt.Sprintf("%s/%s", codec, name), func(t *testing.T) {
				for range 3 { // the second and third use pooled state
					packed, err := codecs.Compress([]byte("before"), codec, in)
					if err != nil {
						t.Fatal(err)
					}
					if string(packed[:6]) != "before" {
						t.Fatalf("prefix became %q", packed[:6])
					}
					out, err := codecs.Decompress([]byte("here"), codec, packed[6:], len(in))
					if err != nil {
						t.Fatal(err)
					}
					if string(out[:4]) != "here" || !bytes.Equal(out[4:], in) {
						t.Fatalf("got %d bytes, wanted %d", len(out)-4, len(in))
					}
					if len(in) == 0 {
						continue
					}
					if _, err := codecs.Decompress(nil, codec, packed[6:], len(in)-1); !errors.Is(err, ErrTooLarge) {
						t.Fatalf("limit one byte too small: %v", err)
					}
				}
			})
		}
	}
}

func TestDecompressXerial(t *testing.T) {
	var codecs Codecs
	packed := []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
	want := []byte{}
	for _, part := range []string{"first block ", "second block ", ""} {
		block := snappy.Encode(nil, []byte(part))
		packed = binary.BigEndian.AppendUint32(packed, uint32(len(block)))
		packed = append(packed, block...)
		want = append(want, part...)
	}
	out, err := codecs.Decompress(nil, CodecSnappy, packed, 100)
	if err != nil || !bytes.Equal(out, want) {
		t.Fatalf("got %q, %v", out, err)
	}
	if _, err := codecs.Decompress(nil, CodecSnappy, packed, 20); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("limit across blocks: %v", err)
	}
	for cut := 1; cut < len(packed); cut++ {
		if out, err := codecs.Decompress(nil, CodecSnappy, packed[:cut], 100); err == nil && !bytes.HasPrefix(want, out) {
			t.Fatalf("cut at %d gave %q", cut, out)
		}
	}
}

// The decoder behind Decompress takes s2's extensions, which no other client of Kafka does.
func TestDecompressRefusesS2(t *testing.T) {
	var codecs Codecs
	// Four bytes, a copy of them, and a repeat of that copy: "abcd" three times.
	packed := []byte{12, 3 << 2, 'a', 'b', 'c', 'd', 1, 4, 1, 0}
	if _, err := codecs.Decompress(nil, CodecSnappy, packed, 100); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a repeat: %v", err)
	}
	out, err := codecs.Decompress(nil, CodecSnappy, []byte{12, 3 << 2, 'a', 'b', 'c', 'd', 1, 4, 1, 4}, 100)
	if err != nil || string(out) != "abcdabcdabcd" {
		t.Errorf("without: %q, %v", out, err)
	}
}

// A zstd frame of a level with the largest window must pass though the limit is small: Java's level 22.
func TestDecompressZstdLargeWindow(t *testing.T) {
	writer, err := zstd.NewWriter(nil, zstd.WithWindowSize(zstdMaxWindow), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	writer.Reset(&packed)
	text := bytes.Repeat([]byte("order "), 100_000)
	// Two writes and a flush: a streamed frame without its content size.
	if _, err := writer.Write(text[:7]); err != nil {
		t.Fatal(err)
	}
	if err := writer.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(text[7:]); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	var codecs Codecs
	out, err := codecs.Decompress(nil, CodecZstd, packed.Bytes(), len(text))
	if err != nil || !bytes.Equal(out, text) {
		t.Fatalf("got %d bytes, %v", len(out), err)
	}
	if _, err := codecs.Decompress(nil, CodecZstd, packed.Bytes(), len(text)-1); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one byte too many: %v", err)
	}
}

// bombs returns small inputs that give, or claim to give, far more than they are.
func bombs(t testing.TB) map[Codec][][]byte {
	var codecs Codecs
	zeroes := make([]byte, 64<<20)
	out := map[Codec][][]byte{}
	for _, codec := range allCodecs[1:] {
		packed, err := codecs.Compress(nil, codec, zeroes)
		if err != nil {
			t.Fatal(err)
		}
		out[codec] = append(out[codec], packed)
	}
	out[CodecSnappy] = append(out[CodecSnappy], []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, binary.AppendUvarint(nil, 1<<20))
	// A zstd frame of run-length blocks of 128 KiB, with no content size and with a false one.
	runs := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}
	for range 8191 {
		runs = append(runs, 0x02, 0x00, 0x10, 0xaa)
	}
	runs = append(runs, 0x03, 0x00, 0x10, 0xaa)
	claim := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0)
	out[CodecZstd] = append(out[CodecZstd], runs, claim)
	return out
}

func TestDecompressBombs(t *testing.T) {
	const limit = 4 << 20
	for codec, inputs := range bombs(t) {
		for i, in := range inputs {
			t.Run(fmt.Sprintf("%s/%d", codec, i), func(t *testing.T) {
				var codecs Codecs
				allocated := uint64(math.MaxUint64)
				for range 3 {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					out, err := codecs.Decompress(nil, codec, in, limit)
					runtime.ReadMemStats(&after)
					if err == nil || !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrCorrupt) {
						t.Fatalf("%d bytes gave %d, error %v", len(in), len(out), err)
					}
					allocated = min(allocated, after.TotalAlloc-before.TotalAlloc)
				}
				if allocated > 8*limit {
					t.Errorf("allocated %d bytes for a limit of %d", allocated, limit)
				}
			})
		}
	}
}

func FuzzDecompressGzip(f *testing.F)   { fuzzDecompress(f, CodecGzip) }
func FuzzDecompressSnappy(f *testing.F) { fuzzDecompress(f, CodecSnappy) }
func FuzzDecompressLZ4(f *testing.F)    { fuzzDecompress(f, CodecLZ4) }
func FuzzDecompressZstd(f *testing.F)   { fuzzDecompress(f, CodecZstd) }

func fuzzDecompress(f *testing.F, codec Codec) {
	codecs := new(Codecs)
	for _, text := range [][]byte{nil, []byte("order placed"), bytes.Repeat([]byte("again "), 1000)} {
		packed, err := codecs.Compress(nil, codec, text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
		if codec == CodecSnappy {
			framed := binary.BigEndian.AppendUint32([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"), uint32(len(packed)))
			f.Add(append(framed, packed...))
		}
	}
	const limit = 256 << 10
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := codecs.Decompress([]byte("x"), codec, in, limit)
		if codec == CodecSnappy && !bytes.HasPrefix(in, []byte("\x82SNAPPY")) {
			if strict, strictErr := snappy.DecodeStrict(nil, in); strictErr == nil && len(strict) <= limit && (err != nil || !bytes.Equal(strict, out[1:])) ||
				strictErr != nil && err == nil {
				t.Fatalf("gave %d bytes, %v; the strict decoder says %v", len(out), err, strictErr)
			}
		}
		if len(out) > limit+1 || len(out) < 1 || out[0] != 'x' {
			t.Fatalf("gave %d bytes, limit %d", len(out), limit)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("error of the wrong kind: %v", err)
		}
	})
}
