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
	// probeEvery is how long a probe waits after an acknowledgement.
	probeEvery = 5 * time.Millisecond
	// faultTimeout is how long a cluster may need to come through one fault.
	faultTimeout = 2 * time.Minute
	// calm is how long all goes well before the next fault.
	calm = 2 * time.Second
)

// A probe keeps one record in flight to one partition and knows the longest silence.
type probe struct {
	mu      sync.Mutex // guards the rest
	last    time.Time  // of an acknowledgement
	longest time.Duration
}

// heard counts an acknowledgement.
func (p *probe) heard(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest = max(p.longest, now.Sub(p.last))
	p.last = now
}

// forget begins a new trial.
func (p *probe) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest = 0
}

// silence returns the longest time without an acknowledgement, and when the last one was.
func (p *probe) silence() (time.Duration, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.longest, p.last
}

// probeOptions make the client ask again soon, so that the servers decide how long a fault lasts:
// a stopped leader keeps its connections, and only a time-out tells the client to look for another.
func probeOptions(topic string) []kgo.Opt {
	return []kgo.Opt{
		kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.ProduceRequestTimeout(300 * time.Millisecond), kgo.RequestTimeoutOverhead(100 * time.Millisecond),
		kgo.DialTimeout(time.Second),
	}
}

// A trial is the faults of one run: a cluster, a topic and a probe for each partition.
type trial struct {
	*run
	cluster *hosted
	topic   string
	admin   *kadm.Client
	probes  []*probe
}

// fault measures how long partitions are silent when the leader of one is killed or stopped.
func (r *run) fault(ctx context.Context) error {
	h, err := r.fresh(ctx)
	if err != nil {
		return err
	}
	defer h.close()
	t := &trial{run: r, cluster: h, topic: r.topicName(r.config.ID)}
	if _, err := createTopic(ctx, h.Cluster, r.spec(t.topic, r.config, len(h.Nodes))); err != nil {
		return err
	}
	cl, err := connect(h.Cluster)
	if err != nil {
		return err
	}
	defer cl.Close()
	t.admin = kadm.NewClient(cl)
	probing, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()
	for partition := range r.config.Partitions {
		p := &probe{last: time.Now()}
		t.probes = append(t.probes, p)
		own, err := connect(h.Cluster, probeOptions(t.topic)...)
		if err != nil {
			return err
		}
		probes.Go(func() { // cancel ends it
			defer own.Close()
			for probing.Err() == nil {
				if own.ProduceSync(probing, &kgo.Record{Partition: int32(partition), Value: []byte("x")}).FirstErr() == nil {
					p.heard(time.Now())
					_ = pause(probing, probeEvery) // The loop's condition sees its end.
				}
			}
		})
	}
	for range r.config.trials(r.peer.System.Name()) {
		for _, fault := range []string{partKill, partStop} {
			if err := t.once(ctx, fault); err != nil {
				return fmt.Errorf("%s a leader: %w", fault, err)
			}
		}
	}
	return nil
}

// once does one fault to the leader of the first partition and waits until the cluster is whole again.
func (t *trial) once(ctx context.Context, fault string) error {
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	t.tell("wait", 0)
	leader, err := t.whole(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, calm); err != nil {
		return err
	}
	for _, p := range t.probes {
		p.forget()
	}
	t.tell(fault, 0)
	began := time.Now()
	if fault == partKill {
		leader.Kill()
	} else {
		leader.Pause()
		defer leader.Resume()
	}
	if err := t.heardSince(ctx, began); err != nil {
		return err
	}
	var gap time.Duration
	for _, p := range t.probes {
		silence, _ := p.silence()
		gap = max(gap, silence)
	}
	leader.Resume()
	err = t.report(finding{part: fault, began: began, config: t.config, figures: Figures{FigureGap: gap.Seconds()}})
	return errors.Join(err, t.revive(ctx, leader))
}

// revive starts a node again if it has ended: one that was stopped for seconds may take that for
// a disk that hangs, or find that its session is over.
func (t *trial) revive(ctx context.Context, node *Node) error {
	select {
	case <-node.Done():
	case <-time.After(calm):
		return ctx.Err()
	}
	return node.Start(t.cluster.log)
}

// whole waits until every replica is in sync, and returns the node that leads the first partition.
func (t *trial) whole(ctx context.Context) (*Node, error) {
	for {
		leader, err := t.lead(ctx)
		if err == nil {
			return leader, nil
		}
		if waited := pause(ctx, askEvery); waited != nil {
			return nil, errors.Join(waited, err)
		}
	}
}

func (t *trial) lead(ctx context.Context) (*Node, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // A stopped node does not answer.
	defer cancel()
	metadata, err := t.admin.Metadata(ctx, t.topic)
	if err != nil {
		return nil, fmt.Errorf("ask for leaders: %w", err)
	}
	partitions := metadata.Topics[t.topic].Partitions
	for number, partition := range partitions {
		if len(partition.ISR) < len(t.cluster.Nodes) || partition.Leader < 0 {
			return nil, fmt.Errorf("partition %d has %d replicas in sync", number, len(partition.ISR))
		}
	}
	for _, node := range t.cluster.Nodes {
		if len(partitions) > 0 && node.ID == partitions[0].Leader {
			return node, nil
		}
	}
	return nil, errors.New("no node of ours leads partition 0")
}

// heardSince waits until each partition acknowledged something that was sent after a time.
func (t *trial) heardSince(ctx context.Context, since time.Time) error {
	for {
		all := true
		for _, p := range t.probes {
			_, last := p.silence()
			// What was in flight at the fault may be acknowledged by somebody; the next one counts.
			all = all && last.Sub(since) > 100*time.Millisecond
		}
		if all {
			return nil
		}
		if err := pause(ctx, askEvery); err != nil {
			return fmt.Errorf("wait until all partitions take records: %w", err)
		}
	}
}

// recovery measures restarts after all nodes were killed with data on disk.
func (r *run) recovery(ctx context.Context) error {
	if err := r.checkSpace(r.config); err != nil {
		return err
	}
	h, err := r.fresh(ctx)
	if err != nil {
		return err
	}
	defer h.close()
	topic := r.topicName(r.config.ID)
	if err := r.fill(ctx, h, topic); err != nil {
		return err
	}
	for range max(r.config.Trials, 1) {
		r.tell("kill all", 0)
		h.Kill()
		if err := h.Start(h.log); err != nil {
			return err
		}
		began := time.Now()
		if err := nextAck(ctx, h.Cluster, topic); err != nil {
			return err
		}
		err := r.report(finding{began: began, config: r.config, figures: Figures{FigureReady: time.Since(began).Seconds()}})
		if err != nil {
			return err
		}
	}
	return nil
}
