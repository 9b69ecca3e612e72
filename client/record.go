package client

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Header is one name and value beside a record. Names may repeat.
type Header struct {
	Name  string
	Value []byte
}

// A Record is one record of a topic. Partition, Offset and LeaderEpoch are the
// server's: they are set on records that were stored or read.
type Record struct {
	Topic       string
	Partition   int32
	Offset      int64
	LeaderEpoch int32
	Key         []byte // nil for none; names the stream on topics with eventstore.enable
	Value       []byte // nil for none
	Headers     []Header
	Time        time.Time // the producer's, to the millisecond, unless the topic says otherwise; zero: now
}

// Header returns the value of the first header of that name.
func (r *Record) Header(name string) ([]byte, bool) {
	for i := range r.Headers {
		if r.Headers[i].Name == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

func (r *Record) toKafka() *kgo.Record {
	k := &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Time}
	for _, h := range r.Headers {
		k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return k
}

func fromKafka(k *kgo.Record) Record {
	r := Record{
		Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, LeaderEpoch: k.LeaderEpoch,
		Key: k.Key, Value: k.Value, Time: k.Timestamp,
	}
	if len(k.Headers) > 0 {
		r.Headers = make([]Header, len(k.Headers))
		for i, h := range k.Headers {
			r.Headers[i] = Header{Name: h.Key, Value: h.Value}
		}
	}
	return r
}
