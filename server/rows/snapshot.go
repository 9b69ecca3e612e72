package rows

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/stela-db/stela/log/record"
)

// MaxRowBytes bounds key and value of one row of a snapshot, each.
const MaxRowBytes = 64 << 20

// Write writes all rows that the function visits, and the end. Errors are those of w and of the function.
func Write(w io.Writer, all func(visit func(key, value []byte) error) error) error {
	buffer := bufio.NewWriter(w)
	err := all(func(key, value []byte) error {
		head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(key))), uint64(len(value)))
		for _, part := range [][]byte{head, key, value} {
			if _, err := buffer.Write(part); err != nil {
				return fmt.Errorf("write a row: %w", err)
			}
		}
		return nil
	})
	if err == nil {
		err = buffer.WriteByte(0)
	}
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// Read calls visit for every row that Write wrote, in the same order; visit may keep the slices. It
// stops at visit's first error. A stream that ends too early is an io.ErrUnexpectedEOF, a row above MaxRowBytes a
// record.ErrCorrupt.
func Read(r io.Reader, visit func(key, value []byte) error) error {
	reader := bufio.NewReader(r)
	for {
		keyBytes, err := binary.ReadUvarint(reader)
		if err != nil {
			return fmt.Errorf("read the length of a key: %w", err)
		}
		if keyBytes == 0 {
			return nil
		}
		valueBytes, err := binary.ReadUvarint(reader)
		if err != nil {
			return fmt.Errorf("read the length of a value: %w", err)
		}
		if keyBytes > MaxRowBytes || valueBytes > MaxRowBytes {
			return fmt.Errorf("row of %d and %d bytes: %w", keyBytes, valueBytes, record.ErrCorrupt)
		}
		row, err := io.ReadAll(io.LimitReader(reader, int64(keyBytes+valueBytes)))
		if err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		if uint64(len(row)) != keyBytes+valueBytes {
			return fmt.Errorf("row of %d bytes, wanted %d: %w", len(row), keyBytes+valueBytes, io.ErrUnexpectedEOF)
		}
		if err := visit(row[:keyBytes], row[keyBytes:]); err != nil {
			return err
		}
	}
}
