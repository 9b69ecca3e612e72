package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The kinds of event.
const (
	eventReady = "ready"
	eventBegin = "begin"
	eventEnd   = "end"
)

// An event is one line of output: package bench's Event.
type event struct {
	Event     string `json:"event"`
	Processes []int  `json:"processes,omitempty"`
	Part      string `json:"part,omitempty"`

	Seconds float64            `json:"seconds,omitempty"`
	Records int64              `json:"records,omitempty"`
	Bytes   int64              `json:"bytes,omitempty"`
	Errors  int64              `json:"errors,omitempty"`
	Figures map[string]float64 `json:"figures,omitempty"`
	Latency []quantile         `json:"latency,omitempty"`
}

// A quantile is one point of a latency distribution, in milliseconds.
type quantile struct {
	Q  float64 `json:"q"`
	Ms float64 `json:"ms"`
}

// events writes them.
type events struct {
	out io.Writer
}

func (e *events) write(v event) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("render an event: %w", err)
	}
	if _, err := e.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}

// quantiles returns the points that are told of a distribution in microseconds.
func quantiles(h *hdrhistogram.Histogram) []quantile {
	points := []float64{0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1}
	told := make([]quantile, len(points))
	for i, q := range points {
		told[i] = quantile{Q: q, Ms: float64(h.ValueAtQuantile(100*q)) / 1000}
	}
	return told
}
