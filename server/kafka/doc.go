// Package kafka is the front that Kafka's clients talk to: it speaks Kafka's wire
// protocol, the bytes themselves, over TCP.
//
// It knows frames, headers, the layout of requests and answers, and which error
// code says what. It does not know how anything is stored, replicated or decided:
// every verb is the broker's. What is served is the table in dispatch.go, from
// which ApiVersions answers; what is not served is told in unsupported.md. There
// is one file per API key, named by what the key is called.
//
// A request on the wire, big-endian, and its answer:
//
//	0 size     int32   bytes after this field
//	4 key      int16                             0 size         int32
//	6 version  int16                             4 correlation  int32
//	8 correlation int32                          8 tags         (flexible versions, never for ApiVersions)
//	12 client id  int16 length, text or -1       . body
//	.. tags       (flexible versions)
//	.. body
//
// Client bytes are hostile. Nothing allocates by a number that a client sent
// before that number was compared with the bytes that are there: Produce and Fetch
// have hand-written decoders, all other requests are walked by their layout
// (layout.go, scan.go) before kmsg may read them. Memory for requests under way is
// taken from one budget of the server.
//
// Order: answers leave a connection in the order of its requests. Produce requests
// of one connection run side by side, up to a limit, and reach the broker in order;
// any other request waits until everything before it is answered, and what
// follows waits for it, as in Kafka.
//
// Concurrency: a Server may be used from any goroutine. A connection has a
// reader, a writer once it produces, and one goroutine while another request runs;
// Close ends all of them.
//
// Failures: bytes that make no sense close their connection with one log line
// (of which only so many are written per minute); others notice nothing. Errors of the broker become error
// codes by the table in errors.go.
package kafka
