// Package metrics counts what a node does and writes it in Prometheus's text format.
//
// It knows counters, gauges, duration histograms and their names; it does not
// know where the numbers come from: whoever does something counts it, and whoever
// holds a state that is only worth reading when somebody asks (offsets, lag)
// gives a function that is called once per scrape (Registry.Observe).
//
// Own series begin with stela_ and have the shapes of Redpanda's public metrics;
// series that begin with kafka_ are those of the kafka_exporter, so that
// dashboards made for it work against a node directly. Units are in the names:
// seconds and bytes.
//
// Concurrency: counting is a single atomic addition and may be done from any
// goroutine. A nil *Counter, *Gauge or *Histogram counts nothing, so that code
// under test needs no registry. A scrape sees each number at some moment between
// its begin and its end; numbers of one scrape need not be of one moment.
//
// Misuse (a name registered twice with the same labels, label names that differ
// between series of one name) is our own bug and panics.
package metrics
