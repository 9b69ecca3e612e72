// Package gateway is the HTTP front: the event store's door, health, metrics and
// what an operator asks a node for. Its routes and bodies are drawn in openapi.yaml,
// which the server hands out at /openapi.yaml.
//
// It knows HTTP and JSON, and the verbs of server/broker. It does not know the log,
// replication, or Kafka's protocol; what it stores are plain Kafka records with
// CloudEvents headers, so that any Kafka client reads what was appended here.
//
// The promise of an append is the broker's: 201 and 200 mean that the events are on
// the disks of a majority. 503 means that nothing was done; 504 means that nobody
// knows, and that the same request, with the same event ids, may be sent again.
// Every answer that is not a success is a problem document of RFC 9457, whose type
// is stable and listed in openapi.yaml.
//
// Every byte from outside is bounded before it is read: the head of a request by
// maxHeadBytes, its body by Config.MaxBodyBytes and, together with all others that
// are being read, by Config.MaxBytesInFlight, which bounds the answers to reads by
// themselves; who waits for a version holds nothing. Paths are taken as they stand,
// decoded once, and matched exactly. A panic in a handler is our own bug: it ends
// that request with 500, is logged with its stack and counted.
//
// Concurrency: New, Serve and Close are called once each; Close may be called from
// any goroutine, waits for answers under way as long as Config.CloseTimeout, then cuts their connections.
package gateway
