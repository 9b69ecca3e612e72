package metrics

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func text(t *testing.T, r *Registry) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// wants checks that each line is there.
func wants(t *testing.T, got string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestSeries(t *testing.T) {
	r := NewRegistry()
	r.Counter("stela_things_total", "Things.", "kind", "a").Add(3)
	r.Counter("stela_things_total", "Things.", "kind", "b\n\xff").Add(4)
	gauge := r.Gauge("stela_open", "Open.")
	gauge.Add(5)
	gauge.Add(-2)
	h := r.Histogram("stela_wait_seconds", "Wait.")
	for _, d := range []time.Duration{-1, 0, 50 * time.Microsecond, 51 * time.Microsecond, time.Second, time.Minute} {
		h.Observe(d)
	}
	desc := NewDesc(KindGauge, "stela_read", "Read.", "topic")
	r.Observe(func(tell Tell) { tell(desc, 1.5, "t\xff") })
	got := text(t, r)
	wants(t, got,
		"# HELP stela_things_total Things.", "# TYPE stela_things_total counter",
		`stela_things_total{kind="a"} 3`, `stela_things_total{kind="b\n`+"\ufffd"+`"} 4`,
		"stela_open 3", `stela_read{topic="t`+"\ufffd"+`"} 1.5`,
		`stela_wait_seconds_bucket{le="5e-05"} 3`, `stela_wait_seconds_bucket{le="0.0001"} 4`,
		`stela_wait_seconds_bucket{le="1"} 5`, `stela_wait_seconds_bucket{le="10"} 5`,
		`stela_wait_seconds_bucket{le="+Inf"} 6`, "stela_wait_seconds_count 6", "stela_wait_seconds_sum 61.000101",
	)
	if h.Count() != 6 || gauge.Value() != 3 {
		t.Errorf("count %d, gauge %d", h.Count(), gauge.Value())
	}
}

func TestNilCountsNothing(t *testing.T) {
	var (
		r *Registry
		c *Counter
		g *Gauge
		h *Histogram
	)
	c.Add(1)
	g.Add(1)
	h.Observe(1)
	if c.Value() != 0 || g.Value() != 0 || h.Count() != 0 {
		t.Error("nil counted")
	}
	k := NewKafka(r)
	k.Request("produce").Latency.Observe(time.Second)
	k.Topic("t").ProducedBytes.Add(1)
	NewGateway(r).Route("live").Answered(200)
}

func TestMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(*Registry){
		"twice":        func(r *Registry) { r.Counter("a_total", "A."); r.Counter("a_total", "A.") },
		"same labels":  func(r *Registry) { r.Gauge("a", "A.", "x", "1"); r.Gauge("a", "A.", "x", "1") },
		"odd labels":   func(r *Registry) { r.Gauge("a", "A.", "x") },
		"a value lost": func(r *Registry) { NewKafka(r).Request("produce"); NewKafka(r) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if cause := recover(); cause == nil || !strings.HasPrefix(cause.(string), "BUG: ") {
					t.Errorf("it ended with %v", cause)
				}
			}()
			misuse(NewRegistry())
		})
	}
}

func TestKafkaTopics(t *testing.T) {
	r := NewRegistry()
	k := NewKafka(r)
	k.Topic("orders").ProducedBytes.Add(100)
	k.Topic("orders").FetchedRecords.Add(7)
	k.Topic("gone").ProducedRecords.Add(1)
	k.Keep(func(topic string) bool { return topic == "orders" })
	got := text(t, r)
	wants(t, got, `stela_kafka_request_bytes_total{request="produce",topic="orders"} 100`, `stela_kafka_records_fetched_total{topic="orders"} 7`)
	if strings.Contains(got, "gone") {
		t.Error("a deleted topic is still told")
	}
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for n := range MaxTopics/2 + 10 {
				k.Topic(fmt.Sprintf("t-%d-%d", i%3, n)).ProducedRecords.Add(1)
			}
		})
	}
	wait.Wait()
	if got := strings.Count(text(t, r), "stela_kafka_records_produced_total{"); got > MaxTopics+5 {
		t.Errorf("%d topics are told", got)
	}
	wants(t, text(t, r), fmt.Sprintf(`stela_kafka_records_produced_total{topic="(other)"} %d`, k.Topic("one more").ProducedRecords.Value()))
}

// What a scrape prints is what promtool accepts.
func TestLint(t *testing.T) {
	r := NewRegistry()
	NewKafka(r).Request("produce").Errors.Add(1)
	NewGateway(r).Route("live").Answered(200)
	problems, err := promlint.New(strings.NewReader(text(t, r))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

func BenchmarkObserve(b *testing.B) {
	h := NewRegistry().Histogram("stela_wait_seconds", "Wait.")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.Observe(700 * time.Microsecond)
		}
	})
}
