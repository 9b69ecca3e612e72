package transport

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
)

// endless is one message again and again.
type endless struct {
	message []byte
	at      int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.message[e.at:])
	e.at = (e.at + n) % len(e.message)
	return n, nil
}

// BenchmarkNext is what a follower does with each message of the leader's before Raft sees it.
func BenchmarkNext(b *testing.B) {
	head := make([]byte, appendHeadBytes)
	putAppendHead(head, 7, 100, 6, 99)
	message := whole(b, header{kind: kindAppend, shard: 1, id: 1}, head, []Entry{{Index: 101, Term: 7, Kind: raft.LogCommand, Payload: batchEntry(7)}})
	r := newReader(&endless{message: message}, frame.NewPool(1<<20))
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := r.next()
		if err != nil {
			b.Fatal(err)
		}
		if m.frame != nil {
			m.frame.Release()
		}
	}
}
