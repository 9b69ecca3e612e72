package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

// sink writes one snapshot. It implements raft.SnapshotSink; one goroutine uses it.
type sink struct {
	store   *snapshots
	meta    *snapshotMeta
	file    io.WriteCloser
	sync    func() error // of file
	partial string
	begun   bool
	block   []byte
	sum     hash.Hash32
	err     error
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := &snapshotMeta{
		Index: index, Term: term, Applied: index,
		Configuration: raft.EncodeConfiguration(configuration), ConfigurationIndex: configurationIndex,
	}
	partial := s.fs.PathJoin(s.dir, meta.id()+partialSuffix)
	f, err := s.fs.Create(partial, "stela-raft")
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", partial, err)
	}
	return &sink{store: s, meta: meta, file: f, sync: f.Sync, partial: partial, sum: crc32.NewIEEE()}, nil
}

// ID implements raft.SnapshotSink.
func (s *sink) ID() string { return s.meta.id() }

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && s.err == nil {
		k := min(len(b), snapshotBlock-len(s.block))
		s.block = append(s.block, b[:k]...)
		b = b[k:]
		if len(s.block) == snapshotBlock {
			s.flush()
		}
	}
	return n - len(b), s.err
}

func (s *sink) put(b []byte) {
	if s.err != nil {
		return
	}
	n, err := s.file.Write(b)
	s.meta.FileBytes += int64(n)
	s.err = err
}

// begin writes the header, when meta is complete.
func (s *sink) begin() {
	if s.begun {
		return
	}
	s.begun = true
	b := make([]byte, snapshotHeadBytes)
	copy(b, snapshotMagic)
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(s.meta.Configuration)))
	binary.LittleEndian.PutUint64(b[16:], s.meta.Index)
	binary.LittleEndian.PutUint64(b[24:], s.meta.Term)
	binary.LittleEndian.PutUint64(b[32:], s.meta.ConfigurationIndex)
	binary.LittleEndian.PutUint64(b[40:], s.meta.Applied)
	crc := record.Castagnoli(record.Castagnoli(0, b[:60]), s.meta.Configuration)
	binary.LittleEndian.PutUint32(b[60:], crc)
	s.put(append(b, s.meta.Configuration...))
}

func (s *sink) flush() {
	s.begin()
	if len(s.block) == 0 {
		return
	}
	var h [8]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(s.block)))
	binary.LittleEndian.PutUint32(h[4:], record.Castagnoli(0, s.block))
	_, _ = s.sum.Write(h[4:]) // never fails
	s.put(h[:])
	s.put(s.block)
	s.block = s.block[:0]
}

// Close implements raft.SnapshotSink: the snapshot is complete and durable.
func (s *sink) Close() error {
	s.flush()
	var end [8]byte
	binary.LittleEndian.PutUint32(end[4:], s.sum.Sum32())
	s.put(end[:])
	err := s.err
	if err == nil {
		if err = s.sync(); err != nil {
			s.store.fatal(fmt.Errorf("sync %s: %w", s.partial, err))
		}
	}
	if err = errors.Join(err, s.file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", s.partial, err)
	}
	return s.store.publish(s.partial, s.meta)
}

// Cancel implements raft.SnapshotSink.
func (s *sink) Cancel() error {
	return errors.Join(s.file.Close(), s.store.fs.Remove(s.partial))
}
