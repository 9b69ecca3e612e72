package rows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stela-db/stela/log/record"
)

func TestDecoderStopsAtTheFirstMistake(t *testing.T) {
	b := AppendString([]byte{7}, "seven")
	d := NewDecoder("thing", b)
	if n, s := d.Byte(), d.String(); n != 7 || s != "seven" || d.End() != nil {
		t.Errorf("read %d, %q, %v", n, s, d.End())
	}
	for cut := range b {
		d := NewDecoder("thing", b[:cut])
		d.Byte()
		if s := d.String(); s != "" || !errors.Is(d.End(), record.ErrCorrupt) {
			t.Errorf("of %d bytes: %q, %v", cut, s, d.End())
		}
		if n := d.Uint(); n != 0 {
			t.Errorf("%d after a mistake", n)
		}
	}
	long := NewDecoder("thing", append(b, 0))
	long.Byte()
	_ = long.String()
	if err := long.End(); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
	many := NewDecoder("thing", []byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	if n := many.Count(1); n != 0 || many.Err() == nil {
		t.Errorf("%d things in no bytes, %v", n, many.Err())
	}
}

func TestSnapshotsComeBack(t *testing.T) {
	var file bytes.Buffer
	want := ""
	err := Write(&file, func(visit func(key, value []byte) error) error {
		for i := range 100 {
			key, value := fmt.Sprint("key", i), bytes.Repeat([]byte{'x'}, i)
			want += fmt.Sprintf("%s=%s;", key, value)
			if err := visit([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) (got string, err error) {
		err = Read(bytes.NewReader(b), func(key, value []byte) error {
			got += fmt.Sprintf("%s=%s;", key, value)
			return nil
		})
		return got, err
	}
	if got, err := read(file.Bytes()); err != nil || got != want {
		t.Errorf("read %q, %v", got, err)
	}
	for cut := range file.Len() {
		if _, err := read(file.Bytes()[:cut]); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("of %d bytes: %v", cut, err)
		}
	}
	if _, err := read([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1}); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("a row of 4 GiB: %v", err)
	}
	stop := errors.New("stop")
	if err := Read(bytes.NewReader(file.Bytes()), func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the visitor's error: %v", err)
	}
}
