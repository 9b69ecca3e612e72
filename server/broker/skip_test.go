package broker

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

func TestChain(t *testing.T) {
	c := chain{term: 5, generation: 2, number: 7}
	for _, test := range []struct {
		term record.Term
		s    stamp
		want bool
	}{
		{5, stamp{generation: 2, number: 8}, true},
		{5, stamp{generation: 2, number: 9}, false},
		{5, stamp{generation: 2, number: 7}, false},
		{5, stamp{generation: 3, number: 1}, true},
		{5, stamp{generation: 3, number: 2}, false},
		{6, stamp{generation: 1, number: 1}, true},
		{6, stamp{generation: 1, number: 2}, false},
		{5, stamp{generation: 1, number: 1}, false},
	} {
		if got := c.follows(test.term, test.s); got != test.want {
			t.Errorf("term %d %+v: %v", test.term, test.s, got)
		}
	}
}

// TestRefusedProposal: when Raft refuses an entry of a leader that goes on leading, what was stamped after it is void, and
// the sequencer begins anew without a gap.
func TestRefusedProposal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.mustProduce(p, testBatch{values: []string{"a"}, producer: 1, sequence: 0})
		s := p.state.shard
		for i := range int32(5) {
			s.mu.Lock()
			reign := s.reign
			s.mu.Unlock()
			s.breakReign(reign)
			if at := n.mustProduce(p, testBatch{values: []string{"b"}, producer: 1, sequence: i + 1}); at != record.Offset(i+1) {
				t.Errorf("offset %d after %d refusals", at, i+1)
			}
		}
		if got := len(n.read(p, 0)); got != 6 {
			t.Errorf("%d records", got)
		}
		if g := s.machine.chain.generation; g != 6 {
			t.Errorf("generation %d", g)
		}
	})
}

// entry makes the tail of an entry with one batch of a record.
func entry(term record.Term, s stamp, partition record.Partition, offset record.Offset) []byte {
	rows := []record.Row{{Partition: partition, BaseOffset: offset, Bytes: 70, ProducerID: record.NoProducer, MaxTimestamp: 1}}
	return record.AppendTail(nil, rows, record.AppendNote(nil, noteStamp, s.append(nil)), term)
}

// TestSkippedEntries: entries after a gap are skipped at once and when the index is remade.
func TestSkippedEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.mustProduce(p, testBatch{values: []string{"a"}})
		s := p.state.shard
		term, _, _ := p.state.leadership()
		at := s.machine.Applied()
		if err := n.Broker.Close(); err != nil {
			t.Fatal(err)
		}
		if err := n.replication.Close(); err != nil { // the state machine is the test's alone from here on
			t.Fatal(err)
		}
		generation, number := s.machine.chain.generation, s.machine.chain.number
		var entries []replication.Committed
		add := func(s stamp, offset record.Offset) {
			at++
			entries = append(entries, replication.Committed{
				Index: at, Term: term, Position: record.Position(1<<30 + int(at)*4096), Bytes: 200, Tail: entry(term, s, p.ID(), offset),
			})
		}
		add(stamp{generation: generation, number: number + 1}, 1)
		add(stamp{generation: generation, number: number + 3}, 3) // number+2 never came
		add(stamp{generation: generation, number: number + 4}, 4)
		add(stamp{generation: generation + 1, number: 1}, 2)
		add(stamp{generation: generation + 1, number: 2}, 3)
		want := []bool{true, false, false, true, true}
		for i, err := range s.machine.Apply(entries) {
			if applied := err == nil; applied != want[i] || !applied && !errors.Is(err, replication.ErrSkipped) {
				t.Errorf("entry %d: %v", i, err)
			}
		}
		if next, err := p.HighWatermark(); next != 4 || err != nil {
			t.Errorf("high watermark %d, %v", next, err)
		}
		before := n.rows()
		s.restoreOwn(t, append(n.entriesBefore(t, s, entries[0].Index), entries...))
		if after := n.rows(); !slices.Equal(before, after) {
			t.Errorf("rows %q, want %q", after, before)
		}
		if next, err := p.HighWatermark(); next != 4 || err != nil {
			t.Errorf("high watermark %d after a restore, %v", next, err)
		}
		if err := errors.Join(n.index.Close(), n.log.Close()); err != nil {
			t.Error(err)
		}
		n.Broker = nil
	})
}

// TestDivergenceStops: an entry that is not what this replica expects ends the node instead of being applied.
func TestDivergenceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.mustProduce(p, testBatch{values: []string{"a"}})
		s := p.state.shard
		term, _, _ := p.state.leadership()
		if err := errors.Join(n.Broker.Close(), n.replication.Close()); err != nil {
			t.Fatal(err)
		}
		next := stamp{generation: s.machine.chain.generation, number: s.machine.chain.number + 1}
		e := replication.Committed{Index: s.machine.Applied() + 1, Term: term, Position: 1 << 30, Tail: entry(term, next, p.ID(), 7)}
		if err := s.machine.Apply([]replication.Committed{e})[0]; err == nil {
			t.Error("an entry with a gap in offsets was applied")
		}
		select {
		case err := <-n.fatal:
			t.Log(err)
		case <-time.After(time.Second):
			t.Error("the node goes on")
		}
		if next, _ := p.HighWatermark(); next != 1 {
			t.Errorf("high watermark %d", next)
		}
		if err := errors.Join(n.index.Close(), n.log.Close()); err != nil {
			t.Error(err)
		}
		n.Broker = nil
	})
}
