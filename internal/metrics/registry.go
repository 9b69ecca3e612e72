package metrics

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// ContentType is the media type of what Registry.Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// A Kind says how a series behaves.
type Kind uint8

// The kinds of a Desc.
const (
	KindCounter Kind = iota + 1 // only grows until the process ends
	KindGauge                   // goes up and down
)

// A Desc names a family of series whose values are read when somebody scrapes.
type Desc struct {
	kind prometheus.ValueType
	desc *prometheus.Desc
}

// NewDesc returns a description. Counters' names end in _total, others' do not;
// labels are the names of the labels, in the order in which Tell gets their values.
func NewDesc(kind Kind, name, help string, labels ...string) *Desc {
	valueType := prometheus.GaugeValue
	if kind == KindCounter {
		valueType = prometheus.CounterValue
	}
	return &Desc{kind: valueType, desc: prometheus.NewDesc(name, help, labels, nil)}
}

// A Tell takes one sample. The number of label values must be that of the description's labels.
type Tell func(desc *Desc, value float64, labelValues ...string)

// A Registry holds all series of one node.
type Registry struct {
	gatherer *prometheus.Registry

	mu     sync.Mutex // guards series and reads
	series []series
	reads  []func(Tell)
}

// series is one counter, gauge or histogram with its labels' values.
type series struct {
	name   string
	labels string // names and values as registered, to find what is there twice
	desc   *prometheus.Desc
	read   func(desc *prometheus.Desc) prometheus.Metric
}

// NewRegistry returns a registry that holds the Go runtime's and the process's own series.
func NewRegistry() *Registry {
	r := &Registry{gatherer: prometheus.NewRegistry()}
	r.gatherer.MustRegister(
		// GC's share of the CPU is what a benchmark or an operator wants to know beyond the defaults.
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/cpu/classes/gc/total:`)})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector{r},
	)
	return r
}

// Counter registers and returns a counter. labels are names and values in turn.
// A nil registry returns a counter that nobody reads; so for Gauge and Histogram.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	counter := &Counter{}
	r.add(name, help, labels, func(desc *prometheus.Desc) prometheus.Metric {
		return prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(counter.Value()))
	})
	return counter
}

// Gauge registers and returns a gauge. labels are names and values in turn.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	gauge := &Gauge{}
	r.add(name, help, labels, func(desc *prometheus.Desc) prometheus.Metric {
		return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(gauge.Value()))
	})
	return gauge
}

// Histogram registers and returns a histogram of durations in seconds. labels are names and values in turn.
func (r *Registry) Histogram(name, help string, labels ...string) *Histogram {
	histogram := &Histogram{}
	r.add(name, help, labels, func(desc *prometheus.Desc) prometheus.Metric {
		sum := time.Duration(histogram.sum.Load()).Seconds()
		count, buckets := histogram.read()
		return prometheus.MustNewConstHistogram(desc, count, sum, buckets)
	})
	return histogram
}

// Observe registers a function that tells samples whenever somebody scrapes. It
// must not block, and must tell each series at most once.
func (r *Registry) Observe(read func(Tell)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads = append(r.reads, read)
}

// Write writes all series as Prometheus text.
func (r *Registry) Write(w io.Writer) error {
	families, err := r.gatherer.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}

func (r *Registry) add(name, help string, labels []string, read func(*prometheus.Desc) prometheus.Metric) {
	if r == nil {
		return
	}
	if len(labels)%2 != 0 {
		panic("BUG: metric " + name + " has a label without a value")
	}
	constant := make(prometheus.Labels, len(labels)/2)
	for i := 0; i < len(labels); i += 2 {
		constant[labels[i]] = strings.ToValidUTF8(labels[i+1], "\ufffd")
	}
	added := series{
		name:   name,
		labels: fmt.Sprint(constant),
		desc:   prometheus.NewDesc(name, help, nil, constant),
		read:   read,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.series {
		if s.name == added.name && s.labels == added.labels {
			panic("BUG: metric " + name + added.labels + " is registered twice")
		}
	}
	r.series = append(r.series, added)
}

// collector is the registry as Prometheus's library sees it. It describes nothing
// beforehand: what Observe's functions tell depends on what exists by then.
type collector struct{ registry *Registry }

// Describe implements prometheus.Collector.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.registry.mu.Lock()
	all, reads := c.registry.series, c.registry.reads
	c.registry.mu.Unlock()
	for _, s := range all {
		out <- s.read(s.desc)
	}
	tell := func(desc *Desc, value float64, labelValues ...string) {
		for i := range labelValues {
			labelValues[i] = strings.ToValidUTF8(labelValues[i], "\ufffd")
		}
		out <- prometheus.MustNewConstMetric(desc.desc, desc.kind, value, labelValues...)
	}
	for _, read := range reads {
		read(tell)
	}
}
