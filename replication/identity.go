package replication

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

const (
	identityName       = "identity" // the file in the data folder
	identityMagic      = "STELAID1"
	identityHeadBytes  = 56
	identityEntryBytes = 20
	identityMaxMembers = 128

	// identityStarted says that raft state was made, so that its absence is a loss.
	identityStarted = 1

	raftDir = "raft" // the folder of raft state in the data folder
)

// Identity is who a data folder belongs to.
type Identity struct {
	Node        int32
	Incarnation [16]byte // of the folder: an emptied one gets another
	Cluster     [16]byte // zero until the node formed or joined one
	DataShards  int      // 0 until then
}

// identityFile is what the file in the data folder holds, little-endian:
//
//	 0 magic "STELAID1"     8 node i32   12 data shards u32
//	16 incarnation [16]    32 cluster [16]
//	48 flags u32           52 member count u32
//	56 members: node i32, incarnation [16] each; then crc u32 of all before
//
// Members are those that formed the cluster together; a node that joined later is not among them.
type identityFile struct {
	Identity
	started bool
	members []transport.Peer
}

func (f *identityFile) peer() transport.Peer {
	return transport.Peer{Node: f.Node, Incarnation: f.Incarnation}
}

func (f *identityFile) isFormed() bool { return f.Cluster != [16]byte{} }

// OpenIdentity reads the identity of the data folder dir, or makes and stores one
// when the folder has none. A folder of another node is an error that says so, and
// so is one that holds raft state without an identity.
func OpenIdentity(fs log.FS, dir string, node int32) (*Identity, error) {
	f, err := openIdentity(fs, dir, node)
	if err != nil {
		return nil, err
	}
	return &f.Identity, nil
}

func openIdentity(fs log.FS, dir string, node int32) (*identityFile, error) {
	path := fs.PathJoin(dir, identityName)
	b, err := readFile(fs, path, identityHeadBytes+identityMaxMembers*identityEntryBytes+4)
	if errors.Is(err, iofs.ErrNotExist) {
		return newIdentity(fs, dir, node)
	}
	if err != nil {
		return nil, err
	}
	f, err := parseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if f.Node != node {
		return nil, fmt.Errorf("data folder %s belongs to node %d, this is node %d: use another folder", dir, f.Node, node)
	}
	return f, nil
}

func newIdentity(fs log.FS, dir string, node int32) (*identityFile, error) {
	if _, err := fs.Stat(fs.PathJoin(dir, raftDir)); err == nil {
		return nil, fmt.Errorf("data folder %s holds raft state but no file %q: restore the file, or empty the folder so that the node comes back as a new one", dir, identityName)
	}
	if err := makeDir(fs, dir); err != nil {
		return nil, err
	}
	f := &identityFile{Identity: Identity{Node: node}}
	if _, err := rand.Read(f.Incarnation[:]); err != nil {
		return nil, fmt.Errorf("choose an incarnation: %w", err)
	}
	return f, f.save(fs, dir)
}

func (f *identityFile) save(fs log.FS, dir string) error {
	return writeFile(fs, fs.PathJoin(dir, identityName), f.bytes())
}

func (f *identityFile) bytes() []byte {
	b := append([]byte(nil), identityMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Node))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.DataShards))
	b = append(b, f.Incarnation[:]...)
	b = append(b, f.Cluster[:]...)
	flags := uint32(0)
	if f.started {
		flags |= identityStarted
	}
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = appendMembers(b, f.members)
	return binary.LittleEndian.AppendUint32(b, record.Castagnoli(0, b))
}

func parseIdentity(b []byte) (*identityFile, error) {
	if len(b) < identityHeadBytes+4 || string(b[:8]) != identityMagic {
		return nil, fmt.Errorf("identity of %d bytes that does not begin with %q: %w", len(b), identityMagic, record.ErrCorrupt)
	}
	body := b[:len(b)-4]
	if crc, got := binary.LittleEndian.Uint32(b[len(body):]), record.Castagnoli(0, body); crc != got {
		return nil, fmt.Errorf("identity crc %08x, computed %08x: %w", crc, got, record.ErrCorrupt)
	}
	f := &identityFile{Identity: Identity{
		Node:        int32(binary.LittleEndian.Uint32(b[8:])),
		DataShards:  int(binary.LittleEndian.Uint32(b[12:])),
		Incarnation: [16]byte(b[16:32]),
		Cluster:     [16]byte(b[32:48]),
	}}
	f.started = binary.LittleEndian.Uint32(b[48:])&identityStarted != 0
	members, rest, err := parseMembers(body[52:])
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("identity with %d bytes too many: %w", len(rest), record.ErrCorrupt)
	}
	f.members = members
	return f, nil
}

func appendMembers(b []byte, members []transport.Peer) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(members)))
	for _, m := range members {
		b = binary.LittleEndian.AppendUint32(b, uint32(m.Node))
		b = append(b, m.Incarnation[:]...)
	}
	return b
}

func parseMembers(b []byte) ([]transport.Peer, []byte, error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("member list of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if n > identityMaxMembers || len(b) < int(n)*identityEntryBytes {
		return nil, nil, fmt.Errorf("%d members in %d bytes: %w", n, len(b), record.ErrCorrupt)
	}
	var members []transport.Peer
	for range n {
		members = append(members, transport.Peer{Node: int32(binary.LittleEndian.Uint32(b)), Incarnation: [16]byte(b[4:20])})
		b = b[identityEntryBytes:]
	}
	return members, b, nil
}

// readFile reads a file of at most limit bytes.
func readFile(fs log.FS, path string, limit int64) (b []byte, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	b, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes: %w", path, limit, record.ErrTooLarge)
	}
	return b, nil
}

// writeFile replaces a file by way of another name, so that after a crash the old or the new one is there.
func writeFile(fs log.FS, path string, b []byte) error {
	f, err := fs.Create(path+".new", "stela-raft")
	if err != nil {
		return fmt.Errorf("create %s.new: %w", path, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s.new: %w", path, err)
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return fmt.Errorf("rename %s.new: %w", path, err)
	}
	return syncDir(fs, fs.PathDir(path))
}

// makeDir makes a folder and its parents so that they survive a crash.
func makeDir(fs log.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir && parent != "." {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder %s: %w", dir, err)
	}
	return syncDir(fs, parent)
}

func syncDir(fs log.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", dir, err)
	}
	if err = errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
