// Package rows writes and reads what the pure state machines (server/meta, server/group) keep: values made of numbers
// and strings, and the stream of rows that a snapshot is.
//
// A number is a varint as encoding/binary has it, signed or unsigned; a string or a list has its length before it as
// an unsigned varint. A snapshot is one row after the other and a zero:
//
//	+-----------+-------------+-----+-------+-- … --+---+
//	| key bytes | value bytes | key | value |       | 0 |
//	| varint    | varint      |     |       |       |   |
//	+-----------+-------------+-----+-------+-- … --+---+
//
// It does not know what the rows mean. A Decoder never allocates more than it was given and never panics: the first
// mistake, which wraps record.ErrCorrupt, stays, and everything after it reads as zero. Nothing here may be used
// by two goroutines at once.
package rows
