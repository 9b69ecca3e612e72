package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What the client is set to, for every peer.
const (
	clientBatchBytes = 1<<20 - 1000 // Kafka's default limit for a batch, less its framing
	clientBuffer     = 20_000       // records
	// stickyBytes is after how much the client goes on to another partition when records have no key.
	stickyBytes = 1 << 16
	// recordSlab is how many records are allocated at once, and clockEvery for how many of a bulk load the clock is read once: it
	// is some microseconds old then, of latencies of milliseconds, and costs as much as the rest of what is done here.
	recordSlab = 256
	clockEvery = 8
)

// A producer is the one client that drives every peer that speaks Kafka.
type producer struct {
	kafka  *kgo.Client
	config Config
	value  []byte
	keys   [][]byte
	random *rand.Rand
	slab   []kgo.Record
}

// newProducer opens a client that writes config's records to topic. The caller closes it.
func newProducer(c *Cluster, topic string, config Config) (*producer, error) {
	options := []kgo.Opt{
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(config.Linger), kgo.ProducerBatchMaxBytes(clientBatchBytes),
		kgo.MaxBufferedRecords(clientBuffer), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if config.Keys == 0 {
		options = append(options, kgo.RecordPartitioner(kgo.UniformBytesPartitioner(stickyBytes, true, true, nil)))
	}
	cl, err := connect(c, options...)
	if err != nil {
		return nil, err
	}
	p := &producer{kafka: cl, config: config, value: make([]byte, config.RecordBytes), random: rand.New(rand.NewPCG(1, 2))}
	for i := range p.value {
		p.value[i] = byte('a' + p.random.IntN(26))
	}
	p.keys = make([][]byte, config.Keys)
	for i := range p.keys {
		p.keys[i] = fmt.Appendf(nil, "k%07d", i)
	}
	return p, nil
}

func (p *producer) Close() { p.kafka.Close() }

// record returns the next record, whose time is given so that the client does not read the clock again.
func (p *producer) record(at time.Time) *kgo.Record {
	if len(p.slab) == 0 {
		p.slab = make([]kgo.Record, recordSlab)
	}
	r := &p.slab[0]
	p.slab = p.slab[1:]
	r.Value, r.Timestamp = p.value, at
	if len(p.keys) > 0 {
		r.Key = p.keys[p.random.IntN(len(p.keys))]
	}
	return r
}

// Warm sends records that nobody measures, as fast as they go, and returns when they are acknowledged.
func (p *producer) Warm(ctx context.Context, records int64) error {
	var refused error // written by the client's one goroutine for answers, read after Flush
	for range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.kafka.Produce(ctx, p.record(time.Now()), func(_ *kgo.Record, err error) {
			if err != nil && refused == nil {
				refused = err
			}
		})
	}
	if err := p.kafka.Flush(ctx); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if refused != nil {
		return fmt.Errorf("warm up: %w", refused)
	}
	return nil
}

// Run sends the workload's records on their schedule and returns when all were
// answered. progress gets how many were sent, now and then.
func (p *producer) Run(ctx context.Context, m *meter, progress func(sent int64)) error {
	var slots chan struct{}
	if p.config.Outstanding > 0 {
		slots = make(chan struct{}, p.config.Outstanding)
	}
	plan := schedule{began: time.Now(), rate: p.config.Rate}
	bulk := p.config.Rate == 0 && slots == nil
	var due time.Time
	for i := range p.config.Records {
		if slots != nil {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !bulk || i%clockEvery == 0 {
			var err error
			if due, err = plan.wait(ctx, i); err != nil {
				return err
			}
		}
		if p.config.Limit > 0 && due.Sub(plan.began) > p.config.Limit {
			break
		}
		if i%1024 == 0 {
			progress(i)
		}
		meant := due
		p.kafka.Produce(ctx, p.record(due), func(_ *kgo.Record, err error) {
			m.acknowledged(meant, len(p.value), err)
			if slots != nil {
				<-slots
			}
		})
	}
	if err := p.kafka.Flush(ctx); err != nil {
		return fmt.Errorf("wait for the last answers: %w", err)
	}
	return nil
}
