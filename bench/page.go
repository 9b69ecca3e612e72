package bench

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A column shows one figure.
type column struct {
	head   string
	figure string
	scale  float64 // 0 for 1
}

// columns are the tables of a workload. Columns without a figure are left out.
var columns = [][]column{
	{
		{head: "MB/s", figure: FigureThroughput},
		{head: "records/s", figure: FigureRate},
		{head: "CPU-s/GB", figure: FigureMachineCPU},
		{head: "ready, s", figure: FigureReady},
		{head: "silent, s", figure: FigureGap},
		{head: "errors", figure: FigureErrors},
	},
	{
		{head: "p50 ms", figure: FigureP50},
		{head: "p99 ms", figure: FigureP99},
		{head: "p99.9 ms", figure: FigureP999},
		{head: "max ms", figure: FigureMax},
		{head: "conflicts", figure: FigureConflicts},
		{head: "p99 / quiet", figure: FigureDisturbed},
		{head: "disk MB/s", figure: FigureColdDisk},
	},
	{
		{head: "RSS idle MB", figure: FigureIdleMemory},
		{head: "RSS peak MB", figure: FigurePeakMemory},
		{head: "syncs/MB", figure: FigureSyncs},
		{head: "disk flushes/MB", figure: FigureFlushes},
		{head: "log B/B", figure: FigureLogBytes},
		{head: "disk B/B", figure: FigureDiskBytes},
		{head: "allocs/record", figure: FigureAllocations},
		{head: "GC %", figure: FigureGarbage, scale: 100},
		{head: "client % of CPU", figure: FigureClientShare, scale: 100},
		{head: "stolen %", figure: FigureStolen, scale: 100},
	},
}

// renderPage renders the whole report.
func renderPage(environments []Environment, rows []*row, plotted map[string]string) []byte {
	var page bytes.Buffer
	newest := environments[len(environments)-1]
	page.WriteString("# Results\n\nMade by `stela bench report` from what these commands measured; not edited by hand.\n\n")
	quick := false
	for _, e := range environments {
		fmt.Fprintf(&page, "    %s    # %s, commit %s\n", e.Command, e.Began.UTC().Format("2006-01-02 15:04 UTC"), e.Commit)
		quick = quick || e.Quick
	}
	page.WriteByte('\n')
	if quick {
		page.WriteString("> **QUICK RUN: small workloads against cold peers, to see that it works. These are not measurements;\n> do not quote them.**\n\n")
	}
	page.WriteString("Each cell is the median of the runs, with the least and the most in brackets. The peers took turns within one\n" +
		"benchmark (A B C, A B C). CPU is that of the whole machine, client included. Latency counts from the time at which a\n" +
		"record was meant to be sent. A node's memory is that of the largest one.\n\n")
	renderMachine(&page, newest)
	renderPeers(&page, environments)
	renderTargets(&page, rows)
	for _, config := range configsOf(rows) {
		renderWorkload(&page, config, rows)
		if plot, ok := plotted[config.ID]; ok {
			fmt.Fprintf(&page, "![%s: latency, throughput and memory](%s)\n\n", config.ID, plot)
		}
	}
	page.WriteString("Every run with all its figures: [runs.csv](" + plotsFolder + "/runs.csv).\n")
	return page.Bytes()
}

func renderMachine(page *bytes.Buffer, e Environment) {
	page.WriteString("## Machine\n\n")
	writeTable(page, []string{"", ""}, [][]string{
		{"cores", fmt.Sprintf("%d, %s", e.Cores, e.CPU)},
		{"memory", fmt.Sprintf("%.1f GB", float64(e.Memory)/gigabyte)},
		{"disk", e.Disk},
		{"kernel", e.Kernel},
		{"Go", e.Go},
	})
}

// renderPeers lists who took part, and who did not and why.
func renderPeers(page *bytes.Buffer, environments []Environment) {
	page.WriteString("## Peers\n\n")
	var cells [][]string
	seen := map[string]bool{}
	for _, e := range slices.Backward(environments) {
		for _, peer := range e.Peers {
			if seen[peer.Name] {
				continue
			}
			seen[peer.Name] = true
			version := peer.Version
			if peer.Missing != "" {
				version = "**not measured**: " + peer.Missing
			}
			cells = append(cells, []string{peer.Name, version, peer.Durability})
		}
	}
	writeTable(page, []string{"peer", "version", "an acknowledged record is"}, cells)
}

func renderTargets(page *bytes.Buffer, rows []*row) {
	page.WriteString("## Targets\n\nA ratio is against the peer in the same pair of runs.\n\n")
	var cells [][]string
	for _, t := range targets() {
		what := strings.TrimSpace(t.part + " " + t.what)
		if t.peer != "" {
			what += " against " + t.peer
		}
		value, verdict := "", "not measured"
		if s, ok := t.measure(rows); ok {
			value, verdict = s.String(), t.verdict(s)
			if t.worst {
				value = number(s.max)
			}
			if t.peer != "" || t.of != "" {
				value += " x"
			}
		}
		cells = append(cells, []string{t.workload, what, value, t.wanted(t.must), t.wanted(t.reach), verdict})
	}
	writeTable(page, []string{"", "figure", "Stela", "must", "reach for", "verdict"}, cells)
}

// renderWorkload writes the tables of one workload.
func renderWorkload(page *bytes.Buffer, config Config, all []*row) {
	fmt.Fprintf(page, "## %s: %s\n\n", config.ID, config.Title)
	var rows []*row
	for _, r := range all {
		if r.workload == config.ID {
			rows = append(rows, r)
		}
	}
	for i, group := range columns {
		shown := slices.DeleteFunc(slices.Clone(group), func(c column) bool {
			return !slices.ContainsFunc(rows, func(r *row) bool { return spreadOf(r.values(c.figure)).max > 0 })
		})
		if len(shown) == 0 {
			continue
		}
		first := i == 0 && shown[0].figure == FigureThroughput
		head := []string{"peer"}
		if i == 0 {
			head = append(head, "runs")
		}
		for j, c := range shown {
			head = append(head, c.head)
			if first && j == 0 {
				head = append(head, "to Kafka")
			}
		}
		var cells [][]string
		for _, r := range rows {
			if len(r.results) == 0 {
				continue
			}
			line := []string{label(r)}
			if i == 0 {
				line = append(line, strconv.Itoa(len(r.results)))
			}
			for j, c := range shown {
				line = append(line, cell(r, c))
				if first && j == 0 {
					line = append(line, toKafka(r, all))
				}
			}
			cells = append(cells, line)
		}
		writeTable(page, head, cells)
	}
	renderFailures(page, rows)
}

// renderFailures names who has no figures, or fewer, and why.
func renderFailures(page *bytes.Buffer, rows []*row) {
	said := false
	for _, r := range rows {
		if r.failed == "" || r.failed == notItsWork {
			continue
		}
		fmt.Fprintf(page, "- %s: %d runs with figures; %s\n", label(r), len(r.results), strings.Join(strings.Fields(r.failed), " "))
		said = true
	}
	if said {
		page.WriteByte('\n')
	}
}

func label(r *row) string {
	if r.part == "" {
		return r.peer
	}
	return r.peer + ", " + r.part
}

func cell(r *row, c column) string {
	values := r.values(c.figure)
	if c.scale > 0 {
		for i := range values {
			values[i] *= c.scale
		}
	}
	return spreadOf(values).String()
}

// toKafka is the ratio of a row's throughput to that of Kafka as it comes.
func toKafka(r *row, all []*row) string {
	base := findRow(all, r.workload, r.part, peerKafka)
	if base == nil || base == r {
		return ""
	}
	s := spreadOf(r.ratios(FigureThroughput, base))
	if s.count == 0 {
		return ""
	}
	return multiple(s.median)
}

// String renders a spread: the median alone when there was one run.
func (s spread) String() string {
	switch s.count {
	case 0:
		return ""
	case 1:
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.min), number(s.max))
}

// number renders three significant digits, and thousands as k.
func number(x float64) string {
	switch size := math.Abs(x); {
	case size >= 99_950:
		return strconv.FormatFloat(x/1000, 'f', 0, 64) + " k"
	case size >= 9_995:
		return strconv.FormatFloat(x/1000, 'f', 1, 64) + " k"
	case size >= 99.95:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size == 0:
		return "0"
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func writeTable(page *bytes.Buffer, head []string, rows [][]string) {
	line := func(cells []string) {
		escaped := make([]string, len(cells))
		for i, cell := range cells {
			escaped[i] = strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`)
		}
		page.WriteString("| " + strings.Join(escaped, " | ") + " |\n")
	}
	line(head)
	page.WriteString("|" + strings.Repeat("---|", len(head)) + "\n")
	for _, row := range rows {
		line(row)
	}
	page.WriteByte('\n')
}
