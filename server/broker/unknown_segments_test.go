package broker

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

// While a node catches up, or its index is remade, its log holds entries of which no row tells yet. The cleaner must not take
// their segments for dead: what a peer has just sent, or all that is older than Raft's window, would be gone.
func TestSegmentsWithoutRowsStay(t *testing.T) {
	for name, lose := range map[string]func(*testNode, *shard){
		"remaking the index": func(n *testNode, s *shard) { // as Restore begins
			if err := s.machine.update(func(b *index.Batch) { b.DropShard(s.id) }); err != nil {
				n.cluster.t.Fatal(err)
			}
			for _, p := range n.states.ofShard(s) {
				p.forget()
			}
		},
		"catching up": func(n *testNode, s *shard) {
			n.backfillCopies(s, 1_000_000)
			n.fill(n.partition("t", 0), 512<<10) // so that Raft's window lies elsewhere
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 1, small)
				c.create("t", 1)
				n := c.leader("t", 0)
				n.fill(n.partition("t", 0), 1<<20)
				s := n.partition("t", 0).state.shard
				if err := s.group.Compact(math.MaxInt64); err != nil {
					t.Fatal(err)
				}
				lose(n, s)
				before := n.log.Segments()
				time.Sleep(11 * time.Second) // the cleaner comes by twice
				synctest.Wait()
				if after := n.log.Segments(); len(before) < 8 || len(after) < len(before) {
					t.Errorf("of %d segments %d are left", len(before), len(after))
				}
			})
		})
	}
}

// backfillCopies writes copies of what the shard's log holds, as entries that a peer sent for indexes from first on.
func (n *testNode) backfillCopies(s *shard, first record.Index) {
	t := n.cluster.t
	var infos []log.EntryInfo
	part := n.log.Shard(s.id)
	err := part.Scan(0, s.machine.Applied(), func(info log.EntryInfo, _ []byte) error {
		if info.Bytes > 0 {
			infos = append(infos, info)
		}
		return nil
	})
	for _, info := range infos {
		payload, f, pinned := part.PinAt(info)
		if err = errors.Join(err, pinned); err != nil {
			t.Fatal(err)
		}
		entry := log.Entry{Index: first + info.Index, Term: info.Term, Kind: info.Kind, Payload: append([]byte(nil), payload...)}
		f.Release()
		if err = part.Backfill([]log.Entry{entry}); err != nil {
			t.Fatal(err)
		}
	}
	configuration := log.Entry{Index: first, Term: 1, Kind: 4, Payload: []byte("who is a member")}
	if err := errors.Join(err, part.Backfill([]log.Entry{configuration}), part.WaitBackfill()); err != nil {
		t.Fatal(err)
	}
}
