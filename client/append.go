package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// tagExpected is the tagged field of a Produce request's partition that names the version its stream is expected at, and
	// that of the answer which says where the events are (server/kafka, Produce).
	tagExpected = 21332
	// quickBytes is how large an append may be that goes through the Kafka door.
	quickBytes = 1 << 20
	// quickTimeout is how long a node may take for it.
	quickTimeout = 10 * time.Second
	// quickPause is for how long the Kafka door is left alone after it has failed.
	quickPause = time.Second
	// mostUnseen is how many events a conflict tells of, as with HTTP.
	mostUnseen = 20
)

// A quickDoor appends through the Kafka port: one connection for each node carries all appends, many at a
// time, to the node that leads the stream. It knows success and conflict; whatever else comes of an append is the
// HTTP door's to find out, which is asked again with the same event ids.
type quickDoor struct {
	client *Client

	mu    sync.Mutex // guards the rest
	kafka *kgo.Client
	known map[string]*streamTopic
	rest  time.Time // until then it is left alone
}

// A streamTopic is which node leads each partition, as of the last answer about it.
type streamTopic struct {
	nodes     []int32
	placement kgo.TopicPartitioner
}

// append stores the events or finds a conflict. told is false when neither is certain.
func (d *quickDoor) append(ctx context.Context, s *Stream, expected Expected, events []Event) (at Appended, conflict *ConflictError, told bool) {
	batch, err := encodeBatch(s.key, events, time.Now())
	if err != nil || len(batch) > quickBytes {
		return at, nil, false // HTTP says what is wrong
	}
	kafka, topic := d.route(ctx, s.topic)
	if topic == nil {
		return at, nil, false
	}
	at.Partition = int32(topic.placement.Partition(&kgo.Record{Key: []byte(s.key)}, len(topic.nodes)))
	got, err := kafka.Broker(int(topic.nodes[at.Partition])).Request(ctx, conditionalRequest(s.topic, at.Partition, expected, batch))
	if err != nil {
		d.forget(s.topic, true)
		return at, nil, false
	}
	answer, ok := got.(*kmsg.ProduceResponse)
	if !ok || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return at, nil, false
	}
	partition := &answer.Topics[0].Partitions[0]
	version, duplicate, found := placeOf(&partition.UnknownTags)
	switch {
	case found && partition.ErrorCode == 0:
		at.FirstVersion, at.LastVersion = version, version+int64(len(events))-1
		at.FirstOffset, at.Duplicate = partition.BaseOffset, duplicate
		return at, nil, true
	case found && partition.ErrorCode == kerr.InvalidRecord.Code:
		conflict := &ConflictError{Topic: s.topic, Key: s.key, Expected: expected, Actual: version}
		d.addUnseen(ctx, s, conflict)
		return at, conflict, true
	}
	d.forget(s.topic, false)
	return at, nil, false
}

// addUnseen reads what the writer has not seen. Without it the conflict is as certain.
func (d *quickDoor) addUnseen(ctx context.Context, s *Stream, conflict *ConflictError) {
	if conflict.Expected < ExpectNone || conflict.Actual <= int64(conflict.Expected) {
		return
	}
	events, head, err := s.Read(ctx, ReadRequest{From: int64(conflict.Expected) + 1, Limit: mostUnseen})
	if err == nil {
		conflict.Unseen, conflict.Actual = events, max(conflict.Actual, head)
	}
}

// route returns who leads the topic's partitions, nil when that is not known.
func (d *quickDoor) route(ctx context.Context, name string) (*kgo.Client, *streamTopic) {
	d.mu.Lock()
	if time.Now().Before(d.rest) {
		d.mu.Unlock()
		return nil, nil
	}
	if d.kafka == nil {
		kafka, err := d.client.kafka(kgo.RequestRetries(0))
		if err != nil {
			d.mu.Unlock()
			return nil, nil
		}
		d.kafka, d.known = kafka, map[string]*streamTopic{}
	}
	kafka, topic := d.kafka, d.known[name]
	d.mu.Unlock()
	if topic != nil {
		return kafka, topic
	}
	topic, reached := ask(ctx, kafka, name)
	if topic == nil {
		d.forget(name, !reached)
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kafka == kafka {
		d.known[name] = topic
	}
	return kafka, topic
}

// ask asks the cluster for the topic's leaders; the topic is nil when not all are known.
func ask(ctx context.Context, kafka *kgo.Client, name string) (topic *streamTopic, reached bool) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	answer, err := request.RequestWith(ctx, kafka)
	if err != nil {
		return nil, false
	}
	if len(answer.Topics) != 1 || answer.Topics[0].ErrorCode != 0 || len(answer.Topics[0].Partitions) == 0 {
		return nil, true
	}
	partitions := answer.Topics[0].Partitions
	topic = &streamTopic{nodes: make([]int32, len(partitions)), placement: kgo.StickyKeyPartitioner(nil).ForTopic(name)}
	for _, p := range partitions {
		if p.Leader < 0 || int(p.Partition) >= len(partitions) || p.Partition < 0 {
			return nil, true
		}
		topic.nodes[p.Partition] = p.Leader
	}
	return topic, true
}

// forget has the topic's leaders asked for again, and leaves the door alone for a while if it failed.
func (d *quickDoor) forget(name string, failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, name)
	if failed {
		d.rest = time.Now().Add(quickPause)
	}
}

func (d *quickDoor) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kafka != nil {
		d.kafka.Close()
	}
	d.kafka, d.known = nil, nil
	d.rest = time.Now().Add(time.Hour) // HTTP tells that the client is closed
}

// conditionalRequest is a Produce request with one batch and the version that its stream is expected at.
func conditionalRequest(topic string, partition int32, expected Expected, batch []byte) *kmsg.ProduceRequest {
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	p.UnknownTags.Set(tagExpected, binary.BigEndian.AppendUint64(nil, uint64(expected)))
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, int32(quickTimeout.Milliseconds())
	request.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
	return request
}

// placeOf reads the answer's tagged field.
func placeOf(tags *kmsg.Tags) (version int64, duplicate, found bool) {
	tags.Each(func(tag uint32, value []byte) {
		if tag == tagExpected && len(value) == 9 {
			version, duplicate, found = int64(binary.BigEndian.Uint64(value)), value[8] == 1, true
		}
	})
	return version, duplicate, found
}

const (
	batchHeaderBytes = 61
	batchCRCFrom     = 21 // a batch's checksum covers what follows it
)

// encodeBatch returns the events as one record batch (KIP-98, format 2) whose records have the headers that the HTTP door
// gives them: the CloudEvents binding for Kafka, binary mode.
func encodeBatch(key string, events []Event, now time.Time) ([]byte, error) {
	b := make([]byte, batchHeaderBytes, batchHeaderBytes+len(events)*256)
	first := events[0].Time
	if first.IsZero() {
		first = now
	}
	newest := first
	var record []byte
	for i := range events {
		e := &events[i]
		if err := e.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(events[:i], func(earlier Event) bool { return earlier.ID == e.ID }) {
			return nil, fmt.Errorf("event %d has the id of an earlier one", i)
		}
		at := e.Time
		if at.IsZero() {
			at = now
		}
		if at.After(newest) {
			newest = at
		}
		record = appendRecord(record[:0], at.UnixMilli()-first.UnixMilli(), int64(i), key, e)
		b = append(binary.AppendVarint(b, int64(len(record))), record...)
	}
	const format, noProducer = 2, ^uint64(0)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = format
	binary.BigEndian.PutUint32(b[23:], uint32(len(events)-1))
	binary.BigEndian.PutUint64(b[27:], uint64(first.UnixMilli()))
	binary.BigEndian.PutUint64(b[35:], uint64(newest.UnixMilli()))
	binary.BigEndian.PutUint64(b[43:], noProducer)
	binary.BigEndian.PutUint16(b[51:], uint16(noProducer&0xffff))
	binary.BigEndian.PutUint32(b[53:], uint32(noProducer&0xffffffff))
	binary.BigEndian.PutUint32(b[57:], uint32(len(events)))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[batchCRCFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return b, nil
}

// appendRecord appends one record without its length.
func appendRecord(b []byte, timeDelta, offsetDelta int64, key string, e *Event) []byte {
	headers := append(make([]Attribute, 0, 8), Attribute{"ce_id", e.ID}, Attribute{"ce_specversion", "1.0"},
		Attribute{"ce_type", e.Type}, Attribute{"ce_source", e.Source})
	if e.Subject != "" {
		headers = append(headers, Attribute{"ce_subject", e.Subject})
	}
	if !e.Time.IsZero() {
		headers = append(headers, Attribute{"ce_time", e.Time.UTC().Format(time.RFC3339Nano)})
	}
	for _, a := range e.Extensions {
		headers = append(headers, Attribute{"ce_" + a.Name, a.Value})
	}
	headers = append(headers, Attribute{"content-type", e.contentType()})
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendText(b, key)
	b = append(binary.AppendVarint(b, int64(len(e.Data))), e.Data...)
	b = binary.AppendVarint(b, int64(len(headers)))
	for _, h := range headers {
		b = appendText(appendText(b, h.Name), h.Value)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendVarint(b, int64(len(text))), text...)
}
