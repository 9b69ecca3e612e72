package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

const (
	stableMagic       = 0x4c425453 // "STBL"
	stableHeaderBytes = 24
	stableMaxBytes    = 64 << 20
)

// Stable keeps a few small values durably, such as Raft's term and vote. It writes all
// of them to one file and then to a second, each time, so that whatever happens to one
// of the two the other holds what was acknowledged:
//
//	0 magic u32 | 4 crc u32 over the rest | 8 sequence u64 | 16 bytes u64 | 24 pairs ...
//	a pair: key bytes u32 | value bytes u32 | key | value
//
// It may be used from any goroutine. After an error of the disk it refuses everything:
// a failed sync is never tried again.
type Stable struct {
	path  string
	files [2]vfs.File

	turn     chan struct{} // a lock that may be held while the disk is slow; guards the rest
	sequence uint64
	values   map[string][]byte
	failure  error
}

// OpenStable opens or creates the pair of files path + ".a" and path + ".b".
// When neither can be read although there is something in them, the error is a *CorruptError.
func OpenStable(fs FS, path string) (*Stable, error) {
	s := &Stable{path: path, turn: make(chan struct{}, 1), values: map[string][]byte{}}
	var bad error
	var sequences [2]uint64
	valid, empty := 0, 0
	for i, suffix := range []string{".a", ".b"} {
		sequence, values, err := readStable(fs, path+suffix)
		var corrupt *CorruptError
		switch {
		case errors.As(err, &corrupt):
			bad = err
		case err != nil:
			return nil, errors.Join(err, s.closeFiles())
		case values == nil:
			empty++
		default:
			valid++
			sequences[i] = sequence
			if sequence >= s.sequence {
				s.sequence, s.values = sequence, values
			}
		}
		if s.files[i], err = fs.OpenReadWrite(path+suffix, vfs.WriteCategoryUnspecified); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", path+suffix, err), s.closeFiles())
		}
	}
	// One torn copy beside an empty one is a first Set that was cut short, and was never acknowledged.
	if bad != nil && valid == 0 && empty == 0 {
		return nil, errors.Join(bad, s.closeFiles())
	}
	if err := s.settle(sequences); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	if err := segment.SyncDir(fs, fs.PathDir(path)); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

// settle makes what was found durable in both files. A process that was killed may have left it in one of them, or in the
// system's memory only, and who reads it will rely on it: Raft repeats a vote that it finds without storing it again.
// sequences are those of the files, 0 for one that is empty or cannot be read.
func (s *Stable) settle(sequences [2]uint64) error {
	for _, isStale := range []bool{false, true} { // what is there first, so that one of them is whole at any time
		for i, f := range s.files {
			if s.sequence == 0 || (sequences[i] != s.sequence) != isStale {
				continue
			}
			if isStale {
				if _, err := f.WriteAt(s.encode(s.sequence), 0); err != nil {
					return fmt.Errorf("repair a copy of %s: %w", s.path, err)
				}
			}
			if err := f.SyncData(); err != nil {
				return fmt.Errorf("sync %s: %w", s.path, err)
			}
		}
	}
	return nil
}

// readStable returns nil values for a file that is missing or empty.
func readStable(fs FS, name string) (uint64, map[string][]byte, error) {
	f, err := fs.Open(name)
	if isNotExist(err) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("open %s: %w", name, err)
	}
	b, err := readAll(f, stableMaxBytes)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) == 0 {
		return 0, nil, nil
	}
	sequence, values, wanted, found := parseStable(b)
	if wanted != "" {
		return 0, nil, &CorruptError{File: name, Wanted: wanted, Found: found}
	}
	return sequence, values, nil
}

func parseStable(b []byte) (sequence uint64, values map[string][]byte, wanted, found string) {
	if len(b) < stableHeaderBytes || binary.LittleEndian.Uint32(b) != stableMagic {
		return 0, nil, "a file that begins with STBL", fmt.Sprintf("%q", b[:min(4, len(b))])
	}
	n := binary.LittleEndian.Uint64(b[16:])
	if n > uint64(len(b)-stableHeaderBytes) {
		return 0, nil, fmt.Sprintf("%d bytes of values", n), fmt.Sprint(len(b) - stableHeaderBytes)
	}
	b = b[:stableHeaderBytes+n]
	if crc, computed := binary.LittleEndian.Uint32(b[4:]), record.Castagnoli(0, b[8:]); crc != computed {
		return 0, nil, fmt.Sprintf("checksum %08x", computed), fmt.Sprintf("%08x", crc)
	}
	values = map[string][]byte{}
	for rest := b[stableHeaderBytes:]; len(rest) > 0; {
		if len(rest) < 8 {
			return 0, nil, "a whole pair", fmt.Sprintf("%d bytes", len(rest))
		}
		k, v := uint64(binary.LittleEndian.Uint32(rest)), uint64(binary.LittleEndian.Uint32(rest[4:]))
		if rest = rest[8:]; k+v > uint64(len(rest)) {
			return 0, nil, fmt.Sprintf("a pair of %d bytes", k+v), fmt.Sprint(len(rest))
		}
		values[string(rest[:k])] = slices.Clone(rest[k : k+v])
		rest = rest[k+v:]
	}
	return binary.LittleEndian.Uint64(b[8:]), values, "", ""
}

// Get returns a copy of the value, nil when there is none.
func (s *Stable) Get(key []byte) ([]byte, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.failure != nil {
		return nil, s.failure
	}
	value, ok := s.values[string(key)]
	if !ok {
		return nil, nil
	}
	return append([]byte{}, value...), nil
}

// Set stores the value durably, or not at all: after a crash during Set the old or the new value is there.
func (s *Stable) Set(key, value []byte) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.failure != nil {
		return s.failure
	}
	old, had := s.values[string(key)]
	s.values[string(key)] = slices.Clone(value)
	b := s.encode(s.sequence + 1)
	if len(b) > stableMaxBytes {
		delete(s.values, string(key))
		if had {
			s.values[string(key)] = old
		}
		return fmt.Errorf("store %d bytes in %s, limit %d: %w", len(b), s.path, stableMaxBytes, record.ErrTooLarge)
	}
	s.sequence++
	for _, f := range s.files {
		if _, err := f.WriteAt(b, 0); err != nil {
			s.failure = fmt.Errorf("write %s: %w", s.path, err)
			return s.failure
		}
		if err := f.SyncData(); err != nil {
			s.failure = fmt.Errorf("%w: %s: %w", segment.ErrSync, s.path, err)
			return s.failure
		}
	}
	return nil
}

// encode returns the file's bytes with a sequence number. It is called in turn, or before the Stable is used.
func (s *Stable) encode(sequence uint64) []byte {
	b := make([]byte, stableHeaderBytes)
	keys := make([]string, 0, len(s.values))
	for k := range s.values {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	for _, k := range keys {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(k)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.values[k])))
		b = append(append(b, k...), s.values[k]...)
	}
	binary.LittleEndian.PutUint32(b, stableMagic)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	binary.LittleEndian.PutUint64(b[16:], uint64(len(b)-stableHeaderBytes))
	binary.LittleEndian.PutUint32(b[4:], record.Castagnoli(0, b[8:]))
	return b
}

// GetUint64 returns the number stored under key, 0 when there is none.
func (s *Stable) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("value of %q in %s has %d bytes, wanted 8: %w", key, s.path, len(b), record.ErrCorrupt)
	}
	return binary.LittleEndian.Uint64(b), nil
}

// SetUint64 stores a number durably.
func (s *Stable) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.LittleEndian.AppendUint64(nil, value))
}

// Close closes the files. Everything that Set returned nil for is durable already.
func (s *Stable) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if errors.Is(s.failure, ErrClosed) {
		return nil
	}
	s.failure = fmt.Errorf("use %s: %w", s.path, ErrClosed)
	return s.closeFiles()
}

func (s *Stable) closeFiles() error {
	var errs []error
	for _, f := range s.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
