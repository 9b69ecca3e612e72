// Package segment is one file of the log: its bytes, how they are checked, and
// where valid data ends after a crash.
//
// It knows records and heads; it does not know Raft's windows, who writes when, or
// which segments there are (package log), nor what a payload means beyond the check
// of log/record.
//
// A position names a byte of the log: segment number << 30 | place in the file. A
// file is a head, then records, each beginning at a multiple of 512:
//
//	0                4096 (or more)     x                     y          SegmentBytes
//	| head, see Head | record | padding | record    | padding | zeros ...  |
//
// A record is a 64-byte header and a payload (little-endian):
//
//	 0 crc u32            over header[4:64], begun with the checksum of the node's incarnation
//	 4 magic u16          0x5e1a
//	 6 version u8         1
//	 7 kind u8            Raft's log type, or a marker of ours from 0xf0 on
//	 8 position i64       where this record lies; a record that lies elsewhere is not valid
//	16 index u64          24 term u64
//	32 payload bytes u32
//	36 tail bytes u32     the end of the payload that tail crc covers
//	40 tail crc u32
//	44 shard u8           45 flags u8 (1: backfilled)       46 zero u16
//	48 durable i64        the log was synced up to here when this record was queued
//	56 applied u64        the shard's applied index as it was known then
//	64 payload ...        padded with zeros to a multiple of 512
//
// The payload of a command is an entry of log/record: its batches are covered by
// their own checksums and compared with their rows, its tail by tail crc. All other
// payloads are covered by tail crc as a whole.
//
// Promise: nothing here changes or deletes bytes that were written before. A read
// hands out nothing that was not checked. Bytes that are not what they should be are
// reported as *CorruptError, which wraps record.ErrCorrupt; an error of the disk is
// returned as it is and never taken for a torn tail. Memory is bounded by one payload.
// Functions may be called from any goroutine; a Cursor belongs to one.
package segment
