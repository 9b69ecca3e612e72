// Package meta is the state machine of the cluster's metadata: topics and where their partitions live, configs, brokers,
// producer ids.
//
// It knows what Kafka's clients may ask for and in which way it is refused, and the catalogue of configs with
// their types, defaults and meaning. It does not know replication, who leads what, or what is in a partition.
//
// A request leads to records (Handle), which change nothing until they are committed and replayed (Replay), in the same
// way on every node. The state is a View: immutable, made of sorted trees that share what did not change, so that
// readers need no lock and a change costs what it changes, not what there is. Ten thousand partitions of a topic are
// one span of numbers.
//
// Promises: a partition's number is given out once, in order of creation; the id and the shard of a partition
// never change. What Handle accepted Replay accepts, when records of other requests in between were in the Fork that handled it.
// Bytes that are no record or row are an error, never a panic, and change nothing.
//
// Concurrency: a Machine is one goroutine's at a time, views are anybody's.
//
// Records and rows (what the state consists of, by key, for those who store it so) are drawn in record.go and
// topic.go.
package meta
