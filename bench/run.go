package bench

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"time"
)

// A run is one turn of one peer at one workload.
type run struct {
	*bench
	config Config
	peer   *Peer
	pair   int
}

// ownCluster reports whether a kind of workload starts and ends clusters of its own.
func ownCluster(kind string) bool {
	switch kind {
	case KindMemory, KindStart, KindFault, KindRecovery:
		return true
	}
	return false
}

func (r *run) run(ctx context.Context) error {
	if r.peer.Program != nil {
		return r.program(ctx)
	}
	switch r.config.Kind {
	case KindProduce:
		return r.produce(ctx)
	case KindCatchUp:
		return r.catchUp(ctx)
	case KindAppend:
		return r.appendEvents(ctx)
	case KindMemory:
		return r.memory(ctx)
	case KindStart:
		return r.start(ctx)
	case KindFault:
		return r.fault(ctx)
	case KindRecovery:
		return r.recovery(ctx)
	}
	return fmt.Errorf("workload %s: nothing runs the kind %q", r.config.ID, r.config.Kind)
}

func (r *run) tell(phase string, done float64) {
	if r.Progress != nil {
		r.Progress(Progress{
			Workload: r.config.ID, Peer: r.peer.Name, Pair: r.pair, Pairs: r.config.turns(r.Pairs), Phase: phase, Done: min(done, 1),
		})
	}
}

// topicName returns a name that no topic has.
func (r *run) topicName(what string) string {
	r.serial++
	return fmt.Sprintf("%s-%s-%d-%d", what, r.peer.Name, time.Now().Unix(), r.serial)
}

// deleteDelay is how long a removed topic's files stay, in milliseconds: with the usual
// minute the runs of a minute would have to fit on the disk.
const deleteDelay = "1000"

// spec is a topic of the peer for config.
func (r *run) spec(name string, config Config, replicas int) topicSpec {
	configs := map[string]string{"file.delete.delay.ms": deleteDelay}
	maps.Copy(configs, r.peer.TopicConfigs)
	return topicSpec{name: name, partitions: config.Partitions, replicas: replicas, configs: configs}
}

// A finding is what one part of a run found out.
type finding struct {
	part     string
	began    time.Time
	config   Config
	figures  Figures
	latency  []Quantile
	timeline []Moment
}

// report writes a finding as a result.
func (r *run) report(f finding) error {
	return r.finish(Result{
		Workload: r.config.ID, Part: f.part, Peer: r.peer.Name, Version: r.versions[r.peer.Name], Pair: r.pair,
		Quick: r.Quick, Began: f.began.UTC().Truncate(time.Millisecond), Config: f.config,
		Figures: f.figures, Latency: f.latency, Timeline: f.timeline,
	})
}

// subject is the cluster and this process, in which the client runs.
func (r *run) subject(c *Cluster) subject {
	return subject{nodes: c.Nodes, pids: c.processes(), disk: r.disk, client: ownCPU}
}

// produce runs one producer on a fresh topic of the long-lived cluster.
func (r *run) produce(ctx context.Context) error {
	h, err := r.cluster(ctx)
	if err != nil {
		return err
	}
	f, err := r.produceOn(ctx, h.Cluster, r.config)
	if err != nil {
		return err
	}
	if h.idle > 0 {
		f.figures[FigureIdleMemory] = float64(h.idle) / megabyte
	}
	return r.report(f)
}

// produceOn measures one producer on a fresh topic, which is removed afterwards.
func (r *run) produceOn(ctx context.Context, c *Cluster, config Config) (finding, error) {
	f := finding{config: config}
	if err := r.checkSpace(config); err != nil {
		return f, err
	}
	if err := r.settle(ctx); err != nil {
		return f, err
	}
	topic := r.topicName(config.ID)
	ready, err := createTopic(ctx, c, r.spec(topic, config, len(c.Nodes)))
	if err != nil {
		return f, err
	}
	p, err := newProducer(c, topic, config)
	if err != nil {
		return f, err
	}
	defer p.Close()
	r.tell("warm up", 0)
	if err := p.Warm(ctx, max(config.Warm, 1)); err != nil {
		return f, err
	}
	m := newMeter(r.kernel, r.subject(c))
	f.began = time.Now()
	if err := m.begin(ctx); err != nil {
		return f, err
	}
	defer m.abandon()
	err = p.Run(ctx, m, func(sent int64) { r.tell("measure", float64(sent)/float64(config.Records)) })
	if err != nil {
		return f, err
	}
	if f.figures, err = m.end(ctx); err != nil {
		return f, err
	}
	if err := c.Check(); err != nil {
		return f, err
	}
	f.latency, f.timeline = m.latency.Distribution(), m.Timeline()
	f.figures[FigureReady] = ready.Seconds()
	if memory := r.kernel.LargestMemory(c.processes()); memory > 0 {
		f.figures[FigureLoadedMemory] = float64(memory) / megabyte
	}
	return f, deleteTopic(ctx, c, topic)
}

const (
	// settledBytes is how much of the page cache may be unwritten when a run begins.
	settledBytes = 32_000_000
	// settleLimit is how long a run waits for what others left to the disk.
	settleLimit = time.Minute
	// settleEvery is how often it looks.
	settleEvery = 100 * time.Millisecond
)

// settle waits until what the run before left in the page cache is on the disk, so that nobody
// pays for another.
func (r *run) settle(ctx context.Context) error {
	r.tell("settle", 0)
	// Where there is no such command the kernel does it by itself, later.
	_ = exec.CommandContext(ctx, "sync").Run()
	for deadline := time.Now().Add(settleLimit); r.kernel.Unwritten() > settledBytes && time.Now().Before(deadline); {
		if err := pause(ctx, settleEvery); err != nil {
			return err
		}
	}
	return ctx.Err()
}

const (
	// spareBytes is what must be free on the disk beyond what a run writes.
	spareBytes = 4e9
	// roomFactor is how much more room than the records a copy of them may take.
	roomFactor = 1.05
)

// checkSpace refuses a run that would fill the disk.
func (r *run) checkSpace(config Config) error {
	needed := roomFactor*float64(config.Nodes)*float64((config.Records+config.Warm)*int64(config.RecordBytes)+config.DataBytes) + spareBytes
	if free := freeBytes(r.Data); free > 0 && float64(free) < needed {
		return fmt.Errorf("%s has %.1f GB free and %s needs %.1f; give another folder with --data", r.Data, float64(free)/gigabyte, config.ID, needed/gigabyte)
	}
	return nil
}
