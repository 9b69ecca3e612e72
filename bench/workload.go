package bench

import (
	"fmt"
	"strings"
	"time"
)

// The kinds of workloads: who runs a Config.
const (
	KindProduce   = "produce"   // one producer on a fresh topic
	KindMemory    = "memory"    // resident memory of fresh nodes, idle and loaded
	KindStart     = "start"     // start to first acknowledgement
	KindFault     = "fault"     // a leader is killed or stopped
	KindRecovery  = "recovery"  // all are killed with data on disk
	KindCatchUp   = "catch-up"  // an old topic is read
	KindAppend    = "append"    // conditional appends to streams
	KindElsewhere = "elsewhere" // run by something else; only listed
)

// A Config is a workload as data. Fields that a workload does not use are zero.
type Config struct {
	ID    string `json:"id"`    // "B1"
	Title string `json:"title"` // a few words for lists and tables
	Kind  string `json:"kind"`

	Nodes       int           `json:"nodes,omitempty"`        // processes of the cluster, and replicas
	Partitions  int           `json:"partitions,omitempty"`   // of the topic
	Records     int64         `json:"records,omitempty"`      // measured
	Warm        int64         `json:"warm,omitempty"`         // sent before the measured ones
	RecordBytes int           `json:"record_bytes,omitempty"` // of a value
	Keys        int           `json:"keys,omitempty"`         // different keys or streams; 0: no keys
	Linger      time.Duration `json:"linger_ns,omitempty"`
	Outstanding int           `json:"outstanding,omitempty"` // records in flight; 0: as many as the client's buffer holds
	Rate        int           `json:"rate,omitempty"`        // records a second, on a fixed schedule; 0: as fast as it goes
	Limit       time.Duration `json:"limit_ns,omitempty"`    // no record is sent after so long
	Clients     int           `json:"clients,omitempty"`     // that append at once
	Trials      int           `json:"trials,omitempty"`      // of one fault, or one restart, in one run
	PeerTrials  int           `json:"peer_trials,omitempty"` // the same for all but ours, which take ten times as long; 0: as many
	Pairs       int           `json:"pairs,omitempty"`       // turns of each peer, at most; 0: as many as were asked for
	DataBytes   int64         `json:"data_bytes,omitempty"`  // in the log before what is measured

	sized bool // DataBytes was asked for: Quick leaves it
}

const (
	kilobyteRecord = 1024
	// limit is how long a slow peer may take for what a fast one does in seconds.
	limit = 60 * time.Second
)

// Workloads returns all workloads in the order in which they are best run: those
// that share clusters first, and those that leave most behind last.
func Workloads() []Config {
	return []Config{
		{
			ID: "B1", Title: "bulk, 1 KB, 12 partitions, linger 5 ms", Kind: KindProduce, Nodes: 3, Partitions: 12,
			Records: 2_000_000, Warm: 200_000, RecordBytes: kilobyteRecord, Linger: 5 * time.Millisecond, Limit: limit,
		},
		{
			ID: "B1s", Title: "bulk, 100 B, 12 partitions, linger 5 ms", Kind: KindProduce, Nodes: 3, Partitions: 12,
			Records: 10_000_000, Warm: 1_000_000, RecordBytes: 100, Linger: 5 * time.Millisecond, Limit: limit,
		},
		{
			ID: "B3", Title: "no linger, 64 outstanding, 1 KB", Kind: KindProduce, Nodes: 3, Partitions: 12,
			Records: 150_000, Warm: 20_000, RecordBytes: kilobyteRecord, Outstanding: 64, Limit: limit,
		},
		{
			ID: "B4", Title: "one in flight, 1 KB", Kind: KindProduce, Nodes: 3, Partitions: 12,
			Records: 10_000, Warm: 1_000, RecordBytes: kilobyteRecord, Outstanding: 1, Limit: limit,
		},
		{
			ID: "B5", Title: "open loop at 20 MB/s, linger 5 ms", Kind: KindProduce, Nodes: 3, Partitions: 12,
			Records: 240_000, Warm: 40_000, RecordBytes: 1000, Linger: 5 * time.Millisecond, Rate: 20_000,
		},
		{
			ID: "B6", Title: "10 k keys over 100 partitions", Kind: KindProduce, Nodes: 3, Partitions: 100,
			Records: 1_000_000, Warm: 200_000, RecordBytes: kilobyteRecord, Keys: 10_000, Linger: 5 * time.Millisecond, Limit: limit,
		},
		{
			ID: "B12", Title: "catch-up read of 4 GB: memory, disk, beside a producer", Kind: KindCatchUp, Nodes: 3, Partitions: 12,
			RecordBytes: kilobyteRecord, Linger: 5 * time.Millisecond, Rate: 20_000, DataBytes: 4e9, Pairs: 2,
		},
		{
			ID: "B13", Title: "conditional appends, 64 clients, 100 k streams", Kind: KindAppend, Nodes: 3, Partitions: 12,
			Records: 200_000, RecordBytes: 300, Keys: 100_000, Clients: 64,
		},
		{
			ID: "B7", Title: "100 k keys over 1,000 partitions", Kind: KindProduce, Nodes: 3, Partitions: 1000,
			Records: 1_000_000, RecordBytes: kilobyteRecord, Keys: 100_000, Linger: 5 * time.Millisecond, Limit: limit / 3, Pairs: 2,
		},
		{
			ID: "B7w", Title: "100 k keys over 5,000 partitions", Kind: KindProduce, Nodes: 3, Partitions: 5000,
			Records: 1_000_000, RecordBytes: kilobyteRecord, Keys: 100_000, Linger: 5 * time.Millisecond, Limit: limit / 3, Pairs: 2,
		},
		{
			ID: "B8", Title: "memory: idle, after B1, 5,000 loaded partitions", Kind: KindMemory, Nodes: 3, Partitions: 5000,
			Records: 2_000_000, RecordBytes: kilobyteRecord, Keys: 100_000, Linger: 5 * time.Millisecond, Limit: limit / 3, Pairs: 1,
		},
		{ID: "B9", Title: "start to first acknowledgement, one node and three", Kind: KindStart, Nodes: 3, Partitions: 1, Trials: 1},
		{ID: "B10", Title: "kill -9 and SIGSTOP of a leader", Kind: KindFault, Nodes: 3, Partitions: 12, Trials: 10, PeerTrials: 1, Pairs: 2},
		{
			ID: "B11", Title: "all killed with much on disk, start to first acknowledgement", Kind: KindRecovery, Nodes: 3, Partitions: 12,
			RecordBytes: kilobyteRecord, Linger: 5 * time.Millisecond, DataBytes: 20e9, Trials: 5, Pairs: 1,
		},
		{ID: "B14", Title: "counts that noise cannot touch; runs in make test", Kind: KindElsewhere},
	}
}

// WorkloadsNamed returns the workloads of these ids in the order of Workloads; "all" is all of them,
// and B7 both of its sizes.
func WorkloadsNamed(ids []string) ([]Config, error) {
	known := Workloads()
	chosen := make([]bool, len(known))
	for _, id := range ids {
		found := false
		for i, config := range known {
			wide := strings.EqualFold(id, "B7") && config.ID == "B7w"
			if strings.EqualFold(id, config.ID) || strings.EqualFold(id, "all") || wide {
				chosen[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no workload %q", id)
		}
	}
	var named []Config
	for i, config := range known {
		if chosen[i] {
			named = append(named, config)
		}
	}
	return named, nil
}

// quickShare is what a quick run does of a workload: enough to see that it works.
const quickShare = 10

// turns returns how many turns each peer gets when so many were asked for.
func (c Config) turns(pairs int) int {
	if c.Pairs > 0 {
		return min(c.Pairs, pairs)
	}
	return pairs
}

// trials returns how many trials a run of a system has.
func (c Config) trials(system string) int {
	if c.PeerTrials > 0 && system != systemStela {
		return c.PeerTrials
	}
	return c.Trials
}

// Quick returns the workload cut down to seconds. Its figures are no figures.
func (c Config) Quick() Config {
	c.Records /= quickShare
	c.Warm /= quickShare
	if !c.sized {
		c.DataBytes /= quickShare
	}
	c.Limit /= quickShare / 2
	c.Trials = min(c.Trials, 2)
	return c
}

// Holding returns the workload with so many bytes in the log before what is measured, quick or not.
func (c Config) Holding(bytes int64) Config {
	c.DataBytes, c.sized = bytes, true
	return c
}
