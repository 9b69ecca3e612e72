package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sampleEvery is how often memory is looked at while something runs.
	sampleEvery = 50 * time.Millisecond
	// maxMoments bounds what a result keeps of that.
	maxMoments = 120
)

// A subject is who is measured.
type subject struct {
	nodes  []*Node // those with Metrics are asked
	pids   []int   // of the servers, one for each node
	disk   string  // the disk that holds their data, as /proc/diskstats calls it
	client func() float64
}

// A reading is all counters at one time.
type reading struct {
	at      time.Time
	cpu     machineCPU
	servers float64
	client  float64
	disk    diskCounts
	metrics map[string]float64
}

// A meter measures one part of a run. The client tells it what was acknowledged.
type meter struct {
	kernel  kernel
	subject subject
	latency *histogram

	records atomic.Int64 // acknowledged, or read
	bytes   atomic.Int64 // of their values
	errors  atomic.Int64
	peak    atomic.Int64 // resident bytes of the largest node

	before  reading
	moments []Moment // written by sample only, read after it has ended
	cancel  context.CancelFunc
	sampled sync.WaitGroup
}

func newMeter(k kernel, s subject) *meter {
	return &meter{kernel: k, subject: s, latency: newHistogram()}
}

func (m *meter) read(ctx context.Context) (reading, error) {
	metrics, err := scrape(ctx, m.subject.nodes)
	if err != nil {
		return reading{}, err
	}
	return reading{
		at: time.Now(), cpu: m.kernel.CPU(), servers: m.kernel.ProcessCPU(m.subject.pids),
		client: m.subject.client(), disk: m.kernel.Disk(m.subject.disk), metrics: metrics,
	}, nil
}

// begin starts to measure.
func (m *meter) begin(ctx context.Context) error {
	before, err := m.read(ctx)
	if err != nil {
		return err
	}
	m.before = before
	m.before.at = time.Now()
	sampling, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.sampled.Go(func() { m.sample(sampling) }) // end or abandon stops it
	return nil
}

// acknowledged counts one answer to a record of so many bytes that was meant to be sent at due.
func (m *meter) acknowledged(due time.Time, size int, err error) {
	if err != nil {
		m.errors.Add(1)
		return
	}
	m.latency.Record(time.Since(due))
	m.records.Add(1)
	m.bytes.Add(int64(size))
}

// sample follows memory and progress until ctx ends.
func (m *meter) sample(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		memory := m.kernel.LargestMemory(m.subject.pids)
		m.peak.Store(max(m.peak.Load(), memory))
		m.moments = append(m.moments, Moment{
			Seconds: time.Since(m.before.at).Seconds(), Bytes: m.bytes.Load(), MemoryMB: float64(memory) / megabyte,
		})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// abandon stops measuring; after end it does nothing.
func (m *meter) abandon() {
	if m.cancel != nil {
		m.cancel()
		m.sampled.Wait()
	}
}

// end stops measuring and returns what is known. It is called when the last answer was there.
func (m *meter) end(ctx context.Context) (Figures, error) {
	finished := time.Now()
	m.abandon()
	after, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	after.at = finished
	figures := compare(m.before, after, m.records.Load(), m.bytes.Load())
	figures[FigureErrors] = float64(m.errors.Load())
	if peak := m.peak.Load(); peak > 0 {
		figures[FigurePeakMemory] = float64(peak) / megabyte
	}
	latencyFigures(figures, m.latency.Distribution())
	return figures, nil
}

// compare computes figures of two readings and what was acknowledged between them. What the system
// does not count is left out.
func compare(before, after reading, records, bytes int64) Figures {
	seconds := after.at.Sub(before.at).Seconds()
	figures := Figures{FigureSeconds: seconds}
	if seconds > 0 {
		figures[FigureRate] = float64(records) / seconds
		figures[FigureThroughput] = float64(bytes) / megabyte / seconds
	}
	busy, total := after.cpu.busy-before.cpu.busy, after.cpu.total-before.cpu.total
	client := after.client - before.client
	if total > 0 {
		figures[FigureStolen] = (after.cpu.stolen - before.cpu.stolen) / total
	}
	if busy > 0 {
		figures[FigureClientShare] = client / busy
	}
	if servers := after.servers - before.servers; servers > 0 && after.metrics[seriesGarbage] > 0 {
		figures[FigureGarbage] = (after.metrics[seriesGarbage] - before.metrics[seriesGarbage]) / servers
	}
	if bytes == 0 {
		return figures
	}
	perGB := func(name string, seconds float64) {
		if busy > 0 {
			figures[name] = seconds / (float64(bytes) / gigabyte)
		}
	}
	perGB(FigureMachineCPU, busy)
	perGB(FigureServerCPU, after.servers-before.servers)
	perGB(FigureClientCPU, client)
	counted := func(name, series string, per float64) {
		if _, ok := after.metrics[series]; ok && per > 0 {
			figures[name] = (after.metrics[series] - before.metrics[series]) / per
		}
	}
	counted(FigureSyncs, seriesSyncs, float64(bytes)/megabyte)
	counted(FigureLogBytes, seriesLogBytes, float64(bytes))
	counted(FigureAllocations, seriesAllocations, float64(records))
	if after.disk.writtenBytes > 0 {
		figures[FigureDiskBytes] = float64(after.disk.writtenBytes-before.disk.writtenBytes) / float64(bytes)
		figures[FigureFlushes] = float64(after.disk.flushes-before.disk.flushes) / (float64(bytes) / megabyte)
	}
	return figures
}

// Timeline returns the moments, thinned out evenly. It is called after end.
func (m *meter) Timeline() []Moment { return thin(m.moments, maxMoments) }

// thin keeps at most limit of the moments, the last one among them.
func thin(moments []Moment, limit int) []Moment {
	step := (len(moments) + limit - 1) / limit
	if step <= 1 {
		return moments
	}
	var kept []Moment
	for i := (len(moments) - 1) % step; i < len(moments); i += step {
		kept = append(kept, moments[i])
	}
	return kept
}
