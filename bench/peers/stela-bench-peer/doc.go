// Command stela-bench-peer measures what Stela is compared with and what does not
// speak Kafka's protocol: NATS JetStream and PostgreSQL.
//
//	stela-bench-peer nats [--sync default|always] [--server FILE] version
//	stela-bench-peer nats [--sync default|always] [--server FILE] run B3|B4|B13 DIR [CONFIG]
//	stela-bench-peer postgresql [--bin FOLDER] version
//	stela-bench-peer postgresql [--bin FOLDER] run B13 DIR [CONFIG]
//
// run starts the peer's servers in the empty folder DIR, on free ports of 127.0.0.1,
// drives them as CONFIG says (the JSON of package bench's Config; what it leaves out
// is as in the workload's definition), and ends them. On standard output comes one
// JSON object per line, as package bench's Event says: "ready" with the ids of the
// servers' processes, and "begin" and "end" around each part that is measured. It
// exits with 0, or with 1 after a line on standard error. What the servers print
// lies in DIR.
//
// It knows the two peers' clients and settings and nothing of Stela. Whoever calls it
// counts CPU and memory.
//
// Promise: it ends its servers before itself, also when it gets SIGTERM or SIGINT or when
// its standard input is closed; on Linux they end even when it is killed.
package main
