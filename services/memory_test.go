package services_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
)

// memoryLog is the log as a model: partitions, streams with versions, and the rules of an
// append. It says what the server promises, in a page.
type memoryLog struct {
	topics  map[string][][]client.Record
	streams map[string][]client.Event // by topic and key
	places  map[string]client.Appended
	ids     map[string]int // how often an id was stored, by topic and id
	random  *rand.Rand
}

func newMemoryLog(random *rand.Rand) *memoryLog {
	l := &memoryLog{
		topics: map[string][][]client.Record{}, streams: map[string][]client.Event{},
		places: map[string]client.Appended{}, ids: map[string]int{}, random: random,
	}
	for _, topic := range event.Topics() {
		l.topics[topic.Name] = make([][]client.Record, topic.Partitions)
	}
	return l
}

func (l *memoryLog) partition(topic, key string) int32 {
	hash := fnv.New32a()
	hash.Write([]byte(key))
	return int32(hash.Sum32() % uint32(len(l.topics[topic])))
}

// append stores events when the stream is at the expected version, or says that they are
// there already, or that there is a conflict.
func (l *memoryLog) append(topic, key string, expected client.Expected, events ...client.Event) (client.Appended, error) {
	name := topic + "/" + key
	stream := l.streams[name]
	head := int64(len(stream)) - 1
	if int64(expected) != head {
		for i, e := range events {
			at := int64(expected) + 1 + int64(i)
			if at > head || stream[at].ID != e.ID {
				return client.Appended{}, &client.ConflictError{Topic: topic, Key: key, Expected: expected, Actual: head}
			}
		}
		appended := l.places[name+"/"+events[0].ID]
		appended.Duplicate = true
		return appended, nil
	}
	p := l.partition(topic, key)
	appended := client.Appended{
		FirstVersion: head + 1, LastVersion: head + int64(len(events)), Partition: p, FirstOffset: int64(len(l.topics[topic][p])),
	}
	for i, e := range events {
		e.Version = head + 1 + int64(i)
		l.ids[topic+"/"+e.ID]++
		l.streams[name] = append(l.streams[name], e)
		l.produce(client.Record{Topic: topic, Partition: p, Key: []byte(key), Value: e.Data, Headers: headersOf(e)})
	}
	l.places[name+"/"+events[0].ID] = appended
	return appended, nil
}

// produce stores a record as it is.
func (l *memoryLog) produce(r client.Record) {
	r.Offset = int64(len(l.topics[r.Topic][r.Partition]))
	r.Time = time.UnixMilli(1_800_000_000_000 + r.Offset).UTC()
	l.topics[r.Topic][r.Partition] = append(l.topics[r.Topic][r.Partition], r)
}

func headersOf(e client.Event) []client.Header {
	headers := []client.Header{
		{Name: "ce_id", Value: []byte(e.ID)},
		{Name: "ce_specversion", Value: []byte("1.0")},
		{Name: "ce_type", Value: []byte(e.Type)},
		{Name: "ce_source", Value: []byte(e.Source)},
		{Name: "ce_subject", Value: []byte(e.Subject)},
		{Name: "ce_time", Value: []byte(e.Time.Format(time.RFC3339Nano))},
	}
	for _, a := range e.Extensions {
		headers = append(headers, client.Header{Name: "ce_" + a.Name, Value: []byte(a.Value)})
	}
	return append(headers, client.Header{Name: "content-type", Value: []byte("application/json")})
}

// Cut implements framework.Source.
func (l *memoryLog) Cut(_ context.Context, topics ...string) (client.Cut, error) {
	cut := client.Cut{}
	for _, topic := range topics {
		for partition, records := range l.topics[topic] {
			cut.Set(topic, int32(partition), int64(len(records)))
		}
	}
	return cut, nil
}

// Replay implements framework.Source: in order per partition, the partitions mixed at random.
func (l *memoryLog) Replay(_ context.Context, request client.ReplayRequest) error {
	type place struct {
		topic     string
		partition int32
	}
	var open []place
	for _, topic := range event.Topics() { // not in the order of a map: a seed gives one run
		for partition := range request.To[topic.Name] {
			open = append(open, place{topic.Name, int32(partition)})
		}
	}
	at := client.Cut{}
	for len(open) > 0 {
		i := l.random.IntN(len(open))
		p := open[i]
		offset := at.Offset(p.topic, p.partition)
		if offset >= request.To.Offset(p.topic, p.partition) {
			open = append(open[:i], open[i+1:]...)
			continue
		}
		if err := request.Visit(l.topics[p.topic][p.partition][offset]); err != nil {
			return fmt.Errorf("visit: %w", err)
		}
		at.Set(p.topic, p.partition, offset+1)
	}
	return nil
}
