package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	bulk   = "B3"  // many records in flight
	single = "B4"  // one record in flight
	stream = "B13" // conditional appends to streams, and a replay of all
)

// The shape of the streams' popularity, as package bench has it for Stela.
const (
	zipfExponent = 1.1
	zipfOffset   = 8
)

// Latencies are counted in microseconds, from 1 to a minute, to three digits.
const (
	maxLatency = int64(time.Minute / time.Microsecond)
	digits     = 3
)

// tolerated is one of how many records may fail: a timeout is a figure, a peer that is gone is not.
const tolerated = 100

// A workload is the part of package bench's Config that is looked at here.
type workload struct {
	ID          string `json:"id"`
	Nodes       int    `json:"nodes"`        // of NATS; PostgreSQL is one
	Records     int64  `json:"records"`      // measured: acknowledged or failed
	Warm        int64  `json:"warm"`         // before these
	RecordBytes int    `json:"record_bytes"` // of a value
	Keys        int    `json:"keys"`         // streams
	Outstanding int    `json:"outstanding"`  // records in flight
	Clients     int    `json:"clients"`      // that append at once

	Limit time.Duration `json:"limit_ns"` // no record is sent after so long; 0: no limit
}

// parseWorkload returns the workload of this id as config, which is JSON or missing, changes it.
func parseWorkload(id string, config []string) (workload, error) {
	w := workload{Nodes: 3, Records: 200_000, Warm: 20_000, RecordBytes: 1024}
	switch id {
	case bulk:
		w.Outstanding = 64
	case single:
		w.Outstanding, w.Records, w.Warm = 1, 20_000, 2_000
	case stream:
		w.Clients, w.Keys, w.RecordBytes = 64, 100_000, 300
	default:
		return w, fmt.Errorf("no workload %q: use %s, %s or %s", id, bulk, single, stream)
	}
	for _, text := range config {
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			return w, fmt.Errorf("read the workload's configuration: %w", err)
		}
	}
	w.ID = id
	if id != stream {
		w.Clients = w.Outstanding
	}
	switch {
	case w.Nodes != 1 && w.Nodes != 3:
		return w, fmt.Errorf("%d nodes: use 1 or 3", w.Nodes)
	case w.Records < 1 || w.Warm < 0 || w.RecordBytes < 1 || w.Clients < 1:
		return w, fmt.Errorf("%d records after %d of %d bytes by %d clients: they must be positive", w.Records, w.Warm, w.RecordBytes, w.Clients)
	case id == stream && w.Keys < 2:
		return w, fmt.Errorf("%d streams: use 2 or more", w.Keys)
	}
	return w, nil
}

// run measures a workload and tells it event by event.
func run(ctx context.Context, p peer, dir string, w workload, told *events) error {
	if _, err := p.version(ctx); err != nil {
		return err
	}
	defer p.stop()
	if err := p.start(ctx, dir, w); err != nil {
		return err
	}
	if err := told.write(event{Event: eventReady, Processes: p.processes()}); err != nil {
		return err
	}
	warm, err := drive(ctx, p, w, w.Warm, 1)
	if err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if err := told.write(event{Event: eventBegin}); err != nil {
		return err
	}
	measured, err := drive(ctx, p, w, w.Records, 2)
	if err != nil {
		return err
	}
	if err := told.write(measured.event(w)); err != nil {
		return err
	}
	if w.ID != stream {
		return nil
	}
	return replay(ctx, p, warm.acknowledged.Load()+measured.acknowledged.Load(), told)
}

func replay(ctx context.Context, p peer, stored int64, told *events) error {
	const part = "replay"
	if err := told.write(event{Event: eventBegin, Part: part}); err != nil {
		return err
	}
	began := time.Now()
	records, bytes, err := p.replay(ctx)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	took := time.Since(began)
	if records < stored {
		return fmt.Errorf("replay: %d events came of %d that were acknowledged", records, stored)
	}
	return told.write(event{Event: eventEnd, Part: part, Seconds: took.Seconds(), Records: records, Bytes: bytes})
}

// A measurement is what the clients saw.
type measurement struct {
	left         atomic.Int64 // records that no client has begun
	acknowledged atomic.Int64
	conflicts    atomic.Int64
	errors       atomic.Int64
	began        time.Time
	took         time.Duration
	latency      *hdrhistogram.Histogram // of acknowledgements
	firstError   atomic.Pointer[error]
}

// over reports whether nothing more is to be sent.
func (m *measurement) over(limit time.Duration) bool {
	return limit > 0 && time.Since(m.began) >= limit
}

func (m *measurement) event(w workload) event {
	e := event{
		Event: eventEnd, Seconds: m.took.Seconds(), Errors: m.errors.Load(), Latency: quantiles(m.latency),
		Records: m.acknowledged.Load(), Bytes: m.acknowledged.Load() * int64(w.RecordBytes),
	}
	if w.ID == stream {
		e.Figures = map[string]float64{"conflicts": float64(m.conflicts.Load())}
	}
	return e
}

// drive lets the workload's clients, each with one request in flight, store so many
// records. A conflict is not one of them: its client goes on with another stream.
func drive(ctx context.Context, p peer, w workload, records int64, seed uint64) (*measurement, error) {
	m := &measurement{latency: hdrhistogram.New(1, maxLatency, digits)}
	m.left.Store(records)
	histograms := make([]*hdrhistogram.Histogram, w.Clients)
	var clients sync.WaitGroup
	m.began = time.Now()
	for i := range w.Clients {
		histograms[i] = hdrhistogram.New(1, maxLatency, digits)
		c := &client{peer: p, workload: w, latency: histograms[i], random: rand.New(rand.NewPCG(seed, uint64(i)))}
		clients.Go(func() { c.drive(ctx, m) })
	}
	clients.Wait()
	m.took = time.Since(m.began)
	for _, h := range histograms {
		m.latency.Merge(h)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("interrupted after %d records: %w", m.acknowledged.Load(), err)
	}
	if refused := m.errors.Load(); refused > records/tolerated {
		return nil, fmt.Errorf("%d of %d records were not acknowledged, the first because: %w", refused, records, *m.firstError.Load())
	}
	return m, nil
}

// A client has one request in flight.
type client struct {
	peer     peer
	workload workload
	latency  *hdrhistogram.Histogram
	random   *rand.Rand
}

// drive stores records until none is left or ctx ends.
func (c *client) drive(ctx context.Context, m *measurement) {
	value := make([]byte, c.workload.RecordBytes)
	for i := range value {
		value[i] = byte('a' + c.random.IntN(26))
	}
	choose := func() int { return 0 }
	if c.workload.ID == stream {
		streams := rand.NewZipf(c.random, zipfExponent, zipfOffset, uint64(c.workload.Keys-1))
		choose = func() int { return int(streams.Uint64()) }
	}
	for ctx.Err() == nil && !m.over(c.workload.Limit) && m.left.Add(-1) >= 0 {
		for conflict := true; conflict && ctx.Err() == nil; {
			conflict = c.store(ctx, m, choose(), value)
		}
	}
}

// store stores one record and counts how it went.
func (c *client) store(ctx context.Context, m *measurement, to int, value []byte) (conflict bool) {
	sent := time.Now()
	conflict, err := c.peer.store(ctx, to, value)
	took := time.Since(sent)
	switch {
	case err != nil:
		m.errors.Add(1)
		m.firstError.CompareAndSwap(nil, &err)
		return false
	case conflict:
		m.conflicts.Add(1)
		return true
	}
	m.acknowledged.Add(1)
	_ = c.latency.RecordValue(min(max(took.Microseconds(), 1), maxLatency)) // which is in range
	return false
}
