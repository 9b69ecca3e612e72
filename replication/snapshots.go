package replication

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

const (
	snapshotMagic     = "STELASNP"
	snapshotHeadBytes = 64
	snapshotBlock     = 256 << 10 // of state, each with its CRC
	snapshotsKept     = 2
	snapshotSuffix    = ".snapshot"
	partialSuffix     = ".partial"
	maxConfiguration  = 1 << 20
)

// snapshotMeta is what a snapshot file says of itself.
type snapshotMeta struct {
	Index, Term        uint64
	ConfigurationIndex uint64
	Configuration      []byte // as raft encodes it
	Applied            uint64 // of the state machine: at most Index, which may be an entry of raft's own
	FileBytes          int64
}

func (m *snapshotMeta) id() string { return fmt.Sprintf("%016x-%016x", m.Index, m.Term) }

func (m *snapshotMeta) forRaft() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: 1, ID: m.id(), Index: m.Index, Term: m.Term,
		Configuration:      raft.DecodeConfiguration(m.Configuration),
		ConfigurationIndex: m.ConfigurationIndex,
		Size:               m.FileBytes,
	}
}

// snapshots is raft's SnapshotStore in a folder. A file holds state and where in the
// log it belongs, never payload; little-endian:
//
//	 0 magic "STELASNP"   8 version u32 1    12 configuration bytes u32
//	16 index u64         24 term u64         32 configuration index u64
//	40 applied u64       48 zero [12]        60 crc u32 of 0..59 and of the configuration
//	64 configuration
//	   blocks: bytes u32, crc u32, state     the last one has 0 bytes; its crc covers all crcs before
//
// A file is written under another name, synced and renamed, so that what has its
// name is whole; the two newest are kept. It may be used from any goroutine.
type snapshots struct {
	fs     log.FS
	dir    string
	logger *slog.Logger
	fatal  func(error) // told when a sync fails: nobody knows then what the disk holds

	mu   sync.Mutex // guards list and held
	list []*snapshotMeta
	held map[string]int // ids that a follower is being brought to: they are not removed
}

// openSnapshots reads the headers of what is in the folder. A file that cannot be
// read stays where it is and is not used; one that was not finished is removed.
func openSnapshots(fs log.FS, dir string, logger *slog.Logger, fatal func(error)) (*snapshots, error) {
	if err := makeDir(fs, dir); err != nil {
		return nil, err
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	s := &snapshots{fs: fs, dir: dir, logger: logger, fatal: fatal, held: map[string]int{}}
	for _, name := range names {
		if strings.HasSuffix(name, partialSuffix) {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return nil, fmt.Errorf("remove an unfinished snapshot: %w", err)
			}
		}
		if !strings.HasSuffix(name, snapshotSuffix) {
			continue
		}
		meta, err := s.readMeta(fs.PathJoin(dir, name))
		if errors.Is(err, record.ErrCorrupt) {
			logger.Warn("leave a snapshot aside that cannot be read", "file", fs.PathJoin(dir, name), "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, meta)
	}
	s.sort()
	return s, nil
}

// sort puts the newest first. s.mu is held, or nobody else knows s yet.
func (s *snapshots) sort() {
	slices.SortFunc(s.list, func(a, b *snapshotMeta) int { return strings.Compare(b.id(), a.id()) })
}

func (s *snapshots) path(id string) string { return s.fs.PathJoin(s.dir, id+snapshotSuffix) }

// newest returns the newest snapshot, or nil.
func (s *snapshots) newest() *snapshotMeta {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return nil
	}
	return s.list[0]
}

func (s *snapshots) find(id string) *snapshotMeta {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.list {
		if m.id() == id {
			return m
		}
	}
	return nil
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	metas := make([]*raft.SnapshotMeta, len(s.list))
	for i, m := range s.list {
		metas[i] = m.forRaft()
	}
	return metas, nil
}

// Open implements raft.SnapshotStore. The reader verifies what it reads.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, state, err := s.openState(s.path(id))
	if err != nil {
		return nil, nil, err
	}
	return meta.forRaft(), state, nil
}

// verify reads a whole file. The error wraps record.ErrCorrupt when it is not as it was written.
func (s *snapshots) verify(path string) error {
	_, state, err := s.openState(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, state)
	if err = errors.Join(err, state.Close()); err != nil {
		return fmt.Errorf("verify snapshot %s: %w", path, err)
	}
	return nil
}

// adopt puts a file that was received and verified under its name, durably.
func (s *snapshots) adopt(partial string) (*snapshotMeta, error) {
	meta, err := s.readMeta(partial)
	if err != nil {
		return nil, err
	}
	return meta, s.publish(partial, meta)
}

// publish renames a synced file and removes those that are too many.
func (s *snapshots) publish(partial string, meta *snapshotMeta) error {
	if err := s.fs.Rename(partial, s.path(meta.id())); err != nil {
		return fmt.Errorf("rename %s: %w", partial, err)
	}
	if err := syncDir(s.fs, s.dir); err != nil {
		s.fatal(err)
		return err
	}
	s.mu.Lock()
	s.list = slices.DeleteFunc(s.list, func(m *snapshotMeta) bool { return m.id() == meta.id() })
	s.list = append(s.list, meta)
	s.sort()
	s.mu.Unlock()
	s.removeOld()
	return nil
}

// removeOld removes what is too many and not held.
func (s *snapshots) removeOld() {
	s.mu.Lock()
	var old []*snapshotMeta
	for i := snapshotsKept; i < len(s.list); {
		if m := s.list[i]; s.held[m.id()] == 0 {
			old = append(old, m)
			s.list = slices.Delete(s.list, i, i+1)
			continue
		}
		i++
	}
	s.mu.Unlock()
	for _, m := range old {
		if err := s.fs.Remove(s.path(m.id())); err != nil {
			s.logger.Warn("remove an old snapshot", "file", s.path(m.id()), "error", err)
		}
	}
}

// hold keeps a snapshot until release is called; nil when there is no such snapshot.
func (s *snapshots) hold(id string) (meta *snapshotMeta, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.list {
		if m.id() != id {
			continue
		}
		s.held[id]++
		return m, func() {
			s.mu.Lock()
			if s.held[id]--; s.held[id] == 0 {
				delete(s.held, id)
			}
			s.mu.Unlock()
			s.removeOld()
		}
	}
	return nil, nil
}

// readAt returns up to n bytes of a snapshot's file, for a peer.
func (s *snapshots) readAt(id string, offset int64, n int) ([]byte, error) {
	meta := s.find(id)
	if meta == nil || offset < 0 || offset > meta.FileBytes {
		return nil, fmt.Errorf("snapshot %s at %d: %w", id, offset, log.ErrNotFound)
	}
	f, err := s.fs.Open(s.path(id))
	if err != nil {
		return nil, fmt.Errorf("open snapshot %s: %w", id, err)
	}
	b := make([]byte, min(int64(n), meta.FileBytes-offset))
	_, err = f.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	return b, nil
}

func (s *snapshots) readMeta(path string) (*snapshotMeta, error) {
	meta, state, err := s.openState(path)
	if err != nil {
		return nil, err
	}
	return meta, state.Close()
}

// openState opens a file and reads its header.
func (s *snapshots) openState(path string) (*snapshotMeta, *stateReader, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", path, err)
	}
	r := &stateReader{file: f, source: bufio.NewReaderSize(f, 64<<10), sum: crc32.NewIEEE()}
	meta, err := r.header()
	if err == nil {
		info, failed := f.Stat()
		if failed == nil {
			meta.FileBytes = info.Size()
			return meta, r, nil
		}
		err = failed
	}
	return nil, nil, errors.Join(fmt.Errorf("snapshot %s: %w", path, err), f.Close())
}

// stateReader reads a snapshot's state and verifies each block before it hands it out.
type stateReader struct {
	file   io.Closer
	source *bufio.Reader
	block  []byte // what is left of the present one
	buffer []byte
	sum    hash.Hash32 // of the blocks' crcs
	ended  bool
}

func (r *stateReader) header() (*snapshotMeta, error) {
	var b [snapshotHeadBytes]byte
	if _, err := io.ReadFull(r.source, b[:]); err != nil {
		return nil, torn(err)
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if string(b[:8]) != snapshotMagic || binary.LittleEndian.Uint32(b[8:]) != 1 || n > maxConfiguration {
		return nil, fmt.Errorf("begins with %x: %w", b[:16], record.ErrCorrupt)
	}
	configuration := make([]byte, n)
	if _, err := io.ReadFull(r.source, configuration); err != nil {
		return nil, torn(err)
	}
	crc := binary.LittleEndian.Uint32(b[60:])
	if got := record.Castagnoli(record.Castagnoli(0, b[:60]), configuration); got != crc {
		return nil, fmt.Errorf("header crc %08x, computed %08x: %w", crc, got, record.ErrCorrupt)
	}
	return &snapshotMeta{
		Index: binary.LittleEndian.Uint64(b[16:]), Term: binary.LittleEndian.Uint64(b[24:]),
		ConfigurationIndex: binary.LittleEndian.Uint64(b[32:]), Configuration: configuration,
		Applied: binary.LittleEndian.Uint64(b[40:]),
	}, nil
}

// torn makes an early end of the file a corruption.
func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the file ends early: %w", record.ErrCorrupt)
	}
	return err
}

func (r *stateReader) Read(b []byte) (int, error) {
	for len(r.block) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.block)
	r.block = r.block[n:]
	return n, nil
}

func (r *stateReader) next() error {
	var h [8]byte
	if _, err := io.ReadFull(r.source, h[:]); err != nil {
		return torn(err)
	}
	n, crc := binary.LittleEndian.Uint32(h[:]), binary.LittleEndian.Uint32(h[4:])
	if n == 0 {
		if got := r.sum.Sum32(); got != crc {
			return fmt.Errorf("crc of the blocks %08x, computed %08x: %w", crc, got, record.ErrCorrupt)
		}
		r.ended = true
		return nil
	}
	if n > snapshotBlock {
		return fmt.Errorf("block of %d bytes, limit %d: %w", n, snapshotBlock, record.ErrCorrupt)
	}
	if r.buffer == nil {
		r.buffer = make([]byte, snapshotBlock)
	}
	if _, err := io.ReadFull(r.source, r.buffer[:n]); err != nil {
		return torn(err)
	}
	if got := record.Castagnoli(0, r.buffer[:n]); got != crc {
		return fmt.Errorf("block crc %08x, computed %08x: %w", crc, got, record.ErrCorrupt)
	}
	_, _ = r.sum.Write(h[4:]) // never fails
	r.block = r.buffer[:n]
	return nil
}

func (r *stateReader) Close() error { return r.file.Close() }
