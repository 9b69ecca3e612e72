// Package client is the Go library of Stela: produce and consume records through
// the Kafka protocol, and append to, read and replay the streams of its event store.
//
// It knows two doors of a cluster. The Kafka door (Config.Brokers) carries
// Producer, Consumer, Reader, Replay and the few admin verbs that services need;
// franz-go is inside and does the protocol. The HTTP door (Config.HTTP) carries
// Stream, except for the usual append, which goes through the Kafka door, one connection for all of a node's: a record's key names its stream, a stream's events are numbered 0, 1, 2 …
// (the version), and an append may say which version it expects, so that of two
// writers who decided on the same history one is told. The package knows nothing of
// how the server stores or replicates, and nothing of what the records mean.
//
// Promises:
//
//   - Durability: Produce and Append return nil only after the server answered, and
//     the server answers after an fsync on a majority.
//   - Order: the records of one partition, and the events of one stream, come in the
//     order in which they were stored. Nothing is said between partitions.
//   - Repetition: Produce is idempotent (the broker drops what arrives twice). Append
//     repeats a request whose outcome is unknown with the same event ids, and the
//     server recognises these for as long as the stream exists.
//   - Concurrency: everything may be used from any goroutine, except that a Consumer
//     and a Reader are polled by one goroutine at a time. Close ends every goroutine
//     that was started here.
//
// Failures: every call takes a context and gives up when that ends, with an error
// that says what it was trying. A version that was not the expected one is a
// *ConflictError, which carries the actual version and the events that the writer had
// not seen; a refusal of the HTTP door is a *StatusError. Nothing is retried that the
// server refused for good.
package client
