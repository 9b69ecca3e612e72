package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// command returns the payload of a command: one batch of n bytes of records, for partition 1.
func command(offset record.Offset, term record.Term, n int, seed uint64) []byte {
	b := make(record.Batch, record.BatchHeaderBytes+n)
	random := rand.New(rand.NewPCG(seed, uint64(offset)))
	for i := record.BatchHeaderBytes; i < len(b); i++ {
		b[i] = byte(random.Uint32())
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[57:], 1)
	b.SetCRC()
	b.Stamp(offset, term.Epoch())
	row := record.Row{Partition: 1, BaseOffset: offset, Bytes: uint32(len(b)), ProducerID: record.NoProducer}
	return record.AppendTail(b, []record.Row{row}, nil, term)
}

func entry(i record.Index, term record.Term, n int) Entry {
	return Entry{Index: i, Term: term, Payload: command(record.Offset(i), term, n, uint64(term))}
}

func testConfig(fs FS) Config {
	return Config{
		FS: fs, Dir: "log", SegmentBytes: 64 << 10, TailBytes: 1, Pool: frame.NewPool(1 << 20),
		Fatal: func(err error) { panic(fmt.Sprint("BUG: ", err)) },
	}
}

func open(t testing.TB, config Config) *Log {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func appendAll(t testing.TB, s *Shard, entries ...Entry) {
	t.Helper()
	if err := s.Append(entries); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitDurable(entries[len(entries)-1].Index); err != nil {
		t.Fatal(err)
	}
}

func wantPin(t testing.TB, s *Shard, e Entry) {
	t.Helper()
	payload, f, err := s.Pin(e.Index, e.Term)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if !bytes.Equal(payload, e.Payload) {
		t.Fatalf("entry %d: %d bytes differ from the %d that were appended", e.Index, len(payload), len(e.Payload))
	}
}

func TestAppendReopen(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, testConfig(fs))
	s := l.Shard(1)
	var entries []Entry
	for i := range record.Index(40) {
		e := entry(i+1, 1+record.Term(i/10), 100+int(i)*300)
		entries = append(entries, e)
		appendAll(t, s, e)
	}
	for _, e := range entries {
		wantPin(t, s, e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, testConfig(fs))
	s = l.Shard(1)
	if s.First() != 1 || s.Last() != 40 || s.Durable() != 40 {
		t.Fatalf("window %d to %d, durable %d", s.First(), s.Last(), s.Durable())
	}
	for _, e := range entries {
		wantPin(t, s, e)
	}
	appendAll(t, s, entry(41, 9, 10))
	t.Logf("%+v", l.Stats())
	next := record.Index(1)
	if err := s.Scan(0, 1000, func(info EntryInfo, tail []byte) error {
		if info.Index != next {
			return fmt.Errorf("scan came to %d, wanted %d", info.Index, next)
		}
		next++
		return nil
	}); err != nil || next != 42 {
		t.Fatal(next, err)
	}
}
