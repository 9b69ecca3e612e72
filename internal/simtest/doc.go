// Package simtest runs a whole three-node cluster in one test: the real server on
// crashable disks in memory, a network of pipes and virtual time, under faults
// chosen by a seed, with real Kafka clients beside it; then it checks that nothing
// acknowledged was lost.
//
// It knows the server's assembly, the log's format and a Kafka client; nothing of
// the product imports it.
//
// What is checked on every run (Check in history.go and the replicas in cluster.go):
//
//   - every acknowledged record is read, at the offset that was acknowledged;
//   - an offset has one value for ever, for every reader;
//   - a producer's records keep their order, and none is there twice;
//   - readers and committed offsets never go back;
//   - an acknowledged conditional append has its version to itself, and versions are dense;
//   - the replicas hold the same bytes up to the commit index.
//
// A run is made from its seed: the faults, their times and the disks' losses. The
// goroutines' order is the scheduler's, so a seed that failed may need a few runs
// to fail again. Time is testing/synctest's: a cluster-hour takes seconds.
package simtest
