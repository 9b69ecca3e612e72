package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// ticksPerSecond is the unit of CPU time in /proc, the same on every Linux (USER_HZ).
	ticksPerSecond = 100
	// sectorBytes is the unit of /proc/diskstats, whatever the disk's own is.
	sectorBytes = 512
	megabyte    = 1e6
	gigabyte    = 1e9
)

// A kernel reads what Linux counts. On other systems every reading is zero, and
// what is computed from it is left out.
type kernel struct {
	root string // "/proc", or a test's folder
}

// machineCPU is CPU-seconds since boot, of all cores.
type machineCPU struct{ busy, stolen, total float64 }

// CPU reads /proc/stat. Waiting for disks is idle; what the hypervisor took is not busy.
func (k kernel) CPU() machineCPU {
	line, _, _ := strings.Cut(k.read("stat"), "\n")
	var cpu machineCPU
	for i, text := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(text, 64)
		if err != nil || i > 8 { // guest time is in user time already
			continue
		}
		seconds := ticks / ticksPerSecond
		cpu.total += seconds
		switch i {
		case 1, 2, 3, 6, 7: // user, nice, system, irq, softirq
			cpu.busy += seconds
		case 8:
			cpu.stolen += seconds
		}
	}
	return cpu
}

// ProcessCPU returns the CPU-seconds of processes and their descendants; what ended is
// counted when its parent has waited for it.
func (k kernel) ProcessCPU(pids []int) float64 {
	seconds := 0.0
	for _, pid := range k.tree(pids) {
		fields := k.processStat(pid)
		if len(fields) < 15 {
			continue
		}
		for _, text := range fields[11:15] { // utime, stime and those of children that ended
			ticks, _ := strconv.ParseFloat(text, 64) // The kernel writes numbers.
			seconds += ticks / ticksPerSecond
		}
	}
	return seconds
}

// processStat returns the fields of /proc/PID/stat from the state on.
func (k kernel) processStat(pid int) []string {
	text := k.read(strconv.Itoa(pid), "stat")
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// Memory returns the resident bytes of one node: of a process, or of a process and its
// descendants, with what they share counted once.
func (k kernel) Memory(pid int) int64 {
	tree := k.tree([]int{pid})
	if len(tree) == 1 {
		return k.field("VmRSS:", strconv.Itoa(pid), "status")
	}
	var bytes int64
	for _, member := range tree {
		bytes += k.field("Pss:", strconv.Itoa(member), "smaps_rollup")
	}
	return bytes
}

// LargestMemory is the Memory of the largest node.
func (k kernel) LargestMemory(pids []int) int64 {
	var largest int64
	for _, pid := range pids {
		largest = max(largest, k.Memory(pid))
	}
	return largest
}

// tree returns the processes and all that descend from them.
func (k kernel) tree(pids []int) []int {
	all := append([]int(nil), pids...)
	for i := 0; i < len(all); i++ {
		pid := strconv.Itoa(all[i])
		for text := range strings.FieldsSeq(k.read(pid, "task", pid, "children")) {
			if child, err := strconv.Atoi(text); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// Unwritten returns the bytes of the page cache that have yet to go to a disk.
func (k kernel) Unwritten() int64 {
	return k.field("Dirty:", "meminfo") + k.field("Writeback:", "meminfo")
}

// field returns a value of a file of lines such as "VmRSS:  123 kB", in bytes.
func (k kernel) field(name string, path ...string) int64 {
	for line := range strings.Lines(k.read(path...)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // zero is no reading
			return kib << 10
		}
	}
	return 0
}

// diskCounts is what one disk did since boot.
type diskCounts struct {
	writtenBytes int64
	flushes      int64
}

// Disk reads /proc/diskstats for one disk, "" for none.
func (k kernel) Disk(name string) diskCounts {
	var counts diskCounts
	if name == "" {
		return counts
	}
	for line := range strings.Lines(k.read("diskstats")) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[2] != name {
			continue
		}
		sectors, _ := strconv.ParseInt(fields[9], 10, 64) // The kernel writes numbers.
		counts.writtenBytes = sectors * sectorBytes
		if len(fields) >= 19 { // since Linux 5.5
			counts.flushes, _ = strconv.ParseInt(fields[18], 10, 64)
		}
	}
	return counts
}

// DropCaches makes the kernel forget all files, for which it must be root.
func (k kernel) DropCaches() error {
	err := os.WriteFile(filepath.Join(k.root, "sys", "vm", "drop_caches"), []byte("3\n"), 0)
	if errors.Is(err, fs.ErrPermission) {
		return errors.New("forget the page cache: only root may")
	}
	if err != nil {
		return fmt.Errorf("forget the page cache: %w", err)
	}
	return nil
}

// read returns a file's text, "" when it cannot be read: a process may have ended, a
// system may not be Linux.
func (k kernel) read(path ...string) string {
	text, err := os.ReadFile(filepath.Join(append([]string{k.root}, path...)...))
	if err != nil {
		return ""
	}
	return string(text)
}

// ownCPU returns the CPU-seconds of this process.
func ownCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// SelfCPU returns the CPU-seconds of one process without its descendants.
func (k kernel) SelfCPU(pid int) float64 {
	fields := k.processStat(pid)
	if len(fields) < 13 {
		return 0
	}
	seconds := 0.0
	for _, text := range fields[11:13] {
		ticks, _ := strconv.ParseFloat(text, 64) // The kernel writes numbers.
		seconds += ticks / ticksPerSecond
	}
	return seconds
}
