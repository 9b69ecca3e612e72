package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// idle is a server that does not listen and has no broker.
func idle(t testing.TB, limits Limits) *Server {
	t.Helper()
	s, err := NewServer(Config{Listeners: make([]Bound, 1), Pool: frame.NewPool(64 << 20), Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fakeProduce runs one Produce frame, its size first, through a connection whose broker knows the topic "known" with
// partitions 0 to 2 and gives every batch offset 7. It returns the answers and what the broker got.
func fakeProduce(t testing.TB, s *Server, stream []byte) (answers [][]byte, batches []string, err error) {
	t.Helper()
	c := newConnection(s, &s.config.Listeners[0], &dripping{random: rand.New(rand.NewPCG(1, 1)), most: 5000, rest: stream})
	defer c.cancel()
	c.producer = &producer{
		find: func(topic string, index int32) (*broker.Partition, int, error) {
			if topic != "known" || index < 0 || index > 2 {
				return nil, 0, broker.ErrUnknownTopicOrPartition
			}
			return nil, 1000, nil
		},
		send: func(all []broker.ProduceBatch) {
			for _, b := range all {
				batches = append(batches, string(b.Batch))
				b.Frame.Release()
				b.Receiver.Done(broker.ProduceResult{BaseOffset: 7, LogAppendTime: -1})
			}
		},
	}
	for err == nil {
		var size uint32
		if size, err = c.source.size(time.Time{}); err == nil {
			err = c.request(size)
		}
	}
	for _, a := range c.pending {
		if !a.ready {
			continue // its bytes made no sense, or were not all there
		}
		out, appendErr := a.append(nil)
		if appendErr != nil && !errors.Is(appendErr, errNoAnswer) {
			t.Fatal(appendErr)
		}
		if len(out) > 0 {
			answers = append(answers, out)
		}
	}
	if s.requests.left != s.limits.TotalBytes {
		t.Fatalf("%d bytes of the budget were not given back", s.limits.TotalBytes-s.requests.left)
	}
	return answers, batches, err
}

// batchOf returns a batch of a record for each value.
func batchOf(t testing.TB, values ...string) []byte {
	t.Helper()
	b := record.NewBuilder()
	for _, value := range values {
		b.Add(1000, nil, []byte(value), nil)
	}
	out, err := b.AppendBatch(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// produceFrame returns a Produce request with its size.
func produceFrame(version, acks int16, partitions ...kmsg.ProduceRequestTopicPartition) []byte {
	in := kmsg.NewPtrProduceRequest()
	in.SetVersion(version)
	in.Acks, in.TimeoutMillis = acks, 1000
	for _, p := range partitions {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = "known"
		if p.Partition == 9 {
			topic.Topic = "unknown"
		}
		topic.Partitions = []kmsg.ProduceRequestTopicPartition{p}
		in.Topics = append(in.Topics, topic)
	}
	body := in.AppendTo(nil)
	if in.IsFlexible() {
		body = append([]byte{0}, body...)
	}
	return frameOf(keyProduce, version, 42, body)
}

func partitionOf(index int32, records []byte) kmsg.ProduceRequestTopicPartition {
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = index, records
	return p
}

func readProduceAnswer(t testing.TB, answer []byte, version int16) *kmsg.ProduceResponse {
	t.Helper()
	if size := binary.BigEndian.Uint32(answer); int(size) != len(answer)-4 {
		t.Fatalf("answer of %d bytes says %d", len(answer)-4, size)
	}
	out := kmsg.NewPtrProduceResponse()
	out.SetVersion(version)
	body := answer[8:]
	if out.IsFlexible() {
		body = body[1:]
	}
	if err := out.ReadFrom(body); err != nil {
		t.Fatalf("version %d: %v", version, err)
	}
	if again := out.AppendTo(nil); !bytes.Equal(again, body) {
		t.Fatalf("version %d: %x is not what kmsg writes, %x", version, body, again)
	}
	return out
}

func TestProduceEveryVersion(t *testing.T) {
	s := idle(t, Limits{})
	wrong := batchOf(t, "wrong crc")
	wrong[20] ^= 1
	control := batchOf(t, "control")
	control[22] |= 0x20
	record.Batch(control).SetCRC()
	old := batchOf(t, "old")
	old[16] = 1
	for version := int16(produceFirst); version <= 11; version++ {
		stream := produceFrame(version, -1,
			partitionOf(0, batchOf(t, "first")), partitionOf(9, batchOf(t, "nowhere")), partitionOf(1, wrong),
			partitionOf(2, append(batchOf(t, "two"), batchOf(t, "batches")...)), partitionOf(3, batchOf(t, "no partition")),
			partitionOf(0, nil), partitionOf(1, batchOf(t, string(make([]byte, 1000)))), partitionOf(2, batchOf(t, "last")),
			partitionOf(0, control), partitionOf(0, old))
		answers, batches, err := fakeProduce(t, s, stream)
		if !errors.Is(err, io.EOF) || len(answers) != 1 {
			t.Fatalf("version %d: %d answers, %v", version, len(answers), err)
		}
		if fmt.Sprint(batches) != fmt.Sprint([]string{string(batchOf(t, "first")), string(batchOf(t, "last"))}) {
			t.Errorf("version %d: the broker got %q", version, batches)
		}
		out := readProduceAnswer(t, answers[0], version)
		for i, want := range []*kerr.Error{
			nil, kerr.UnknownTopicOrPartition, kerr.CorruptMessage, kerr.InvalidRecord, kerr.UnknownTopicOrPartition,
			kerr.InvalidRecord, kerr.MessageTooLarge, nil, kerr.InvalidRecord, kerr.InvalidRecord,
		} {
			p := out.Topics[i].Partitions[0]
			if got := kerr.TypedErrorForCode(p.ErrorCode); got != want {
				t.Errorf("version %d partition %d: %v, wanted %v", version, i, got, want)
			}
			if (p.BaseOffset == 7) != (want == nil) || want != nil && version >= 8 && p.ErrorMessage == nil {
				t.Errorf("version %d partition %d: %+v", version, i, p)
			}
		}
	}
}

func TestProduceAcks(t *testing.T) {
	s := idle(t, Limits{})
	for _, c := range []struct {
		acks int16
		want int16 // error code; -1 for no answer
	}{{-1, 0}, {1, 0}, {0, -1}, {2, kerr.InvalidRequiredAcks.Code}, {-2, kerr.InvalidRequiredAcks.Code}} {
		answers, batches, err := fakeProduce(t, s, produceFrame(7, c.acks, partitionOf(0, batchOf(t, "one"))))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		switch {
		case c.want == -1:
			if len(answers) != 0 || len(batches) != 1 {
				t.Errorf("acks %d: %d answers, %d batches", c.acks, len(answers), len(batches))
			}
		default:
			if got := readProduceAnswer(t, answers[0], 7).Topics[0].Partitions[0].ErrorCode; got != c.want {
				t.Errorf("acks %d: code %d, wanted %d", c.acks, got, c.want)
			}
		}
	}
}

// However many requests come at once, bytes that are announced are taken from the budget only for batches that are read.
func TestProduceWithAFullBudget(t *testing.T) {
	s := idle(t, Limits{})
	stream := []byte(nil)
	for range 5 {
		stream = append(stream, produceFrame(9, -1, partitionOf(0, batchOf(t, "a")), partitionOf(1, batchOf(t, "b")))...)
	}
	s.requests.left = frame.MinMemory // room for one batch at a time: a small one holds that much, too
	s.limits.TotalBytes = s.requests.left
	answers, batches, err := fakeProduce(t, s, stream)
	if !errors.Is(err, io.EOF) || len(answers) != 5 || len(batches) != 10 {
		t.Fatalf("%d answers, %d batches, %v", len(answers), len(batches), err)
	}
}

// The frame that is read ends where its size says: batches that claim more are refused, and the next request is found.
func TestProduceFollowedByAnother(t *testing.T) {
	s := idle(t, Limits{})
	long := batchOf(t, "long")
	binary.BigEndian.PutUint32(long[8:], 5000)
	stream := append(produceFrame(7, -1, partitionOf(0, long)), produceFrame(7, -1, partitionOf(0, batchOf(t, "next")))...)
	answers, batches, err := fakeProduce(t, s, stream)
	if !errors.Is(err, io.EOF) || len(answers) != 2 || len(batches) != 1 {
		t.Fatalf("%d answers, %d batches, %v", len(answers), len(batches), err)
	}
	if got := readProduceAnswer(t, answers[0], 7).Topics[0].Partitions[0].ErrorCode; got != kerr.CorruptMessage.Code {
		t.Errorf("code %d", got)
	}
}

// FuzzProduce feeds streams that begin as Produce requests to a connection: nothing panics, the budget comes back, batches that the
// broker gets are whole, and answers are what kmsg reads.
func FuzzProduce(f *testing.F) {
	for version := int16(produceFirst); version <= 11; version++ {
		f.Add(produceFrame(version, -1, partitionOf(0, batchOf(f, "first")), partitionOf(9, nil), partitionOf(1, batchOf(f, "second"))))
	}
	s := idle(f, Limits{})
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) < 12 || binary.BigEndian.Uint16(stream[4:]) != keyProduce {
			return
		}
		version := int16(binary.BigEndian.Uint16(stream[6:]))
		// A stream that goes on as another kind of request needs a broker.
		size := binary.BigEndian.Uint32(stream)
		if uint64(size)+4 < uint64(len(stream)) {
			stream = stream[:size+4]
		}
		answers, batches, err := fakeProduce(t, s, stream)
		if err == nil {
			t.Fatal("the stream has no end")
		}
		for _, b := range batches {
			if err := record.CheckBatch([]byte(b)); err != nil {
				t.Fatalf("the broker got %x: %v", b, err)
			}
		}
		for _, a := range answers {
			readProduceAnswer(t, a, version)
		}
		if _, ok := errors.AsType[net.Error](err); ok {
			t.Fatal(err)
		}
	})
}
