package client

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// tagExpected is the tagged field of a Produce request's partition that names the version its stream is expected at, and
	// that of the answer which says where the events are (server/kafka, Produce).
	tagExpected = 21332
	// atOnce is how many requests are under way to one node. What is appended meanwhile gathers and goes in the next one.
	atOnce = 2
)

// A way leads to one node.
type way struct {
	door  *quickDoor
	kafka *kgo.Client
	node  int32

	mu       sync.Mutex // guards the rest
	waiting  []*pendingAppend
	underWay int // requests
}

// A pendingAppend is one append on its way.
type pendingAppend struct {
	topic     string
	partition int32
	expected  Expected
	batch     []byte
	done      chan place // of one place
}

// A verdict is what is certain of an append.
type verdict uint8

const (
	verdictOpen verdict = iota
	verdictStored
	verdictConflict
)

// A place is where an append went, or where the stream is that was in conflict.
type place struct {
	verdict   verdict
	version   int64
	offset    int64
	duplicate bool
}

// send has an append go to a node with the next request, and waits for what comes of it or until ctx ends.
func (d *quickDoor) send(ctx context.Context, node int32, a *pendingAppend) place {
	d.mu.Lock()
	w := d.ways[node]
	if w == nil && d.kafka != nil {
		w = &way{door: d, kafka: d.kafka, node: node}
		d.ways[node] = w
	}
	d.mu.Unlock()
	if w == nil { // closed
		return place{}
	}
	w.add(a)
	select {
	case p := <-a.done:
		return p
	case <-ctx.Done():
		return place{}
	}
}

func (w *way) add(a *pendingAppend) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, a)
	if w.underWay < atOnce {
		w.underWay++
		go w.run() // until nothing waits
	}
}

// run sends what waits until nothing does.
func (w *way) run() {
	for {
		appends := w.take()
		if appends == nil {
			return
		}
		places, reached := w.ask(appends)
		for i, a := range appends {
			a.done <- places[i]
			if places[i].verdict == verdictOpen {
				w.door.forget(a.topic, !reached)
			}
		}
	}
}

// take returns what the next request takes, nil when there is nothing.
func (w *way) take() []*pendingAppend {
	w.mu.Lock()
	defer w.mu.Unlock()
	bytes, n := 0, 0
	for n < len(w.waiting) && (n == 0 || bytes+len(w.waiting[n].batch) <= quickBytes) {
		bytes += len(w.waiting[n].batch)
		n++
	}
	if n == 0 {
		w.underWay--
		return nil
	}
	appends := w.waiting[:n:n]
	w.waiting = w.waiting[n:]
	return appends
}

// ask sends one Produce request, a batch for each append, and returns what became of each.
func (w *way) ask(appends []*pendingAppend) (places []place, reached bool) {
	places = make([]place, len(appends))
	ctx, cancel := context.WithTimeout(context.Background(), quickTimeout)
	defer cancel()
	got, err := w.kafka.Broker(int(w.node)).Request(ctx, conditionalRequest(appends))
	if err != nil {
		return places, false
	}
	answer, ok := got.(*kmsg.ProduceResponse)
	if !ok {
		return places, true
	}
	i := 0
	for _, topic := range answer.Topics { // in the order of the request
		for j := range topic.Partitions {
			partition := &topic.Partitions[j]
			if i < len(appends) && appends[i].topic == topic.Topic && appends[i].partition == partition.Partition {
				places[i] = placeOf(partition)
			}
			i++
		}
	}
	return places, true
}

// conditionalRequest is a Produce request with the versions that the batches' streams are expected at. A partition may come
// several times: the server takes them in order.
func conditionalRequest(appends []*pendingAppend) *kmsg.ProduceRequest {
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, int32(quickTimeout.Milliseconds())
	for _, a := range appends {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = a.partition, a.batch
		p.UnknownTags.Set(tagExpected, binary.BigEndian.AppendUint64(nil, uint64(a.expected)))
		if last := len(request.Topics) - 1; last >= 0 && request.Topics[last].Topic == a.topic {
			request.Topics[last].Partitions = append(request.Topics[last].Partitions, p)
			continue
		}
		request.Topics = append(request.Topics, kmsg.ProduceRequestTopic{Topic: a.topic, Partitions: []kmsg.ProduceRequestTopicPartition{p}})
	}
	return request
}

// placeOf reads what the answer says of one batch.
func placeOf(partition *kmsg.ProduceResponseTopicPartition) (p place) {
	partition.UnknownTags.Each(func(tag uint32, value []byte) {
		if tag != tagExpected || len(value) != 9 {
			return
		}
		p.version, p.duplicate, p.offset = int64(binary.BigEndian.Uint64(value)), value[8] == 1, partition.BaseOffset
		switch partition.ErrorCode {
		case 0:
			p.verdict = verdictStored
		case kerr.InvalidRecord.Code:
			p.verdict = verdictConflict
		}
	})
	return p
}
