//go:build linux && !race

package frame

import "golang.org/x/sys/unix"

// wantHugePages asks for large pages; a system without them goes on with small ones.
func wantHugePages(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }
