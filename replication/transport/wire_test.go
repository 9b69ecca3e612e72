package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// command is a record entry with one note.
func command(text string, term record.Term) []byte {
	return record.AppendTail(nil, nil, record.AppendNote(nil, 7, []byte(text)), term)
}

// batchEntry is a record entry with one batch.
func batchEntry(term record.Term) []byte {
	batch := record.Batch(make([]byte, record.BatchHeaderBytes+10))
	binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-12))
	batch[16] = 2
	batch.Stamp(42, term.Epoch())
	batch.SetCRC()
	row := record.Row{Partition: 3, BaseOffset: 42, Bytes: uint32(len(batch))}
	return record.AppendTail(slices.Clone(batch), []record.Row{row}, nil, term)
}

func whole(t testing.TB, h header, head []byte, entries []Entry) []byte {
	t.Helper()
	buffers, size, err := entryBuffers(headerBytes+len(head), entries)
	if err != nil {
		t.Fatal(err)
	}
	copy(buffers[0][headerBytes:], head)
	h.length, h.count = uint32(size), uint32(len(entries))
	putHeader(buffers[0], h)
	return slices.Concat(buffers...)
}

func samples(t testing.TB) [][]byte {
	head := make([]byte, appendHeadBytes)
	putAppendHead(head, 7, 100, 6, 99)
	entries := []Entry{
		{Index: 101, Term: 7, Kind: raft.LogCommand, Payload: batchEntry(7)},
		{Index: 102, Term: 7, Kind: raft.LogNoop},
		{Index: 103, Term: 7, Kind: raft.LogCommand, Payload: command("text", 7)},
		{Index: 104, Term: 7, Kind: raft.LogConfiguration, Payload: []byte("configuration")},
	}
	return [][]byte{
		whole(t, header{kind: kindAppend, shard: 1, id: 1}, head, entries),
		whole(t, header{kind: kindAppend, shard: 1, id: 2}, head, nil),
		whole(t, header{kind: kindAppend, flags: flagAnswer, id: 2}, appendReply(nil, &raft.AppendEntriesResponse{Term: 7, LastLog: 3, Success: true}), nil),
		whole(t, header{kind: kindVote, id: 3}, appendBallot(nil, ballot{7, 8, 9, true}), nil),
		whole(t, header{kind: kindVote, flags: flagAnswer, id: 3}, appendVote(nil, 7, true), nil),
		whole(t, header{kind: kindPreVote, id: 4}, appendBallot(nil, ballot{7, 8, 9, false}), nil),
		whole(t, header{kind: kindStand, id: 5}, nil, nil),
		whole(t, header{kind: kindCall, call: 200, id: 6}, bytes.Repeat([]byte("request"), 100), nil),
		whole(t, header{kind: kindCall, flags: flagAnswer | flagError, id: 6}, []byte("no"), nil),
		whole(t, header{kind: kindFetch, id: 7}, appendFetch(nil, fetchRange{1, 2, 3}), nil),
		whole(t, header{kind: kindFetch, flags: flagAnswer, id: 7}, nil, entries),
		whole(t, header{kind: kindFetch, flags: flagAnswer, id: 7}, nil, nil),
	}
}

func TestMessages(t *testing.T) {
	pool := frame.NewPool(0)
	from := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("id"), Addr: []byte("address")}
	all := samples(t)
	r := newReader(bytes.NewReader(slices.Concat(all...)), pool)
	for i := range all {
		m, err := r.next()
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		switch i {
		case 0:
			a := appendRequest(&m, from)
			if a.Term != 7 || a.PrevLogEntry != 100 || a.PrevLogTerm != 6 || a.LeaderCommitIndex != 99 || len(a.Entries) != 4 {
				t.Errorf("append %+v", a)
			}
			if pool.Find(a.Entries[0].Extensions) != m.frame || pool.Find(a.Entries[2].Extensions) != m.frame || a.Entries[3].Extensions != nil {
				t.Error("only commands say where they lie")
			}
			if string(a.Entries[3].Data) != "configuration" || !bytes.Equal(a.Entries[0].Data, batchEntry(7)) {
				t.Error("payloads differ")
			}
			// The log finds a payload in its frame by its capacity.
			if f := m.frame.Bytes(); &f[len(f)-cap(a.Entries[2].Data)] != &a.Entries[2].Data[0] {
				t.Error("the capacity of a payload does not lead back to its frame")
			}
		case 2:
			var reply raft.AppendEntriesResponse
			if err := parseAppendReply(m.head, &reply); err != nil || reply.Term != 7 || reply.LastLog != 3 || !reply.Success || reply.NoRetryBackoff {
				t.Errorf("reply %+v, %v", reply, err)
			}
		case 3:
			c, err := raftCommand(&m, from)
			want := &raft.RequestVoteRequest{RPCHeader: from, Term: 7, Candidate: from.Addr, LastLogIndex: 8, LastLogTerm: 9, LeadershipTransfer: true} //nolint:staticcheck // raft 1.8 still reads Candidate
			if err != nil || !cmp.Equal(c, want) {
				t.Errorf("vote: %v, %s", err, cmp.Diff(c, want))
			}
		case 10:
			if len(m.entries) != 4 || m.entries[1].Index != 102 || m.entries[1].Kind != raft.LogNoop {
				t.Errorf("fetched %+v", m.entries)
			}
		}
		m.release()
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last message: %v", err)
	}
}

// TestFlippedBits flips every bit of every message: nothing of it may pass.
func TestFlippedBits(t *testing.T) {
	pool := frame.NewPool(0)
	for i, b := range samples(t) {
		for bit := range len(b) * 8 {
			broken := bytes.Clone(b)
			broken[bit/8] ^= 1 << (bit % 8)
			m, err := newReader(bytes.NewReader(broken), pool).next()
			if err == nil {
				t.Errorf("message %d with bit %d of byte %d flipped passed", i, bit%8, bit/8)
				m.release()
			}
		}
	}
}

// TestLargeEntriesAreAligned: they lie in the receiver's frame as a direct write wants them, and what lies between is zero.
func TestLargeEntriesAreAligned(t *testing.T) {
	large := command(string(make([]byte, alignedBytes)), 7)
	entries := []Entry{
		{Index: 1, Term: 7, Kind: raft.LogNoop},
		{Index: 2, Term: 7, Kind: raft.LogCommand, Payload: large},
		{Index: 3, Term: 7, Kind: raft.LogCommand, Payload: command("small", 7)},
		{Index: 4, Term: 7, Kind: raft.LogNoop},
		{Index: 5, Term: 7, Kind: raft.LogCommand, Payload: large},
		{Index: 6, Term: 7, Kind: raft.LogCommand, Payload: large},
		{Index: 7, Term: 7, Kind: raft.LogNoop},
	}
	head := make([]byte, appendHeadBytes)
	b := whole(t, header{kind: kindAppend, shard: 1, id: 1}, head, entries)
	m, err := newReader(bytes.NewReader(b), frame.NewPool(0)).next()
	if err != nil {
		t.Fatal(err)
	}
	defer m.release()
	start := m.frame.Bytes()
	for i, e := range m.entries {
		if e.Index != entries[i].Index || !bytes.Equal(e.Payload, entries[i].Payload) {
			t.Fatalf("entry %d came as %d with %d bytes", entries[i].Index, e.Index, len(e.Payload))
		}
		if at := len(start) - cap(e.Payload) - EntryHeaderBytes; len(e.Payload) > alignedBytes && at%entryAlign != 0 {
			t.Errorf("entry %d begins at byte %d", e.Index, at)
		}
	}
	dirty := bytes.Clone(b)
	dirty[headerBytes+appendHeadBytes+EntryHeaderBytes] = 1 // behind the first entry, which has no payload
	if _, err := newReader(bytes.NewReader(dirty), frame.NewPool(0)).next(); !errors.Is(err, errProtocol) {
		t.Errorf("dirty padding: %v", err)
	}
}

func TestParseServerID(t *testing.T) {
	p := Peer{Node: 12, Incarnation: [16]byte{1, 2, 3}}
	if got, err := ParseServerID(p.ServerID()); err != nil || got != p {
		t.Errorf("%v, %v", got, err)
	}
	for _, id := range []raft.ServerID{"", "1", "x-00", "1-0011", "99999999999-00112233445566778899aabbccddeeff", "1-zz112233445566778899aabbccddeeff"} {
		if _, err := ParseServerID(id); err == nil {
			t.Errorf("%q was parsed", id)
		}
	}
}

// repaired returns b with the sums of its first message put right.
func repaired(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < headerBytes {
		return b
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	h, err := parseHeader(b)
	if err != nil {
		return b
	}
	putHeader(b, h)
	if !h.carriesEntries() {
		return b
	}
	for rest := b[headerBytes+h.headBytes():]; len(rest) >= EntryHeaderBytes; {
		n := min(int(binary.LittleEndian.Uint32(rest[24:])), len(rest)-EntryHeaderBytes)
		if n < 0 {
			return b
		}
		payload := rest[EntryHeaderBytes : EntryHeaderBytes+n]
		tail := min(int(binary.LittleEndian.Uint32(rest[28:])), n)
		binary.LittleEndian.PutUint16(rest[4:], entryMagic)
		rest[6] = entryVersion
		binary.LittleEndian.PutUint32(rest[24:], uint32(n))
		if tail >= 0 {
			binary.LittleEndian.PutUint32(rest[32:], record.Castagnoli(0, payload[n-tail:]))
		}
		binary.LittleEndian.PutUint32(rest, record.Castagnoli(0, rest[4:EntryHeaderBytes]))
		padding := int(binary.LittleEndian.Uint16(rest[36:]))
		rest = rest[EntryHeaderBytes+n:]
		rest = rest[min(padding, len(rest)):]
	}
	return b
}

// FuzzFrame feeds bytes to the decoder of messages, as a connection would.
func FuzzFrame(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	f.Add(slices.Concat(samples(f)...))
	pool := frame.NewPool(64 << 20)
	from := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("id"), Addr: []byte("address")}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 && b[0]&1 == 1 { // half of the inputs get right sums, so that more than these is tried
			b = repaired(b)
		}
		r := newReader(bytes.NewReader(b), pool)
		for {
			m, err := r.next()
			if err != nil {
				return
			}
			switch {
			case m.kind == kindAppend && m.isAnswer():
				_ = parseAppendReply(m.head, new(raft.AppendEntriesResponse))
			case m.kind == kindAppend:
				for _, l := range appendRequest(&m, from).Entries {
					if l.Type == raft.LogCommand && record.CheckEntry(l.Data) != nil {
						t.Error("a command passed that is no entry")
					}
				}
			case m.kind == kindFetch:
				_, _ = parseFetch(m.head)
			case m.isAnswer():
				_, _, _ = parseVote(m.head)
			default:
				_, _ = raftCommand(&m, from)
			}
			m.release()
		}
	})
}

// FuzzHello feeds bytes to the decoder of greetings.
func FuzzHello(f *testing.F) {
	h := hello{class: classControl, node: 1, to: 2}
	f.Add(h.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != helloBytes {
			return
		}
		h, err := parseHello(b)
		if err == nil && h.class >= classes {
			t.Errorf("class %d", h.class)
		}
	})
}
