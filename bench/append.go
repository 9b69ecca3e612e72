package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stela-db/stela/client"
)

// How streams are chosen: few get most of the appends (Zipf's law).
const (
	zipfSkew   = 1.1
	zipfOffset = 8
)

// An appender drives conditional appends over HTTP: clients that each have one in flight.
type appender struct {
	doors    []*client.Client // one for each node, which it asks first
	topic    string
	config   Config
	data     []byte
	versions []atomic.Int64 // by stream, one more than the newest version that a client here knows of
	appended atomic.Int64
	refused  atomic.Int64 // somebody was faster
}

func newAppender(c *Cluster, topic string, config Config) (*appender, error) {
	a := &appender{topic: topic, config: config, versions: make([]atomic.Int64, config.Keys)}
	// The events' data is JSON: a text of as many letters as fit.
	a.data = slices.Concat([]byte(`"`), bytes.Repeat([]byte("e"), max(config.RecordBytes-2, 0)), []byte(`"`))
	for i := range c.HTTP {
		door, err := client.New(client.Config{Brokers: c.Brokers, HTTP: slices.Concat(c.HTTP[i:], c.HTTP[:i]), WithoutUnseen: true})
		if err != nil {
			return nil, err
		}
		a.doors = append(a.doors, door)
	}
	return a, nil
}

func (a *appender) Close() {
	for _, door := range a.doors {
		door.Close()
	}
}

// Run lets all clients append until together they have done as often as the workload says.
func (a *appender) Run(ctx context.Context, m *meter, progress func(done int64)) error {
	var left atomic.Int64
	left.Store(a.config.Records)
	failures := make([]error, a.config.Clients)
	var clients sync.WaitGroup
	for number := range a.config.Clients {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(number)))
			streams := rand.NewZipf(random, zipfSkew, zipfOffset, uint64(a.config.Keys-1))
			for {
				rest := left.Add(-1)
				if rest < 0 {
					return
				}
				if number == 0 {
					progress(a.config.Records - rest)
				}
				if failures[number] = a.append(ctx, m, number, int(streams.Uint64())); failures[number] != nil {
					return
				}
			}
		})
	}
	clients.Wait()
	return errors.Join(failures...)
}

// append adds one event to a stream, on the condition that nobody added one since.
func (a *appender) append(ctx context.Context, m *meter, number, stream int) error {
	expected := client.ExpectNone
	known := a.versions[stream].Load()
	if known > 0 {
		expected = client.Expected(known - 1)
	}
	event := client.Event{
		ID: strconv.Itoa(number) + "-" + strconv.FormatInt(a.appended.Add(1), 10), Type: "bench.event", Source: "/bench", Data: a.data,
	}
	due := time.Now()
	got, err := a.doors[number%len(a.doors)].Stream(a.topic, "s"+strconv.Itoa(stream)).Append(ctx, expected, event)
	if conflict, ok := errors.AsType[*client.ConflictError](err); ok {
		a.refused.Add(1)
		a.learn(stream, conflict.Actual+1)
		return nil
	}
	if err != nil {
		return fmt.Errorf("append to stream %d: %w", stream, err)
	}
	m.acknowledged(due, len(a.data), nil)
	a.learn(stream, got.LastVersion+1)
	return nil
}

// learn remembers the newest version of a stream.
func (a *appender) learn(stream int, next int64) {
	for {
		known := a.versions[stream].Load()
		if known >= next || a.versions[stream].CompareAndSwap(known, next) {
			return
		}
	}
}

// appendEvents measures conditional appends and then the replay of all events.
func (r *run) appendEvents(ctx context.Context) error {
	h, err := r.cluster(ctx)
	if err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	topic := r.topicName(r.config.ID)
	spec := r.spec(topic, r.config, len(h.Nodes))
	spec.configs["eventstore.enable"] = "true"
	if _, err := createTopic(ctx, h.Cluster, spec); err != nil {
		return err
	}
	a, err := newAppender(h.Cluster, topic, r.config)
	if err != nil {
		return err
	}
	defer a.Close()
	m := newMeter(r.kernel, r.subject(h.Cluster))
	began := time.Now()
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.abandon()
	err = a.Run(ctx, m, func(done int64) { r.tell("append", float64(done)/float64(r.config.Records)) })
	if err != nil {
		return err
	}
	figures, err := m.end(ctx)
	if err != nil {
		return err
	}
	figures[FigureConflicts] = float64(a.refused.Load())
	err = r.report(finding{
		part: partAppend, began: began, config: r.config, figures: figures, latency: m.latency.Distribution(), timeline: m.Timeline(),
	})
	if err != nil {
		return err
	}
	if err := r.read(ctx, h.Cluster, topic, partReplay); err != nil {
		return err
	}
	return deleteTopic(ctx, h.Cluster, topic)
}
