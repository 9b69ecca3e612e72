// Package bench measures Stela beside its peers: the same workloads, the same
// client, the same machine, in turn within one run.
//
// A workload is data (Config) and something that runs it. A Peer is a system in one
// configuration: either processes that speak Kafka's protocol, which all get the
// one client of this package, or a Program that brings its own client and tells in
// JSON lines when to look. What is counted (CPU, memory, disk) is counted here,
// from the kernel, for every peer in the same way.
//
// The package does not know flags or terminals, and nothing of how a server works
// inside: it sees processes, ports, folders and /metrics.
//
// Promises: latency counts from the time a record was meant to be sent, so a server
// that stalls its client is charged for it. Each result is written out before the
// next run begins, so an interrupted benchmark leaves what it had. A peer or workload
// that cannot be run is a result too, with the reason.
//
// Failures: a peer that fails a run costs that run; the others go on.
package bench
