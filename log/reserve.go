package log

import (
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	// reservePause lies between two looks at how full the disk is.
	reservePause = time.Second
	// The room that is kept for what must be written though new data are refused, such as votes, retention's
	// decisions, snapshots and the index: reserveSegments segments, on a small disk a reserveShare of it.
	reserveSegments = 4
	reserveShare    = 20
)

// reserve knows whether the disk is nearly full. The next segment is refused only when the disk is full, and by then
// the index, which flushes when it wants to, may have met that and ended the node.
type reserve struct {
	mu    sync.Mutex // guards the rest
	at    time.Time  // of the last look
	short error      // what came of it
}

// err returns why new data should be refused, nil when there is room or the file system cannot tell.
func (r *reserve) err(config *Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < reservePause {
		return r.short
	}
	r.at, r.short = time.Now(), nil
	usage, err := config.FS.GetDiskUsage(config.Dir)
	if err != nil {
		return nil
	}
	if kept := min(uint64(reserveSegments*config.SegmentBytes), usage.TotalBytes/reserveShare); usage.AvailBytes < kept {
		r.short = fmt.Errorf("%d bytes are free in %s, and %d are kept for what must be written: %w", usage.AvailBytes, config.Dir, kept, syscall.ENOSPC)
	}
	return r.short
}
