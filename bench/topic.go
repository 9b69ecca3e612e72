package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// adminTimeout is how long a peer may take to make thousands of partitions.
	adminTimeout = 2 * time.Minute
	// metadataMinAge lets a client learn of new topics and leaders soon.
	metadataMinAge = 100 * time.Millisecond
	// askEvery is how often a peer is asked whether it has got on.
	askEvery = 10 * time.Millisecond
)

// baseOptions are what every client of a cluster has.
func baseOptions(c *Cluster) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("stela-bench"), kgo.MetadataMinAge(metadataMinAge),
		kgo.DialTimeout(5 * time.Second),
	}
}

// connect opens a client. The caller closes it.
func connect(c *Cluster, options ...kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(append(baseOptions(c), options...)...)
	if err != nil {
		return nil, fmt.Errorf("set up a client: %w", err)
	}
	return cl, nil
}

// A topicSpec is a topic to be made.
type topicSpec struct {
	name       string
	partitions int
	replicas   int
	configs    map[string]string
}

// createTopic makes a topic and waits until each of its partitions took a record. It returns how long that took.
func createTopic(ctx context.Context, c *Cluster, spec topicSpec) (time.Duration, error) {
	cl, err := connect(c,
		kgo.DefaultProduceTopic(spec.name), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(spec.partitions+1), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	configs := map[string]*string{}
	for name, value := range spec.configs {
		configs[name] = &value
	}
	admin := kadm.NewClient(cl)
	admin.SetTimeoutMillis(int32(adminTimeout.Milliseconds()))
	began := time.Now()
	made, err := admin.CreateTopic(ctx, int32(spec.partitions), int16(spec.replicas), configs, spec.name)
	if err == nil {
		err = made.Err
	}
	if err != nil {
		return 0, fmt.Errorf("create topic %s: %w", spec.name, err)
	}
	if err := waitForLeaders(ctx, admin, spec); err != nil {
		return 0, fmt.Errorf("wait for the leaders of topic %s: %w", spec.name, err)
	}
	var answered sync.WaitGroup
	refused := make([]error, spec.partitions)
	for partition := range spec.partitions {
		answered.Add(1)
		cl.Produce(ctx, &kgo.Record{Partition: int32(partition), Value: []byte("x")}, func(_ *kgo.Record, err error) {
			refused[partition] = err
			answered.Done()
		})
	}
	answered.Wait()
	if err := errors.Join(refused...); err != nil {
		return 0, fmt.Errorf("write to each partition of topic %s: %w", spec.name, err)
	}
	return time.Since(began), nil
}

// waitForLeaders returns when every partition has a leader.
func waitForLeaders(ctx context.Context, admin *kadm.Client, spec topicSpec) error {
	for {
		metadata, err := admin.Metadata(ctx, spec.name)
		if err == nil {
			details := metadata.Topics[spec.name].Partitions
			led := 0
			for _, partition := range details {
				if partition.Leader >= 0 && partition.Err == nil {
					led++
				}
			}
			if led == spec.partitions {
				return nil
			}
		}
		if waited := pause(ctx, askEvery); waited != nil {
			return errors.Join(waited, err)
		}
	}
}

// deleteTopic removes a topic. Its files go later.
func deleteTopic(ctx context.Context, c *Cluster, name string) error {
	cl, err := connect(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	admin.SetTimeoutMillis(int32(adminTimeout.Milliseconds()))
	if _, err := admin.DeleteTopics(ctx, name); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	return nil
}

// firstAck returns when the cluster has acknowledged a record to a topic of one partition
// that is made on the way; name must be new.
func firstAck(ctx context.Context, c *Cluster, name string) error {
	return untilAck(ctx, c, func(ctx context.Context) error { return tryAck(ctx, c, name, true) })
}

// nextAck returns when the cluster has acknowledged a record to a topic that is there.
func nextAck(ctx context.Context, c *Cluster, name string) error {
	return untilAck(ctx, c, func(ctx context.Context) error { return tryAck(ctx, c, name, false) })
}

// untilAck repeats try until it succeeds.
func untilAck(ctx context.Context, c *Cluster, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ended := c.Check(); ended != nil {
			return ended
		}
		if waited := pause(ctx, askEvery/2); waited != nil {
			return fmt.Errorf("wait for an acknowledgement: %w (%w)", waited, err)
		}
	}
}

// ackTimeout bounds one attempt at an acknowledgement.
const ackTimeout = 500 * time.Millisecond

// tryAck asks with connections of its own: those of an earlier attempt back off.
func tryAck(ctx context.Context, c *Cluster, name string, create bool) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	// The client's own pause of 250 ms and more after a refusal would be what is measured.
	cl, err := connect(c, kgo.DefaultProduceTopic(name), kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return askEvery }))
	if err != nil {
		return err
	}
	defer cl.Close()
	var made error
	if create {
		// It may have been made by an attempt before; then only the record counts.
		_, made = kadm.NewClient(cl).CreateTopic(ctx, 1, int16(len(c.Nodes)), nil, name)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
		return errors.Join(err, made)
	}
	return nil
}
