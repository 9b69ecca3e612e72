package segment

import (
	"bytes"
	"errors"
	"io"

	"github.com/stela-db/stela/log/record"
)

// recoverChunk is how much of what follows the valid data is looked at at a time, in bytes.
const recoverChunk = 1 << 20

// Recovery says where the valid data of the newest segment ends.
type Recovery struct {
	End     int64           // offset after the last valid record
	Durable record.Position // the highest durable position that a valid record told
	Dirty   bool            // there are bytes other than zero after End
}

// Recover finds the end of valid data of the segment that was being written when the
// process ended, and visits its records in order. size is the file's size, from where
// its first record begins.
//
// Headers are all checked, and payloads from the last known durable position on: what
// lies before was synced, and is checked again whenever it is read. Bytes that are no
// record end the valid data as a torn tail, unless a record somewhere after them says
// that the log had been synced beyond them: then acknowledged data is gone, and the
// error is a *CorruptError. Errors of the disk and of visit are returned as they are.
func Recover(file File, from, size int64, visit func(*Header, Superseded) error) (Recovery, error) {
	r := Recovery{}
	hops := NewCursor(file, from, size)
	var hopErr error
	for hopErr == nil {
		var h Header
		if h, hopErr = hops.Next(); hopErr == nil {
			r.Durable = max(r.Durable, h.Durable)
		}
	}
	end, cause, err := verified(file, from, hops.Offset(), r.Durable, visit)
	if err != nil {
		return r, err
	}
	if cause == nil && !errors.Is(hopErr, io.EOF) {
		cause = hopErr
	}
	r.End = Padded(end)
	if cause == nil {
		return r, nil
	}
	if !isCorrupt(cause) {
		return r, cause
	}
	var witness *Header
	if r.Dirty, witness, err = Witness(file, end, size, At(file.Number, end)); err != nil {
		return r, err
	}
	if witness != nil {
		return r, cause
	}
	return r, nil
}

// verified walks the records in [from, limit), all of which have valid headers, checks payloads from durable
// on and visits. cause is why a record is bad; end is where the valid ones end.
func verified(file File, from, limit int64, durable record.Position, visit func(*Header, Superseded) error) (end int64, cause, err error) {
	c := NewCursor(file, from, limit)
	var payload []byte
	for {
		end = c.Offset()
		h, err := c.Next()
		if errors.Is(err, io.EOF) {
			return end, nil, nil
		}
		if err != nil {
			return end, nil, err
		}
		if h.Position >= durable {
			if payload, err = file.ReadPayload(&h, payload); err != nil {
				if isCorrupt(err) {
					return end, err, nil
				}
				return end, nil, err
			}
		}
		var superseded Superseded
		if h.Kind == KindTruncate || h.Kind == KindFirst {
			if superseded, err = file.ReadSuperseded(&h); err != nil {
				return end, nil, err
			}
		}
		if err := visit(&h, superseded); err != nil {
			return end, nil, err
		}
	}
}

// Witness looks through the bytes in [from, size) of the file for a valid record that says that the log
// had been synced beyond bad. dirty tells whether there was any byte other than zero.
func Witness(file File, from, size int64, bad record.Position) (dirty bool, witness *Header, err error) {
	b := make([]byte, min(recoverChunk, max(0, size-from)))
	for at := from; at < size; at += int64(len(b)) {
		if at = nextData(file.Source, at, size) &^ (Align - 1); at >= size {
			break
		}
		n, err := readAvailable(file.Source, b[:min(int64(len(b)), size-at)], at)
		if err != nil {
			return dirty, nil, err
		}
		for o := 0; o < n; o += Align {
			block := b[o:min(o+Align, n)]
			if isZero(block) {
				continue
			}
			dirty = true
			h, err := ParseHeader(block, At(file.Number, at+int64(o)), file.Seed)
			if err == nil && h.Durable > bad {
				return dirty, &h, nil
			}
		}
	}
	return dirty, nil, nil
}

func isZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }

func isCorrupt(err error) bool {
	var c *CorruptError
	return errors.As(err, &c)
}
