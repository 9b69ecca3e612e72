package main

import (
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
)

// A rawLoad sends Produce requests of one shape over bare connections, so that batches, and hence
// what a node does for them, do not depend on how fast a client library happens to be.
type rawLoad struct {
	address     string
	topic       string
	partitions  int // batches of a request, one for each of the topic's first
	records     int // of a batch
	recordBytes int // of a record's value
	connections int
	inFlight    int // requests of a connection without an answer

	conns []*rawConn
	batch []byte
}

// open connects and makes every connection an idempotent producer.
func (l *rawLoad) open(t *testing.T) {
	t.Helper()
	builder := record.NewBuilder()
	for range l.records {
		builder.Add(time.Now().UnixMilli(), nil, make([]byte, l.recordBytes), nil)
	}
	var err error
	if l.batch, err = builder.AppendBatch(nil, nil); err != nil {
		t.Fatal(err)
	}
	for range l.connections {
		conn := dialRaw(t, l.address)
		in := kmsg.NewPtrInitProducerIDRequest()
		in.SetVersion(1)
		out := conn.ask(t, in).(*kmsg.InitProducerIDResponse)
		if out.ErrorCode != 0 {
			t.Fatalf("producer id: code %d", out.ErrorCode)
		}
		conn.producer = out.ProducerID
		l.conns = append(l.conns, conn)
	}
}

// run sends so many requests, divided between the connections, and returns when all are answered.
func (l *rawLoad) run(t *testing.T, requests int) {
	t.Helper()
	if l.conns == nil {
		l.open(t)
	}
	var all sync.WaitGroup
	failures := make(chan error, 2*len(l.conns))
	for i, conn := range l.conns {
		n := requests / len(l.conns)
		if i < requests%len(l.conns) {
			n++
		}
		slots := make(chan struct{}, l.inFlight)
		all.Go(func() { // ends with its last request, or with the connection
			for range n {
				slots <- struct{}{}
				if _, err := conn.Write(l.request(conn)); err != nil {
					failures <- err
					return
				}
			}
		})
		all.Go(func() { // ends with its last answer, or with the connection
			for range n {
				if err := conn.produced(); err != nil {
					failures <- err
					conn.Close()
				}
				<-slots
			}
		})
	}
	all.Wait()
	select {
	case err := <-failures:
		t.Fatalf("produce: %v", err)
	default:
	}
}

// request returns the connection's next request as it goes over the wire.
func (l *rawLoad) request(conn *rawConn) []byte {
	in := kmsg.NewPtrProduceRequest()
	in.SetVersion(7)
	in.Acks, in.TimeoutMillis = -1, int32(patience/time.Millisecond)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = l.topic
	for number := range l.partitions {
		batch := record.Batch(append([]byte(nil), l.batch...))
		endian.BigEndian.PutUint64(batch[43:], uint64(conn.producer))
		endian.BigEndian.PutUint16(batch[51:], 0)
		endian.BigEndian.PutUint32(batch[53:], uint32(conn.sequence))
		batch.SetCRC()
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Partition, partition.Records = int32(number), batch
		topic.Partitions = append(topic.Partitions, partition)
	}
	conn.sequence += int32(l.records)
	in.Topics = append(in.Topics, topic)
	return encodeRaw(in)
}

// A rawConn is a connection without a client library.
type rawConn struct {
	net.Conn
	producer int64
	sequence int32
}

func dialRaw(t *testing.T, address string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &rawConn{Conn: conn}
}

// encodeRaw returns a request of a version that is not flexible, its size before it.
func encodeRaw(in kmsg.Request) []byte {
	out := endian.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, uint16(in.Key()))
	out = endian.BigEndian.AppendUint16(out, uint16(in.GetVersion()))
	out = append(out, 0, 0, 0, 1, 0xff, 0xff)
	out = in.AppendTo(out)
	endian.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// answer reads one answer into out.
func (c *rawConn) answer(out kmsg.Response) error {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	body := make([]byte, endian.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return err
	}
	if len(body) < 4 {
		return errors.New("an answer without a header")
	}
	return out.ReadFrom(body[4:])
}

// ask sends a request of a version that is not flexible.
func (c *rawConn) ask(t *testing.T, in kmsg.Request) kmsg.Response {
	t.Helper()
	if _, err := c.Write(encodeRaw(in)); err != nil {
		t.Fatal(err)
	}
	out := in.ResponseKind()
	if err := c.answer(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// produced reads the answer to a Produce request, which must be a success.
func (c *rawConn) produced() error {
	out := kmsg.NewPtrProduceResponse()
	out.SetVersion(7)
	if err := c.answer(out); err != nil {
		return err
	}
	for i := range out.Topics {
		for _, p := range out.Topics[i].Partitions {
			if p.ErrorCode != 0 {
				return fmt.Errorf("partition %d: code %d", p.Partition, p.ErrorCode)
			}
		}
	}
	return nil
}
