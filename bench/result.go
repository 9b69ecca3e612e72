package bench

import "time"

// A Result is one run of one workload against one peer: one line of results.jsonl.
type Result struct {
	Workload string    `json:"workload"`       // a Config's ID, "B1"
	Part     string    `json:"part,omitempty"` // for workloads with several figures of the same name: "kill", "1000 partitions"
	Peer     string    `json:"peer"`
	Version  string    `json:"version"`
	Pair     int       `json:"pair"` // from 1; runs of one pair were side by side
	Quick    bool      `json:"quick,omitempty"`
	Began    time.Time `json:"began"`
	Config   Config    `json:"config"`

	Figures  Figures    `json:"figures,omitempty"`
	Latency  []Quantile `json:"latency,omitempty"`  // of acknowledgements, from the intended send time
	Timeline []Moment   `json:"timeline,omitempty"` // about one a second

	// Failed says why there are no figures: the run failed, or the peer cannot be had or
	// does not do this workload.
	Failed string `json:"failed,omitempty"`
}

// Figures are what was measured, by the names below; the unit is the name's end.
type Figures map[string]float64

// The names of Figures. Not every run has all of them.
const (
	FigureSeconds      = "seconds"       // of the measured part
	FigureThroughput   = "mb_s"          // 1e6 bytes of values a second, acknowledged or read
	FigureRate         = "records_s"     // records or events a second
	FigureErrors       = "errors"        // records that were not acknowledged
	FigureP50          = "p50_ms"        // latency of an acknowledgement
	FigureP99          = "p99_ms"        //
	FigureP999         = "p999_ms"       //
	FigureMax          = "max_ms"        //
	FigureMachineCPU   = "cpu_s_gb"      // busy CPU-seconds of the whole machine per 1e9 bytes of values
	FigureServerCPU    = "server_s_gb"   // the nodes' share of it
	FigureClientCPU    = "client_s_gb"   // the client's
	FigureClientShare  = "client_share"  // of the machine's busy CPU, 0 to 1
	FigureStolen       = "stolen_share"  // of all CPU, taken by the hypervisor, 0 to 1
	FigurePeakMemory   = "rss_peak_mb"   // resident, 1e6 bytes, of the largest node while it ran
	FigureIdleMemory   = "rss_idle_mb"   // before the first load
	FigureLoadedMemory = "rss_loaded_mb" // at the end of the load
	FigureSyncs        = "syncs_mb"      // fdatasyncs of all nodes per 1e6 bytes of values
	FigureFlushes      = "flushes_mb"    // flushes that the disk counted, per 1e6 bytes
	FigureLogBytes     = "log_written"   // bytes written by all nodes' logs per byte produced
	FigureDiskBytes    = "disk_written"  // bytes that the disk counted per byte produced
	FigureGarbage      = "gc_share"      // of the nodes' CPU, 0 to 1
	FigureAllocations  = "allocs_record" // allocations of all nodes per record
	FigureReady        = "ready_s"       // until every partition took a record, or the first acknowledgement
	FigureGap          = "gap_s"         // longest time without an acknowledgement
	FigureConflicts    = "conflicts"     // appends that were refused because somebody was faster
	FigureDisturbed    = "disturbed_p99" // p99 of a producer beside a reader over its quiet p99
	FigureColdDisk     = "disk_mb_s"     // what the disk gives to a plain sequential reader
)

// A Quantile is one point of a latency distribution.
type Quantile struct {
	Q  float64 `json:"q"` // 0 to 1
	Ms float64 `json:"ms"`
}

// A Moment is the state of a run at one time.
type Moment struct {
	Seconds  float64 `json:"s"`      // since the measured part began
	Bytes    int64   `json:"bytes"`  // of values acknowledged or read up to then
	MemoryMB float64 `json:"rss_mb"` // of the largest node
}
