package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// Pin returns the payload of an entry of the window, from memory or else from disk, fully
// checked. The caller releases f. When the window has no such entry, or has it with
// another term, the error wraps ErrNotFound; bytes that fail the check are a *CorruptError.
func (s *Shard) Pin(i record.Index, term record.Term) (payload []byte, f *frame.Frame, err error) {
	at, err := s.findTerm(i, term)
	if err != nil {
		return nil, nil, err
	}
	return s.PinAt(EntryInfo{Index: i, Term: at.term, Kind: at.kind, Bytes: at.payloadBytes, Position: at.position})
}

func (s *Shard) findTerm(i record.Index, term record.Term) (slot, error) {
	at, err := s.find(i)
	if err == nil && at.term != term {
		err = fmt.Errorf("entry %d of shard %d has term %d, wanted %d: %w", i, s.number, at.term, term, ErrNotFound)
	}
	return at, err
}

// PinAt is Pin for an entry that Scan or Info told of, also one before the window.
func (s *Shard) PinAt(info EntryInfo) (payload []byte, f *frame.Frame, err error) {
	if payload, f, ok := s.log.tail.get(info.Position); ok {
		return payload, f, nil
	}
	h, err := s.log.reader(info.Position)
	if err != nil {
		return nil, nil, err
	}
	defer s.log.readers.put(h)
	f = s.log.config.Pool.Get(int(min(info.Bytes, segment.MaxBytes)))
	buffer := f.WithRoom(segment.HeaderBytes)
	_, offset := segment.Split(info.Position)
	n, err := readAt(h.Source, buffer, offset)
	if err == nil {
		var header segment.Header
		if header, payload, err = h.CheckRecord(buffer[:n], info.Position); err == nil {
			err = s.checkIdentity(h, &header, info.Index, info.Term)
		}
	}
	if err != nil {
		f.Release()
		return nil, nil, fmt.Errorf("read entry %d of shard %d: %w", info.Index, s.number, err)
	}
	return payload, f, nil
}

// checkIdentity checks that a record is the entry that was asked for.
func (s *Shard) checkIdentity(h *reader, header *segment.Header, i record.Index, term record.Term) error {
	if header.Shard == s.number && header.Index == i && (term == 0 || header.Term == term) {
		return nil
	}
	_, offset := segment.Split(header.Position)
	return &CorruptError{
		File: h.Path, Offset: offset,
		Wanted: fmt.Sprintf("entry %d of shard %d, term %d", i, s.number, term),
		Found:  fmt.Sprintf("entry %d of shard %d, term %d", header.Index, header.Shard, header.Term),
	}
}

// PinTail returns only the entry's tail (rows and notes of a command, everything of other
// kinds): from memory as long as SetApplied has not passed it and it fits, else from disk, checked.
func (s *Shard) PinTail(i record.Index, term record.Term) (tail []byte, f *frame.Frame, err error) {
	at, err := s.findTerm(i, term)
	if err != nil {
		return nil, nil, err
	}
	if payload, f, ok := s.log.tail.get(at.position); ok {
		return payload[len(payload)-int(at.tailBytes):], f, nil
	}
	f = s.log.config.Pool.Get(int(at.tailBytes))
	if kept, ok := s.log.tail.getKept(at.position); ok {
		copy(f.Bytes(), kept)
		return f.Bytes(), f, nil
	}
	h, err := s.log.reader(at.position)
	if err == nil {
		defer s.log.readers.put(h)
		header := segment.Header{Position: at.position, PayloadBytes: at.payloadBytes, TailBytes: at.tailBytes, TailCRC: at.tailCRC}
		tail, err = h.ReadTail(&header, f.Bytes())
	}
	if err != nil {
		f.Release()
		return nil, nil, fmt.Errorf("read the tail of entry %d of shard %d: %w", i, s.number, err)
	}
	return tail, f, nil
}

// Read returns bytes bytes from start of the payload of entry i, which lies at pos: whole
// batches that the entry's rows tell of. They come from memory, or from disk with
// every batch compared with its row and its checksum. The caller releases f. An entry
// whose segment was removed is ErrNotFound; bytes that fail the check are a *CorruptError.
func (s *Shard) Read(i record.Index, pos record.Position, start, bytes uint32) (b []byte, f *frame.Frame, err error) {
	if payload, f, ok := s.log.tail.get(pos); ok {
		return runOf(payload, f, i, start, bytes)
	}
	return s.readDisk(i, pos, start, bytes)
}

// ReadOn is Read for who goes on to what follows, as consumers do: what is not in memory is read
// many entries at a time, and ahead, and kept in memory for others for a while (Config.ReadBytes).
func (s *Shard) ReadOn(i record.Index, pos record.Position, start, bytes uint32) (b []byte, f *frame.Frame, err error) {
	if payload, f, ok := s.log.tail.get(pos); ok {
		return runOf(payload, f, i, start, bytes)
	}
	if b, f := s.log.ahead.get(s.number, i, pos, start, bytes); f != nil {
		return b, f, nil
	}
	return s.readDisk(i, pos, start, bytes)
}

// runOf returns a part of a payload that is in memory, with the reference to its frame; without one if there is an error.
func runOf(payload []byte, f *frame.Frame, i record.Index, start, bytes uint32) ([]byte, *frame.Frame, error) {
	if uint64(start)+uint64(bytes) > uint64(len(payload)) {
		f.Release()
		return nil, nil, fmt.Errorf("read %d bytes at %d of entry %d, which has %d: %w", bytes, start, i, len(payload), ErrNotFound)
	}
	return payload[start : start+bytes : start+bytes], f, nil
}

func (s *Shard) readDisk(i record.Index, pos record.Position, start, bytes uint32) ([]byte, *frame.Frame, error) {
	h, err := s.log.reader(pos)
	if err != nil {
		return nil, nil, err
	}
	defer s.log.readers.put(h)
	b, f, err := s.readRun(h, i, pos, start, bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("read %d bytes at %d of entry %d of shard %d: %w", bytes, start, i, s.number, err)
	}
	return b, f, nil
}

// readRun reads a part of an entry from disk: header and tail first, which say what the rest must be.
func (s *Shard) readRun(h *reader, i record.Index, pos record.Position, start, bytes uint32) ([]byte, *frame.Frame, error) {
	_, offset := segment.Split(pos)
	header, err := h.ReadHeader(offset)
	if err != nil {
		return nil, nil, err
	}
	if err := s.checkIdentity(h, &header, i, 0); err != nil {
		return nil, nil, err
	}
	body := header.PayloadBytes - header.TailBytes
	if header.Kind != segment.KindCommand || uint64(start)+uint64(bytes) > uint64(body) {
		return nil, nil, fmt.Errorf("entry of kind %d with %d bytes of batches: %w", header.Kind, body, ErrNotFound)
	}
	tailFrame := s.log.config.Pool.Get(int(header.TailBytes))
	defer tailFrame.Release()
	tail, err := h.ReadTail(&header, tailFrame.Bytes())
	if err != nil {
		return nil, nil, err
	}
	f := s.log.config.Pool.Get(int(bytes))
	n, err := readAt(h.Source, f.Bytes(), offset+segment.HeaderBytes+int64(start))
	if err == nil {
		if err = checkRun(f.Bytes()[:n], tail, start, bytes); err != nil {
			err = &CorruptError{File: h.Path, Offset: offset, Wanted: "batches as the entry's rows tell", Found: err.Error()}
		}
	}
	if err != nil {
		f.Release()
		return nil, nil, err
	}
	return f.Bytes(), f, nil
}

// checkRun checks that b is exactly the batches that tail has in [start, start+bytes).
func checkRun(b, tail []byte, start, bytes uint32) error {
	if len(b) != int(bytes) {
		return fmt.Errorf("%d bytes of %d", len(b), bytes)
	}
	entry, err := record.ParseTail(tail)
	if err != nil {
		return err
	}
	covered := uint32(0)
	for i := range entry.RowCount() {
		row := entry.Row(i)
		if row.Position < start || row.Position-start >= bytes {
			continue
		}
		if uint64(row.Position-start)+uint64(row.Bytes) > uint64(bytes) {
			return fmt.Errorf("a part of batch %d", i)
		}
		batch := record.Batch(b[row.Position-start:][:row.Bytes])
		if err := record.CheckBatch(batch); err != nil {
			return fmt.Errorf("batch %d: %w", i, err)
		}
		if batch.BaseOffset() != row.BaseOffset || batch.LeaderEpoch() != entry.Term.Epoch() || batch.LastOffsetDelta() != row.LastOffsetDelta {
			return fmt.Errorf("batch %d at offset %d epoch %d, its row says %d and %d", i,
				batch.BaseOffset(), batch.LeaderEpoch(), row.BaseOffset, entry.Term.Epoch())
		}
		covered += row.Bytes
	}
	if covered != bytes {
		return fmt.Errorf("%d bytes of batches in %d", covered, bytes)
	}
	return nil
}

// reader returns the file in which a position lies; the caller puts it back.
func (l *Log) reader(pos record.Position) (*reader, error) {
	if err := l.failing.err(); err != nil && errors.Is(err, ErrClosed) {
		return nil, err
	}
	l.stats.reads.Add(1)
	number, _ := segment.Split(pos)
	return l.readers.get(number)
}

// readAt reads what there is of b's length at offset.
func readAt(source io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := source.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
