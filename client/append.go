package client

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// quickBytes is how large an append may be that goes through the Kafka door.
	quickBytes = 1 << 20
	// quickTimeout is how long a node may take for it.
	quickTimeout = 10 * time.Second
	// quickPause is for how long the Kafka door is left alone after it has failed.
	quickPause = time.Second
	// mostUnseen is how many events a conflict tells of, as with HTTP.
	mostUnseen = 20
)

// A quickDoor appends through the Kafka port: what many callers append at a time goes to the node that leads the streams in one
// request, over one connection. It knows success and conflict; whatever else comes of an append is the
// HTTP door's to find out, which is asked again with the same event ids.
type quickDoor struct {
	client *Client

	mu    sync.Mutex // guards the rest
	kafka *kgo.Client
	known map[string]*streamTopic
	ways  map[int32]*way // by node
	rest  time.Time      // until then it is left alone
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
		return at, nil, false //nolint:nilerr // HTTP says what is wrong
	}
	topic := d.route(ctx, s.topic)
	if topic == nil {
		return at, nil, false
	}
	at.Partition = int32(topic.placement.Partition(&kgo.Record{Key: []byte(s.key)}, len(topic.nodes)))
	place := d.send(ctx, topic.nodes[at.Partition], &pendingAppend{
		topic: s.topic, partition: at.Partition, expected: expected, batch: batch, done: make(chan place, 1),
	})
	switch place.verdict {
	case verdictStored:
		at.FirstVersion, at.LastVersion = place.version, place.version+int64(len(events))-1
		at.FirstOffset, at.Duplicate = place.offset, place.duplicate
		return at, nil, true
	case verdictConflict:
		conflict := &ConflictError{Topic: s.topic, Key: s.key, Expected: expected, Actual: place.version}
		d.addUnseen(ctx, s, conflict)
		return at, conflict, true
	case verdictOpen:
	}
	return at, nil, false
}

// addUnseen reads what the writer has not seen. Without it the conflict is as certain.
func (d *quickDoor) addUnseen(ctx context.Context, s *Stream, conflict *ConflictError) {
	if d.client.config.WithoutUnseen || conflict.Expected < ExpectNone || conflict.Actual <= int64(conflict.Expected) {
		return
	}
	events, head, err := s.Read(ctx, ReadRequest{From: int64(conflict.Expected) + 1, Limit: mostUnseen})
	if err == nil {
		conflict.Unseen, conflict.Actual = events, max(conflict.Actual, head)
	}
}

// route returns who leads the topic's partitions, nil when that is not known.
func (d *quickDoor) route(ctx context.Context, name string) *streamTopic {
	d.mu.Lock()
	if topic := d.known[name]; topic != nil || time.Now().Before(d.rest) {
		d.mu.Unlock()
		return topic
	}
	if d.kafka == nil {
		kafka, err := d.client.kafka(kgo.RequestRetries(0))
		if err != nil {
			d.mu.Unlock()
			return nil
		}
		d.kafka, d.known, d.ways = kafka, map[string]*streamTopic{}, map[int32]*way{}
	}
	kafka := d.kafka
	d.mu.Unlock()
	topic, reached := leadersOf(ctx, kafka, name)
	if topic == nil {
		d.forget(name, !reached)
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kafka == kafka {
		d.known[name] = topic
	}
	return topic
}

// leadersOf asks the cluster for the topic's leaders; the topic is nil when not all are known.
func leadersOf(ctx context.Context, kafka *kgo.Client, name string) (topic *streamTopic, reached bool) {
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
	d.kafka, d.known, d.ways = nil, nil, nil
	d.rest = time.Now().Add(time.Hour) // HTTP tells that the client is closed
}
