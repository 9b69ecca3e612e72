package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An Environment is where and how results came about.
type Environment struct {
	Began   time.Time  `json:"began"`
	Command string     `json:"command"` // exactly as it was given
	Commit  string     `json:"commit"`
	Version string     `json:"version"`
	Go      string     `json:"go"`
	Pairs   int        `json:"pairs"`
	Quick   bool       `json:"quick,omitempty"`
	Cores   int        `json:"cores"`
	CPU     string     `json:"cpu"`
	Memory  int64      `json:"memory"` // bytes
	Disk    string     `json:"disk"`
	Kernel  string     `json:"kernel"`
	Peers   []PeerInfo `json:"peers"`
}

// PeerInfo is what was found of a peer.
type PeerInfo struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	Durability string `json:"durability"`
	Missing    string `json:"missing,omitempty"` // why it was not measured
}

// describe fills in the machine.
func (e *Environment) describe(k kernel, disk string) {
	e.Go, e.Cores = runtime.Version(), runtime.NumCPU()
	e.CPU, e.Memory = k.processor(), k.field("MemTotal:", "meminfo")
	e.Disk = describeDisk(disk)
	e.Kernel = strings.TrimSpace(k.read("sys", "kernel", "ostype") + " " + k.read("sys", "kernel", "osrelease"))
	e.Kernel = strings.ReplaceAll(e.Kernel, "\n", "")
	if e.Kernel == "" {
		e.Kernel = runtime.GOOS
	}
}

func (k kernel) processor() string {
	for line := range strings.Lines(k.read("cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// describeDisk says what Linux knows of a disk: a virtual one has no model.
func describeDisk(name string) string {
	if name == "" {
		return "unknown"
	}
	attribute := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{"/sys/block", name}, path...)...))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	parts := []string{name}
	if model := attribute("device", "model"); model != "" {
		parts = append(parts, model)
	}
	if sectors, err := strconv.ParseInt(attribute("size"), 10, 64); err == nil {
		parts = append(parts, fmt.Sprintf("%d GB", sectors*sectorBytes/gigabyte))
	}
	if cache := attribute("queue", "write_cache"); cache != "" {
		parts = append(parts, "cache "+cache)
	}
	return strings.Join(parts, ", ")
}

// freeBytes returns what is free below a folder, 0 when that is not known.
func freeBytes(folder string) int64 {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil {
		return 0
	}
	return int64(stat.Bavail) * int64(stat.Bsize) //nolint:unconvert // Bsize is an int32 elsewhere
}
