// Package transport carries what Raft groups of one cluster say to each other,
// and remote calls, over two connections to each peer: one for bulk and one for
// what must not wait behind it.
//
// It knows frames on the wire, handshakes, links that are made again when they
// break, the messages of hashicorp/raft and the verification of log entries. It
// does not know what is proposed, how groups form or where entries are stored:
// payload comes from a Pin function and arrives in pooled frames.
//
// # Bytes
//
// Little-endian. Each node dials its peers; the dialer sends requests, the other
// side answers. Both begin with 64 bytes and read 64 bytes, and nothing else is
// read before these were found good:
//
//	 0 magic "STELARPC"     8 first version u16    10 last version u16
//	12 class u8 (0 bulk, 1 control)                13 refusal u8 (answers; 0 welcome)
//	14 zero u16            16 cluster [16]         32 incarnation [16]
//	48 node i32            52 peer's node i32      56 zero u32      60 crc u32 of 0..59
//
// A cluster of zeros is a node that belongs to none yet; it may only call and
// serve the kinds that were registered as open. Then messages follow:
//
//	 0 length u32  whole message       4 crc u32     of 8..23 and of the head
//	 8 kind u8   9 shard u8  10 flags u8 (1 answer, 2 error: the body is its text)  11 kind of call u8
//	12 count u32   entries; milliseconds left of a call
//	16 id u64      an answer has its request's
//	24 head, then entries if the kind has any
//
//	kind       head of the request                       head of the answer
//	1 append   term, previous index, previous term,      term, last index u64, flags u8 (1 success, 2 retry at once)
//	           commit index u64; then entries
//	2 vote     term, last index, last term u64,          term u64, granted u8
//	           transfer u8
//	3 prevote  term, last index, last term u64, zero u8  term u64, granted u8
//	4 stand    nothing (raft's TimeoutNow)               nothing
//	5 call     whatever                                  whatever
//	6 fetch    from, through index u64, bytes u32        nothing; then entries
//
// An entry is 64 bytes and its payload, which for commands is a record entry
// exactly as it is stored:
//
//	 0 crc u32 of 4..63      4 magic u16    6 version u8    7 kind u8 (raft.LogType)
//	 8 index u64            16 term u64    24 payload bytes u32
//	28 tail bytes u32       32 tail crc u32                36 padding u16  38 zero [26]
//
// The tail of a command is record.TailOf; of all others it is the whole payload. So many zeros as padding
// says follow the payload: an entry whose payload is larger than 32 KiB begins at a multiple of 512 bytes from the
// message's first entry.
//
// # Promises
//
// A payload that was received has passed record.CheckEntry and both CRCs. Messages
// of one shard to one peer arrive in order or not at all; a link that lost one is
// closed. A request that gets no answer ends with an error within its time. Memory
// is bounded: 8 MiB a message (an entry that is larger travels alone), a fixed
// number of requests that are being worked on per connection. Input that is not
// understood closes the connection and leaves one line in the log.
//
// All exported methods may be called from any goroutine. Locks that are held
// across I/O are channels, so that simulated time can pass.
package transport
