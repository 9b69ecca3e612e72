package bench

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeProc writes files as /proc has them.
func fakeProc(t *testing.T, files map[string]string) kernel {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return kernel{root: root}
}

func TestKernel(t *testing.T) {
	k := fakeProc(t, map[string]string{
		"stat":               "cpu  100 200 300 4000 500 60 70 80 90 10\ncpu0 1 2 3\n",
		"meminfo":            "MemTotal:       1000 kB\nDirty:             7 kB\nWriteback:         3 kB\n",
		"diskstats":          " 254 0 vda 1 2 3 4 5 6 1000 8 0 9 10 11 12 13 14 77 15\n 254 1 vda1 1 2 3 4 5 6 9 8 0 9 10 11 12 13 14 0 15\n",
		"7/stat":             "7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 100 50 20 30 20 0\n",
		"7/status":           "Name:\ta\nVmRSS:\t    2048 kB\n",
		"7/smaps_rollup":     "Rss: 9 kB\nPss:        100 kB\n",
		"7/task/7/children":  "8 ",
		"8/stat":             "8 (d) S 7 7 7 0 -1 0 0 0 0 0 1 2 0 0 20 0\n",
		"8/smaps_rollup":     "Pss:        11 kB\n",
		"8/task/8/children":  "",
		"9/status":           "VmRSS:\t    3 kB\n",
		"9/task/9/children":  "",
		"sys/vm/drop_caches": "",
	})
	cpu := k.CPU()
	for name, pair := range map[string][2]float64{
		"busy": {cpu.busy, 7.3}, "stolen": {cpu.stolen, 0.8}, "total": {cpu.total, 53.1},
		"of the tree": {k.ProcessCPU([]int{7}), 2.03}, "of the process": {k.SelfCPU(7), 1.5},
		"memory of a tree": {float64(k.Memory(7)), 111 << 10}, "memory of a process": {float64(k.Memory(9)), 3 << 10},
		"largest": {float64(k.LargestMemory([]int{9, 7})), 111 << 10}, "unwritten": {float64(k.Unwritten()), 10 << 10},
		"written": {float64(k.Disk("vda").writtenBytes), 512_000}, "flushes": {float64(k.Disk("vda").flushes), 77},
		"gone": {k.ProcessCPU([]int{12345}), 0}, "no disk": {float64(k.Disk("").flushes), 0},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 {
			t.Errorf("%s: %v, wanted %v", name, pair[0], pair[1])
		}
	}
	if err := k.DropCaches(); err != nil {
		t.Error(err)
	}
}

// Where nothing is counted, figures are left out and not zero.
func TestCompareLeavesOutWhatIsNotKnown(t *testing.T) {
	at := time.Unix(0, 0)
	figures := compare(reading{at: at}, reading{at: at.Add(2 * time.Second)}, 10, 4_000_000)
	want := Figures{FigureSeconds: 2, FigureRate: 5, FigureThroughput: 2}
	if len(figures) != len(want) {
		t.Errorf("figures %v, wanted %v", figures, want)
	}
	for name, value := range want {
		if figures[name] != value {
			t.Errorf("%s is %v, wanted %v", name, figures[name], value)
		}
	}
}

func TestCompare(t *testing.T) {
	at := time.Unix(0, 0)
	before := reading{
		at: at, cpu: machineCPU{busy: 10, total: 100}, servers: 1, client: 2, disk: diskCounts{writtenBytes: 1e9, flushes: 10},
		metrics: map[string]float64{seriesSyncs: 5, seriesAllocations: 100, seriesGarbage: 1},
	}
	after := reading{
		at: at.Add(time.Second), cpu: machineCPU{busy: 14, total: 108, stolen: 2}, servers: 3, client: 3, disk: diskCounts{writtenBytes: 7e9, flushes: 2010},
		metrics: map[string]float64{seriesSyncs: 4005, seriesAllocations: 600, seriesGarbage: 1.5},
	}
	figures := compare(before, after, 1000, 2e9)
	for name, wanted := range (Figures{
		FigureThroughput: 2000, FigureMachineCPU: 2, FigureServerCPU: 1, FigureClientCPU: 0.5, FigureClientShare: 0.25,
		FigureStolen: 0.25, FigureGarbage: 0.25, FigureSyncs: 2, FigureAllocations: 0.5, FigureDiskBytes: 3, FigureFlushes: 1,
	}) {
		if math.Abs(figures[name]-wanted) > 1e-9 {
			t.Errorf("%s is %v, wanted %v", name, figures[name], wanted)
		}
	}
}

func TestParseMetrics(t *testing.T) {
	sums := map[string]float64{"b": 1}
	text := "# HELP a x\n# TYPE a counter\na 3\nb{x=\"1 2\",y=\"}\"} 4.5\nb{x=\"2\"} 1e3\nnonsense\n\n"
	if err := parseMetrics(strings.NewReader(text), sums); err != nil {
		t.Fatal(err)
	}
	if sums["a"] != 3 || sums["b"] != 1005.5 || len(sums) != 2 {
		t.Errorf("sums %v", sums)
	}
}

func TestThinKeepsTheLast(t *testing.T) {
	var moments []Moment
	for i := range 1001 {
		moments = append(moments, Moment{Bytes: int64(i)})
	}
	kept := thin(moments, 100)
	if len(kept) > 100 || kept[len(kept)-1].Bytes != 1000 {
		t.Errorf("%d kept, the last is %v", len(kept), kept[len(kept)-1])
	}
	if len(thin(moments[:5], 100)) != 5 || thin(nil, 100) != nil {
		t.Error("few moments are kept as they are")
	}
}
