package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskOf returns the name of the disk that holds a folder as /proc/diskstats has it, ""
// when it is on none.
func diskOf(folder string) string {
	var stat syscall.Stat_t
	if err := syscall.Stat(folder, &stat); err != nil {
		return ""
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	device, err := filepath.EvalSymlinks(link)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(device, "partition")); err == nil {
		device = filepath.Dir(device) // Flushes are counted for whole disks only.
	}
	return filepath.Base(device)
}
