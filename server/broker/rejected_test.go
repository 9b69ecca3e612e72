package broker

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// produceBytes produces a batch after change has spoilt it; the checksum is right again.
func (n *testNode) produceChanged(p *Partition, b testBatch, change func(record.Batch)) ProduceResult {
	batch, f := n.batch(b)
	change(batch)
	batch.SetCRC()
	outcome := make(chan ProduceResult, 1)
	n.Produce([]ProduceBatch{{Partition: p, Batch: batch, Frame: f, Receiver: ReceiverFunc(func(r ProduceResult) { outcome <- r })}})
	return <-outcome
}

// TestRejectedBatches checks what is refused, and that the producer's state is as before.
func TestRejectedBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1, "max.message.bytes", "2000", "message.timestamp.before.max.ms", "3600000")
		c.create("compact", 1, "cleanup.policy", "compact")
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		sequence := int32(0)
		for _, test := range []struct {
			what   string
			batch  testBatch
			change func(record.Batch)
			want   error
		}{
			{"too large", testBatch{values: []string{strings.Repeat("x", 3000)}}, func(record.Batch) {}, ErrMessageTooLarge},
			{"control", testBatch{values: []string{"x"}}, func(b record.Batch) { b[22] |= 0x20 }, ErrInvalidRecord},
			{"transactional", testBatch{values: []string{"x"}}, func(b record.Batch) { b[22] |= 0x10 }, ErrInvalidTransaction},
			{"unknown codec", testBatch{values: []string{"x"}}, func(b record.Batch) { b[22] |= 0x07 }, ErrUnsupportedCompression},
			{"more records than it says", testBatch{values: []string{"x", "y"}}, func(b record.Batch) { b[26], b[60] = 0, 1 }, ErrCorruptMessage},
			{"fewer records than it says", testBatch{values: []string{"x"}}, func(b record.Batch) { b[26], b[60] = 2, 3 }, ErrCorruptMessage},
			{"no records", testBatch{values: []string{"x"}}, func(b record.Batch) { b[60] = 0 }, ErrInvalidRecord},
			{"count and delta differ", testBatch{values: []string{"x"}}, func(b record.Batch) { b[26] = 4 }, ErrInvalidRecord},
			{"wrong bytes for the codec", testBatch{values: []string{"x"}}, func(b record.Batch) { b[22] |= 0x04 }, ErrCorruptMessage},
			{"far future", testBatch{values: []string{"x"}, time: time.Now().Add(48 * time.Hour).UnixMilli()}, func(record.Batch) {}, ErrInvalidTimestamp},
			{"far future that the header hides", testBatch{values: []string{"x"}, time: time.Now().Add(48 * time.Hour).UnixMilli()}, withMaxTimestamp(-1), ErrInvalidTimestamp},
			{"far past", testBatch{values: []string{"x"}, time: time.Now().Add(-48 * time.Hour).UnixMilli()}, withMaxTimestamp(time.Now().UnixMilli()), ErrInvalidTimestamp},
			{"the broker's time from a client", testBatch{values: []string{"x"}}, func(b record.Batch) { b[22] |= 0x08 }, ErrInvalidTimestamp},
			{"epoch without meaning", testBatch{values: []string{"x"}, epoch: -1}, func(record.Batch) {}, ErrInvalidRecord},
		} {
			test.batch.producer, test.batch.sequence = 5, sequence
			r := n.produceChanged(p, test.batch, test.change)
			wantError(t, test.what, r.Err, test.want)
			if r.BaseOffset != -1 {
				t.Errorf("%s: base offset %d", test.what, r.BaseOffset)
			}
			if at := n.mustProduce(p, testBatch{values: []string{"good"}, producer: 5, sequence: sequence}); at != record.Offset(sequence) {
				t.Errorf("after %s: offset %d, want %d", test.what, at, sequence)
			}
			sequence++
		}
		r := n.produce(n.partition("compact", 0), testBatch{values: []string{"x"}})
		wantError(t, "keyless record for a compacted topic", r.Err, ErrInvalidRecord)
		if len(r.RecordErrors) != 1 || r.RecordErrors[0].Index != 0 {
			t.Errorf("record errors %v", r.RecordErrors)
		}
	})
}

func withMaxTimestamp(at int64) func(record.Batch) {
	return func(b record.Batch) { b.SetMaxTimestamp(at) }
}

// TestWrongMaxTimestamp: what a header says of its records' times is corrected, since retention and look-ups by time go by it.
func TestWrongMaxTimestamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		at := time.Now().UnixMilli()
		for i, said := range []int64{-1, at - 5, at + 1<<40, -1} {
			codec := record.CodecNone
			if i == 3 {
				codec = record.CodecZstd
			}
			r := n.produceChanged(p, testBatch{values: []string{"a", "b", "c"}, time: at + int64(10*i), codec: codec}, withMaxTimestamp(said))
			if r.Err != nil || r.BaseOffset != record.Offset(3*i) {
				t.Fatalf("%d instead of the maximum: %+v", said, r)
			}
			latest, err := n.ListOffsets(context.Background(), p, TimestampMax)
			if want := at + int64(10*i) + 2; err != nil || latest.Offset != r.BaseOffset+2 || latest.Timestamp != want {
				t.Errorf("after a header with %d: latest %+v, %v, want offset %d at %d", said, latest, err, r.BaseOffset+2, want)
			}
		}
		found, err := n.ListOffsets(context.Background(), p, at+11)
		if err != nil || found.Offset != 4 {
			t.Errorf("by time: %+v, %v", found, err)
		}
		if got := n.read(p, 0); len(got) != 12 { // checks every checksum
			t.Errorf("read %v", got)
		}
		r := n.produceChanged(p, testBatch{values: []string{"x"}, time: -1}, withMaxTimestamp(at+1<<40))
		if latest, err := n.ListOffsets(context.Background(), p, TimestampMax); r.Err != nil || err != nil || latest.Offset != 11 {
			t.Errorf("after a record without a time: %+v, latest %+v, %v", r, latest, err)
		}
	})
}

// TestConflictLeavesSequence: a conflicting batch of an idempotent producer does not use up its sequence numbers.
func TestConflictLeavesSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		p := n.partition("es", 0)
		send := func(sequence int32, expected string) ProduceResult {
			return n.produce(p, testBatch{
				key: []byte("k"), values: []string{"x"}, producer: 4, sequence: sequence,
				headers: []record.Header{{Key: []byte(headerExpected), Value: []byte(expected)}},
			})
		}
		wantError(t, "conflict", send(0, "5").Err, ErrVersionConflict)
		if r := send(0, "none"); r.Err != nil || r.BaseOffset != 0 {
			t.Errorf("same sequence after a conflict: %+v", r)
		}
		wantError(t, "conflict", send(1, "none").Err, ErrVersionConflict)
		if r := send(1, "0"); r.Err != nil || r.BaseOffset != 1 {
			t.Errorf("same sequence after a conflict: %+v", r)
		}
	})
}

// TestBackPressure: producers wait while too much is unanswered, and are let go when the leader is none any more.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(c *testConfig) { c.settings.UnansweredBytes = 10_000 })
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.mustProduce(p, testBatch{values: []string{"x"}})
		for id := range c.nodes {
			if id != n.id {
				host := []string{"", "n1", "n2", "n3"}
				c.pipes.Block(host[n.id], host[id])
				c.pipes.Block(host[id], host[n.id])
			}
		}
		outcomes := make(chan ProduceResult, 100)
		blocked := make(chan struct{}, 1)
		go func() {
			for range 20 {
				batch, f := n.batch(testBatch{values: []string{strings.Repeat("x", 1000)}})
				n.Produce([]ProduceBatch{{Partition: p, Batch: batch, Frame: f, Receiver: ReceiverFunc(func(r ProduceResult) { outcomes <- r })}})
			}
			blocked <- struct{}{}
		}()
		synctest.Wait()
		if len(blocked) > 0 {
			t.Error("nobody was held back")
		}
		counts := map[string]int{}
		for range 20 {
			switch r := <-outcomes; {
			case r.Err == nil:
				t.Error("acknowledged without a majority")
			default:
				counts[strings.SplitN(r.Err.Error(), ":", 2)[0]]++
			}
		}
		<-blocked
		if counts[ErrNotLeader.Error()] == 0 || counts[ErrTimedOut.Error()] == 0 {
			t.Errorf("answers %v, want both definite and unknown ones", counts)
		}
		p.state.shard.mu.Lock()
		if left := p.state.shard.unanswered; left != 0 {
			t.Errorf("%d bytes unanswered in the end", left)
		}
		p.state.shard.mu.Unlock()
		c.pipes.Heal()
		m := c.leader("t", 0)
		m.mustProduce(m.partition("t", 0), testBatch{values: []string{"y"}})
	})
}

// TestManyProducersKeepOrder sends from many goroutines at once and compares what all replicas hold.
func TestManyProducersKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(c *testConfig) { c.shards = 2 })
		const partitions, producers, batches = 5, 8, 40
		c.create("t", partitions)
		done := make(chan [2]int, producers*batches)
		for producer := range producers {
			random := rand.New(rand.NewPCG(1, uint64(producer)))
			go func() {
				sequences := [partitions]int32{}
				for range batches {
					number := int32(random.IntN(partitions))
					n := c.leader("t", number)
					r := n.produce(n.partition("t", number), testBatch{
						values: []string{"a", "b", "c"}, producer: int64(producer + 1), sequence: sequences[number],
					})
					if r.Err != nil {
						t.Errorf("produce: %v", r.Err)
					}
					sequences[number] += 3
					done <- [2]int{int(number), int(r.BaseOffset)}
				}
			}()
		}
		offsets := map[int][]int{}
		for range producers * batches {
			at := <-done
			offsets[at[0]] = append(offsets[at[0]], at[1])
		}
		for number, list := range offsets {
			slices.Sort(list)
			for i, at := range list {
				if at != 3*i {
					t.Fatalf("partition %d: batch %d at offset %d", number, i, at)
				}
			}
			n := c.leader("t", int32(number))
			if got := len(n.read(n.partition("t", int32(number)), 0)); got != 3*len(list) {
				t.Errorf("partition %d: %d records, want %d", number, got, 3*len(list))
			}
		}
	})
}

// TestFramesComeBack: after everything is answered, no batch is held but by the log's tail.
func TestFramesComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		var frames []*frame.Frame
		for range 50 {
			batch, f := n.batch(testBatch{values: []string{"x"}})
			f.Retain()
			frames = append(frames, f)
			outcome := make(chan ProduceResult, 1)
			n.Produce([]ProduceBatch{{Partition: p, Batch: batch, Frame: f, Receiver: ReceiverFunc(func(r ProduceResult) { outcome <- r })}})
			<-outcome
		}
		for _, f := range frames {
			f.Release() // the last reference: one more Release panics
			func() {
				defer func() {
					if recover() == nil {
						t.Error("a batch's frame is still held")
					}
				}()
				f.Release()
			}()
		}
		result := n.Fetch(context.Background(), &FetchRequest{MaxBytes: 1, Partitions: one(p, 0)})
		result.Release()
	})
}
