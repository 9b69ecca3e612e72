package kafka_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
)

// ask sends a request as a client does and returns the answer.
func ask(t testing.TB, conn net.Conn, in kmsg.Request) kmsg.Response {
	t.Helper()
	if err := write(conn, in); err != nil {
		t.Fatal(err)
	}
	return read(t, conn, in)
}

func write(conn net.Conn, in kmsg.Request) error {
	_, err := conn.Write(encode(in))
	return err
}

// encode returns a request as it goes over the wire, its size before it.
func encode(in kmsg.Request) []byte {
	out := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, uint16(in.Key()))
	out = binary.BigEndian.AppendUint16(out, uint16(in.GetVersion()))
	out = append(out, 0, 0, 0, 42, 0, 4, 't', 'e', 's', 't')
	if in.IsFlexible() {
		out = append(out, 0)
	}
	out = in.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

func read(t testing.TB, conn net.Conn, in kmsg.Request) kmsg.Response {
	t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatalf("answer of key %d version %d: %v", in.Key(), in.GetVersion(), err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint32(body) != 42 {
		t.Fatalf("correlation %d", binary.BigEndian.Uint32(body))
	}
	body = body[4:]
	if in.IsFlexible() && in.Key() != 18 {
		if body[0] != 0 {
			t.Fatalf("header tags %x", body[0])
		}
		body = body[1:]
	}
	out := in.ResponseKind()
	if err := out.ReadFrom(body); err != nil {
		t.Fatalf("answer of key %d version %d: %v", in.Key(), in.GetVersion(), err)
	}
	return out
}

// batch returns a batch with one record for each value.
func batch(t testing.TB, timestamp int64, values ...string) []byte {
	t.Helper()
	b := record.NewBuilder()
	for _, v := range values {
		b.Add(timestamp, []byte("key"), []byte(v), nil)
	}
	out, err := b.AppendBatch(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A walk is one node, a connection, and what is known of them while every request in every version is made.
type walk struct {
	testing.TB
	conn    net.Conn
	version int16
	topicID [16]byte
}

// topic creates a topic with two partitions and ten records at time 1000 in partition 0, and remembers its id.
func (w *walk) topic(name string) {
	w.Helper()
	create := kmsg.NewPtrCreateTopicsRequest()
	create.SetVersion(7)
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 2, 1
	create.Topics = append(create.Topics, topic)
	created := ask(w, w.conn, create).(*kmsg.CreateTopicsResponse).Topics[0]
	w.code("create the topic", created.ErrorCode, 0)
	w.topicID = created.TopicID
	var values []string
	for i := range 10 {
		values = append(values, fmt.Sprint(i))
	}
	produced := ask(w, w.conn, produceRequest(7, name, batch(w, 1000, values...))).(*kmsg.ProduceResponse)
	w.code("produce", produced.Topics[0].Partitions[0].ErrorCode, 0)
}

func produceRequest(version int16, topic string, records []byte) *kmsg.ProduceRequest {
	in := kmsg.NewPtrProduceRequest()
	in.SetVersion(version)
	in.Acks, in.TimeoutMillis = -1, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t.Partitions = append(t.Partitions, p)
	in.Topics = append(in.Topics, t)
	return in
}

func (w *walk) code(what string, got, want int16) {
	w.Helper()
	if got != want {
		w.Fatalf("version %d: %s: code %d, wanted %d", w.version, what, got, want)
	}
}

func (w *walk) want(what string, ok bool, details any) {
	w.Helper()
	if !ok {
		w.Fatalf("version %d: %s: %+v", w.version, what, details)
	}
}

// ask sends a request in the version of the walk.
func (w *walk) ask(in kmsg.Request) kmsg.Response {
	w.Helper()
	in.SetVersion(w.version)
	return ask(w, w.conn, in)
}

// Every key that ApiVersions tells is asked in every version of its range.
func TestEveryKeyInEveryVersion(t *testing.T) {
	cases := map[int16]func(*walk){
		0: walkProduce, 1: walkFetch, 2: walkListOffsets, 3: walkMetadata, 8: walkOffsetCommit, 9: walkOffsetFetch,
		10: walkFindCoordinator, 11: walkGroup, 12: walkGroup, 13: walkGroup, 14: walkGroup, 15: walkDescribeGroups,
		16: walkListGroups, 17: walkSASL, 18: walkAPIVersions, 19: walkCreateTopics, 20: walkDeleteTopics,
		21: walkDeleteRecords, 22: walkInitProducerID, 23: walkOffsetForLeaderEpoch, 32: walkDescribeConfigs,
		33: walkAlterConfigs, 36: walkSASLAuthenticate, 37: walkCreatePartitions, 42: walkDeleteGroups,
		44: walkIncrementalAlterConfigs, 47: walkOffsetDelete, 60: walkDescribeCluster,
	}
	address := node(t)
	first := kmsg.NewPtrApiVersionsRequest()
	told := ask(t, dialNode(t, address), first).(*kmsg.ApiVersionsResponse)
	if len(told.ApiKeys) != len(cases) {
		t.Errorf("%d keys are told, %d are tried", len(told.ApiKeys), len(cases))
	}
	for _, key := range told.ApiKeys {
		for version := key.MinVersion; version <= key.MaxVersion; version++ {
			if key.ApiKey == 0 && version < 3 {
				continue // told for librdkafka, not served
			}
			t.Run(fmt.Sprintf("%s/%d", kmsg.NameForKey(key.ApiKey), version), func(t *testing.T) {
				w := &walk{TB: t, conn: dialNode(t, address), version: version}
				w.topic(fmt.Sprintf("topic-%d-%d", key.ApiKey, version))
				cases[key.ApiKey](w)
			})
		}
	}
}

// name returns the topic of the walk's present key.
func (w *walk) name(key int16) string { return fmt.Sprintf("topic-%d-%d", key, w.version) }
