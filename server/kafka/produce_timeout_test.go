package kafka

import (
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/broker"
)

// undecided runs a connection whose broker decides about partition 0 at once and about no other. It returns the client's
// end, and where the results of the others can be given.
func undecided(t *testing.T) (client net.Conn, open <-chan broker.ProduceBatch) {
	t.Helper()
	s := idle(t, Limits{})
	client, end := net.Pipe()
	c := newConnection(s, &s.config.Listeners[0], end)
	batches := make(chan broker.ProduceBatch, 16)
	c.producer = &producer{
		find: func(string, int32) (*broker.Partition, int, error) { return nil, 1000, nil },
		send: func(all []broker.ProduceBatch) {
			for _, b := range all {
				if b.Frame.Release(); b.Batch.RecordCount() == 1 {
					b.Receiver.Done(broker.ProduceResult{BaseOffset: 7, LogAppendTime: -1})
					continue
				}
				batches <- b
			}
		},
	}
	c.workers.Go(c.writeProduced)
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		c.run()
	}()
	t.Cleanup(func() {
		_ = client.Close()
		<-ended
	})
	return client, batches
}

// withTimeout changes the timeout of a Produce frame of version 8.
func withTimeout(frame []byte, millis int32) []byte {
	at := 4 + headerBytes + 2 + 2 + 2 // size, header, no client id, no transactional id, acks
	binary.BigEndian.PutUint32(frame[at:], uint32(millis))
	return frame
}

func produced(t *testing.T, conn net.Conn) *kmsg.ProduceResponse {
	t.Helper()
	size := make([]byte, 4)
	answer := receive(t, conn)
	binary.BigEndian.PutUint32(size, uint32(len(answer)))
	return readProduceAnswer(t, append(size, answer...), 8)
}

// A batch that is not decided within the client's timeout is answered so; those that are keep their results,
// and what comes later disturbs nobody.
func TestProduceTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, open := undecided(t)
		decided, slow := partitionOf(0, batchOf(t, "x")), partitionOf(1, batchOf(t, "x", "y"))
		for _, test := range []struct {
			millis int32
			waits  time.Duration
		}{{700, 700 * time.Millisecond}, {-1, shortestPatience}, {0, shortestPatience}, {1 << 30, longestPatience}} {
			began := time.Now()
			if _, err := conn.Write(withTimeout(produceFrame(8, -1, decided, slow), test.millis)); err != nil {
				t.Fatal(err)
			}
			out := produced(t, conn)
			if took := time.Since(began); took != test.waits {
				t.Errorf("timeout %d ms: answered after %v, wanted %v", test.millis, took, test.waits)
			}
			first, second := out.Topics[0].Partitions[0], out.Topics[1].Partitions[0]
			if first.ErrorCode != 0 || first.BaseOffset != 7 || second.ErrorCode != kerr.RequestTimedOut.Code || second.BaseOffset != -1 {
				t.Errorf("timeout %d ms: answers %+v, %+v", test.millis, first, second)
			}
			late := <-open
			late.Receiver.Done(broker.ProduceResult{BaseOffset: 8, LogAppendTime: -1})
		}
	})
}

// Answers keep their order, and each request has its own time: the alarm of the first does not end the second.
func TestProduceTimeoutsOfManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, open := undecided(t)
		slow := partitionOf(1, batchOf(t, "x", "y"))
		began := time.Now()
		go func() {
			for _, millis := range []int32{2000, 1000, 5000, 4000} {
				if _, err := conn.Write(withTimeout(produceFrame(8, 1, slow), millis)); err != nil {
					t.Error(err)
				}
			}
		}()
		var fourth broker.ProduceBatch
		for range 4 {
			fourth = <-open
		}
		for i, want := range []struct {
			after time.Duration
			code  int16
		}{{2 * time.Second, 7}, {2 * time.Second, 7}, {5 * time.Second, 7}, {5 * time.Second, 0}} {
			out := produced(t, conn)
			if took := time.Since(began); took != want.after {
				t.Errorf("answer %d came after %v, wanted %v", i, took, want.after)
			}
			if code := out.Topics[0].Partitions[0].ErrorCode; code != want.code {
				t.Errorf("answer %d has code %d, wanted %d", i, code, want.code)
			}
			if i == 1 {
				fourth.Receiver.Done(broker.ProduceResult{BaseOffset: 9, LogAppendTime: -1})
			}
		}
	})
}
