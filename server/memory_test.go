package server

import (
	"math"
	"runtime/debug"
	"testing"
)

// Go's memory limit makes defaults smaller, never larger, and what was set stays.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, test := range []struct {
		limit, tail, read, frames int64
	}{
		{math.MaxInt64, 32 << 20, 128 << 20, 32 << 20},
		{8 << 30, 32 << 20, 128 << 20, 32 << 20},
		{384 << 20, 32 << 20, 48 << 20, 24 << 20},
		{128 << 20, 16 << 20, 16 << 20, 8 << 20},
		{4 << 20, 1 << 20, 1 << 20, 1 << 20},
	} {
		debug.SetMemoryLimit(test.limit)
		c := Config{}.withDefaults()
		if c.TailBytes != test.tail || c.ReadBytes != test.read || keepFrameBytes() != test.frames {
			t.Errorf("limit %d: tail %d, read %d, frames %d, wanted %d, %d and %d", test.limit,
				c.TailBytes, c.ReadBytes, keepFrameBytes(), test.tail, test.read, test.frames)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("limit %d: %v", test.limit, err)
		}
		c = Config{TailBytes: 200 << 20, ReadBytes: -1}.withDefaults()
		if c.TailBytes != 200<<20 || c.ReadBytes != -1 {
			t.Errorf("limit %d: what was set became %d and %d", test.limit, c.TailBytes, c.ReadBytes)
		}
	}
}
