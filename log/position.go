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
