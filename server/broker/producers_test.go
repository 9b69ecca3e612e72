package broker

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stela-db/stela/log/record"
)

func (c *testCluster) restart(n *testNode) {
	c.t.Helper()
	n.stop()
	n.start()
	c.ready()
}

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestProducerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		for i := range int32(7) {
			if at := n.mustProduce(p, testBatch{values: []string{"x", "y"}, producer: 9, sequence: 2 * i}); at != record.Offset(2*i) {
				t.Fatalf("batch %d at %d", i, at)
			}
		}
		for i := range int32(7) {
			r := n.produce(p, testBatch{values: []string{"x", "y"}, producer: 9, sequence: 2 * i})
			if i < 2 { // older than the window
				wantError(t, "repetition beyond the window", r.Err, ErrOutOfOrderSequence)
			} else if r.Err != nil || r.BaseOffset != record.Offset(2*i) {
				t.Errorf("repetition of batch %d: offset %d, %v", i, r.BaseOffset, r.Err)
			}
		}
		r := n.produce(p, testBatch{values: []string{"x"}, producer: 9, sequence: 15})
		wantError(t, "gap", r.Err, ErrOutOfOrderSequence)
		r = n.produce(p, testBatch{values: []string{"x"}, producer: 9, sequence: 12})
		wantError(t, "other count at a known sequence", r.Err, ErrOutOfOrderSequence)
		if at := n.mustProduce(p, testBatch{values: []string{"x"}, producer: 9, sequence: 14}); at != 14 {
			t.Errorf("after refused batches: offset %d, want 14", at)
		}
		r = n.produce(p, testBatch{values: []string{"x"}, producer: 9, epoch: 1, sequence: 15})
		wantError(t, "new epoch that does not begin at 0", r.Err, ErrOutOfOrderSequence)
		if at := n.mustProduce(p, testBatch{values: []string{"x"}, producer: 9, epoch: 1}); at != 15 {
			t.Errorf("new epoch: offset %d, want 15", at)
		}
		r = n.produce(p, testBatch{values: []string{"x"}, producer: 9, sequence: 15})
		wantError(t, "old epoch", r.Err, ErrInvalidProducerEpoch)
		if at := n.mustProduce(p, testBatch{values: []string{"x"}, producer: 10, sequence: 77}); at != 16 {
			t.Errorf("unknown producer in the middle: offset %d, want 16", at)
		}
	})
}

func TestProducerPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		var outcomes []<-chan ProduceResult
		for i := range int32(5) {
			outcomes = append(outcomes, n.send(p, testBatch{values: []string{"x"}, producer: 1, sequence: i}))
		}
		for i := range int32(5) { // repeated before the first answers came
			outcomes = append(outcomes, n.send(p, testBatch{values: []string{"x"}, producer: 1, sequence: i}))
		}
		for i, outcome := range outcomes {
			if r := <-outcome; r.Err != nil || r.BaseOffset != record.Offset(i%5) {
				t.Errorf("answer %d: offset %d, %v", i, r.BaseOffset, r.Err)
			}
		}
		if got := len(n.read(p, 0)); got != 5 {
			t.Errorf("%d records, want 5", got)
		}
	})
}

func TestProducerAcrossRestartAndLeaderChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		for i := range int32(4) {
			n.mustProduce(n.partition("t", 0), testBatch{values: []string{"x"}, producer: 3, sequence: i})
		}
		m := c.depose(n)
		if r := m.produce(m.partition("t", 0), testBatch{values: []string{"x"}, producer: 3, sequence: 1}); r.Err != nil || r.BaseOffset != 1 {
			t.Errorf("repetition at the new leader: offset %d, %v", r.BaseOffset, r.Err)
		}
		wantError(t, "gap at the new leader", m.produce(m.partition("t", 0), testBatch{values: []string{"x"}, producer: 3, sequence: 5}).Err, ErrOutOfOrderSequence)
		wantError(t, "old leader", n.produce(n.partition("t", 0), testBatch{values: []string{"x"}, producer: 3, sequence: 4}).Err, ErrNotLeader)
		for _, node := range c.nodes {
			node.stop()
		}
		for _, node := range c.nodes {
			node.start()
		}
		c.ready()
		m = c.leader("t", 0)
		p := m.partition("t", 0)
		if r := m.produce(p, testBatch{values: []string{"x"}, producer: 3, sequence: 3}); r.Err != nil || r.BaseOffset != 3 {
			t.Errorf("repetition after the restart: offset %d, %v", r.BaseOffset, r.Err)
		}
		if at := m.mustProduce(p, testBatch{values: []string{"y"}, producer: 3, sequence: 4}); at != 4 {
			t.Errorf("next batch at %d, want 4", at)
		}
		if got, want := m.read(p, 0), []string{"0=x", "1=x", "2=x", "3=x", "4=y"}; !slices.Equal(got, want) {
			t.Errorf("read %v, want %v", got, want)
		}
	})
}

func TestLastSequenceWraps(t *testing.T) {
	for _, c := range []struct{ first, delta, want int32 }{
		{0, 0, 0}, {5, 3, 8}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 2, 5, 2},
	} {
		if got := lastSequence(c.first, c.delta); got != c.want {
			t.Errorf("lastSequence(%d, %d) = %d, want %d", c.first, c.delta, got, c.want)
		}
	}
	p := producerState{}
	p.push(0, producerBatch{first: math.MaxInt32 - 1, last: math.MaxInt32})
	if _, _, err := p.check(0, 0, 3); err != nil {
		t.Errorf("sequence 0 after the largest: %v", err)
	}
}

func TestProducerStateRoundTrip(t *testing.T) {
	p := producerState{time: 77}
	for i := range int32(9) {
		p.push(3, producerBatch{first: i * 10, last: i*10 + 9, base: record.Offset(i) * 100})
	}
	got, err := parseProducerState(p.append(nil))
	if err != nil || got != p {
		t.Errorf("got %+v, %v, want %+v", got, err, p)
	}
	for cut := range len(p.append(nil)) {
		if _, err := parseProducerState(p.append(nil)[:cut]); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("%d bytes: %v", cut, err)
		}
	}
}
