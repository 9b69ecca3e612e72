package bench

import (
	"fmt"
	"math"
)

// A target is what one figure of ours must be, by itself or against a peer in the same run.
type target struct {
	workload string
	part     string
	figure   string
	what     string  // for the table
	peer     string  // whose figure ours is compared with; "" for none
	of       string  // a figure of the same run that ours is compared with; "" for none
	worst    bool    // the largest value counts, not the median
	atMost   bool    // smaller is better
	must     float64 // 0 for none
	reach    float64 // 0 for none
}

const (
	peerStela     = "stela"
	peerKafka     = "kafka"
	peerKafkaSync = "kafka-sync"
	peerNATS      = "nats"
	peerNATSSync  = "nats-sync"
	peerPostgres  = "postgres"
)

// targets are those that were set before the product was measured.
func targets() []target {
	return []target{
		{workload: "B1", figure: FigureThroughput, what: "MB/s", peer: peerKafka, must: 1.7, reach: 2.4},
		{workload: "B1", figure: FigureThroughput, what: "MB/s", peer: peerKafkaSync, must: 2.6, reach: 3.8},
		{workload: "B1", figure: FigureMachineCPU, what: "CPU-s/GB", atMost: true, must: 4.0, reach: 2.8},
		{workload: "B1s", figure: FigureThroughput, what: "MB/s", peer: peerKafka, must: 1.2, reach: 1.5},
		{workload: "B3", figure: FigureRate, what: "records/s", peer: peerKafka, must: 3.5, reach: 5},
		{workload: "B3", figure: FigureRate, what: "records/s", peer: peerNATSSync, must: 2},
		{workload: "B4", figure: FigureP50, what: "p50", peer: peerKafka, atMost: true, must: 1.1, reach: 1.0},
		{workload: "B4", figure: FigureP99, what: "p99", peer: peerKafka, atMost: true, must: 0.7, reach: 0.5},
		{workload: "B4", figure: FigureP999, what: "p99.9", peer: peerKafka, atMost: true, must: 0.7},
		{workload: "B5", figure: FigureP99, what: "p99", peer: peerKafka, atMost: true, must: 0.65, reach: 0.55},
		{workload: "B5", figure: FigureP999, what: "p99.9", peer: peerKafka, atMost: true, must: 0.4, reach: 0.25},
		{workload: "B6", figure: FigureThroughput, what: "MB/s", peer: peerKafka, must: 1.5, reach: 2},
		{workload: "B7", figure: FigureThroughput, what: "MB/s", peer: peerKafka, must: 5},
		{workload: "B7", figure: FigureReady, what: "usable, s", atMost: true, must: 0.5, reach: 0.2},
		{workload: "B7w", figure: FigureThroughput, what: "MB/s", peer: peerKafka, must: 120},
		{workload: "B7w", figure: FigureReady, what: "usable, s", atMost: true, must: 1.0, reach: 0.2},
		{workload: "B8", part: partIdle, figure: FigureIdleMemory, what: "MB", atMost: true, must: 40, reach: 25},
		{workload: "B8", part: partBulk, figure: FigureLoadedMemory, what: "MB", atMost: true, must: 256, reach: 160},
		{workload: "B8", part: partMany, figure: FigureLoadedMemory, what: "MB", atMost: true, must: 300, reach: 200},
		{workload: "B9", part: partOneNode, figure: FigureReady, what: "s", atMost: true, must: 0.15, reach: 0.08},
		{workload: "B9", part: partThreeNodes, figure: FigureReady, what: "s", atMost: true, must: 0.8, reach: 0.6},
		{workload: "B10", part: partKill, figure: FigureGap, what: "median, s", atMost: true, must: 0.4, reach: 0.1},
		{workload: "B10", part: partKill, figure: FigureGap, what: "worst, s", worst: true, atMost: true, must: 1.8, reach: 1.0},
		{workload: "B10", part: partStop, figure: FigureGap, what: "median, s", atMost: true, must: 1.0},
		{workload: "B10", part: partStop, figure: FigureGap, what: "worst, s", worst: true, atMost: true, must: 1.8, reach: 1.0},
		{workload: "B11", figure: FigureReady, what: "s", atMost: true, must: 1.5, reach: 1},
		{workload: "B12", part: partMemory, figure: FigureThroughput, what: "MB/s", peer: peerKafka, must: 0.9, reach: 1.1},
		{workload: "B12", part: partCold, figure: FigureThroughput, what: "MB/s of the disk's", of: FigureColdDisk, must: 0.9},
		{workload: "B12", part: partProducing, figure: FigureDisturbed, what: "p99 of its quiet value", atMost: true, must: 1.5},
		{workload: "B13", figure: FigureRate, what: "appends/s", must: 45_000, reach: 80_000},
		{workload: "B13", figure: FigureRate, what: "appends/s", peer: peerNATSSync, must: 3},
		{workload: "B13", figure: FigureRate, what: "appends/s", peer: peerPostgres, must: 2.5},
		{workload: "B13", part: partReplay, figure: FigureRate, what: "events/s", peer: peerNATS, must: 1.5},
		{workload: "B13", part: partReplay, figure: FigureRate, what: "events/s", peer: peerPostgres, reach: 1},
	}
}

// measure returns what counts for a target, and false when it was not measured.
func (t target) measure(rows []*row) (spread, bool) {
	own := findRow(rows, t.workload, t.part, peerStela)
	if own == nil {
		return spread{}, false
	}
	values := own.values(t.figure)
	switch {
	case t.peer != "":
		base := findRow(rows, t.workload, t.part, t.peer)
		if base == nil {
			return spread{}, false
		}
		values = own.ratios(t.figure, base)
	case t.of != "":
		values = values[:0]
		for _, result := range own.results {
			if of := result.Figures[t.of]; of > 0 {
				values = append(values, result.Figures[t.figure]/of)
			}
		}
	}
	s := spreadOf(values)
	return s, s.count > 0
}

// verdict says whether a value reaches what was wanted.
func (t target) verdict(s spread) string {
	value := s.median
	if t.worst {
		value = s.max
	}
	met := func(wanted float64) bool { return t.atMost && value <= wanted || !t.atMost && value >= wanted }
	switch {
	case t.must > 0 && !met(t.must):
		return fmt.Sprintf("**missed** by %s %%", number(100*math.Abs(value/t.must-1)))
	case t.reach > 0 && met(t.reach):
		return "reached, and beyond"
	case t.must == 0:
		return "not reached for"
	}
	return "reached"
}

// wanted renders a limit: a ratio against a peer, or a value.
func (t target) wanted(limit float64) string {
	if limit == 0 {
		return ""
	}
	sign := "≥ "
	if t.atMost {
		sign = "≤ "
	}
	if t.peer != "" || t.of != "" {
		return sign + multiple(limit)
	}
	return sign + number(limit)
}

func multiple(x float64) string { return number(x) + "x" }
