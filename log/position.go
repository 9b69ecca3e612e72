package log

import (
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// SegmentOf returns the number of the segment that a position lies in.
func SegmentOf(p record.Position) int64 {
	number, _ := segment.Split(p)
	return number
}

// Apart returns about how many bytes of the log lie between two positions: segments count as if they were full.
func (l *Log) Apart(from, to record.Position) int64 {
	first, start := segment.Split(from)
	last, end := segment.Split(to)
	return (last-first)*l.config.SegmentBytes + end - start
}
