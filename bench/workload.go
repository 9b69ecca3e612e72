package bench

import "time"

// A Config is a workload as data. Fields that a workload does not use are zero.
type Config struct {
	ID    string `json:"id"`    // "B1"
	Title string `json:"title"` // a few words for lists and tables
	Kind  string `json:"kind"`  // which of the runners runs it

	Nodes       int           `json:"nodes,omitempty"`        // processes of the cluster, and replicas
	Partitions  int           `json:"partitions,omitempty"`   // of the topic
	Records     int64         `json:"records,omitempty"`      // measured
	Warm        int64         `json:"warm,omitempty"`         // sent before the measured ones
	RecordBytes int           `json:"record_bytes,omitempty"` // of a value
	Keys        int           `json:"keys,omitempty"`         // different keys or streams; 0: no keys
	Linger      time.Duration `json:"linger_ns,omitempty"`
	Outstanding int           `json:"outstanding,omitempty"` // records in flight; 0: as many as the client's buffer holds
	Rate        int           `json:"rate,omitempty"`        // records a second, on a fixed schedule; 0: as fast as it goes
	Clients     int           `json:"clients,omitempty"`     // that append at once
	Trials      int           `json:"trials,omitempty"`      // of one fault, in one run
	DataBytes   int64         `json:"data_bytes,omitempty"`  // in the log before what is measured
}
