package server

import (
	"math"
	"runtime/debug"
)

// leastMemory is the least that a part of the memory limit makes of a default, in bytes.
const leastMemory = 1 << 20

// ofMemory returns a default of so many bytes of memory, or one part in parts of the limit that Go's runtime was
// given (GOMEMLIMIT) if that is less: a small machine must not be filled with what could be read again.
func ofMemory(bytes, parts int64) int64 {
	limit := debug.SetMemoryLimit(-1) // which only tells it
	if limit == math.MaxInt64 {
		return bytes
	}
	return max(leastMemory, min(bytes, limit/parts))
}

// keepFrameBytes is how much free frame memory a node keeps for reuse.
func keepFrameBytes() int64 { return ofMemory(32<<20, 16) }
