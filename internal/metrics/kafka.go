package metrics

import (
	"sync"
	"sync/atomic"
)

// Kafka is what the Kafka front counts.
type Kafka struct {
	Connections         *Gauge   // open now
	ConnectionsAccepted *Counter // since the start
	ConnectionsRefused  *Counter // over a limit
	ReceivedBytes       *Counter // all requests, framing included
	SentBytes           *Counter // all answers, framing included

	registry *Registry
	topics   sync.Map     // topic name → *KafkaTopic
	count    atomic.Int64 // entries of topics; written by Topic and Keep
}

// KafkaRequest is what is counted for one kind of request.
type KafkaRequest struct {
	Latency *Histogram // from the last byte read to the answer handed to the connection's writer
	Errors  *Counter   // answers that carry any error code, and requests that closed their connection
}

// KafkaTopic is what is counted for one topic.
type KafkaTopic struct {
	ProducedBytes, ProducedRecords *Counter // acknowledged
	FetchedBytes, FetchedRecords   *Counter // handed to consumers
}

// MaxTopics is how many topics are counted one by one; what happens on others counts under the name "(other)".
const MaxTopics = 10_000

const others = "(other)" // not a legal topic name

// NewKafka registers the front's series; the registry may be nil.
func NewKafka(registry *Registry) *Kafka {
	k := &Kafka{
		Connections: registry.Gauge("stela_kafka_connections",
			"Kafka connections that are open."),
		ConnectionsAccepted: registry.Counter("stela_kafka_connections_accepted_total",
			"Kafka connections accepted."),
		ConnectionsRefused: registry.Counter("stela_kafka_connections_refused_total",
			"Kafka connections closed at once because of a connection limit."),
		ReceivedBytes: registry.Counter("stela_kafka_received_bytes_total",
			"Bytes of all Kafka requests."),
		SentBytes: registry.Counter("stela_kafka_sent_bytes_total",
			"Bytes of all Kafka answers."),
		registry: registry,
	}
	registry.Observe(k.tellTopics())
	return k
}

// Request registers the series of one kind of request, named in lower case, such
// as "produce". It must be called once per name.
func (k *Kafka) Request(name string) *KafkaRequest {
	return &KafkaRequest{
		Latency: k.registry.Histogram("stela_kafka_request_latency_seconds",
			"Time from a request's last byte to its answer.", "request", name),
		Errors: k.registry.Counter("stela_kafka_request_errors_total",
			"Requests whose answer carries an error.", "request", name),
	}
}

// Topic returns the counters of a topic, making them when they are not there.
// Topics must exist: names from requests that found no topic must not come here.
func (k *Kafka) Topic(name string) *KafkaTopic {
	if topic, ok := k.topics.Load(name); ok {
		return topic.(*KafkaTopic)
	}
	if k.count.Load() >= MaxTopics {
		name = others
	}
	fresh := &KafkaTopic{
		ProducedBytes: &Counter{}, ProducedRecords: &Counter{},
		FetchedBytes: &Counter{}, FetchedRecords: &Counter{},
	}
	topic, loaded := k.topics.LoadOrStore(name, fresh)
	if !loaded {
		k.count.Add(1)
	}
	return topic.(*KafkaTopic)
}

// Keep drops the counters of topics for which exists reports false.
func (k *Kafka) Keep(exists func(topic string) bool) {
	k.topics.Range(func(name, _ any) bool {
		if name != others && !exists(name.(string)) {
			if _, there := k.topics.LoadAndDelete(name); there {
				k.count.Add(-1)
			}
		}
		return true
	})
}

func (k *Kafka) tellTopics() func(Tell) {
	bytes := NewDesc(KindCounter, "stela_kafka_request_bytes_total",
		"Bytes of record batches acknowledged (produce) and handed out (consume).", "topic", "request")
	produced := NewDesc(KindCounter, "stela_kafka_records_produced_total",
		"Records acknowledged.", "topic")
	fetched := NewDesc(KindCounter, "stela_kafka_records_fetched_total",
		"Records handed to consumers.", "topic")
	return func(tell Tell) {
		k.topics.Range(func(name, value any) bool {
			topic := value.(*KafkaTopic)
			tell(bytes, float64(topic.ProducedBytes.Value()), name.(string), "produce")
			tell(bytes, float64(topic.FetchedBytes.Value()), name.(string), "consume")
			tell(produced, float64(topic.ProducedRecords.Value()), name.(string))
			tell(fetched, float64(topic.FetchedRecords.Value()), name.(string))
			return true
		})
	}
}
