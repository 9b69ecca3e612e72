package bench

import (
	"fmt"
	"strings"
)

// summaryFigures are those that one line about a run has, in order, where the run has them.
var summaryFigures = []struct{ name, format string }{
	{FigureThroughput, "%.1f MB/s"},
	{FigureRate, "%.0f rec/s"},
	{FigureMachineCPU, "%.1f CPU-s/GB"},
	{FigureP50, "p50 %.2f"},
	{FigureP99, "p99 %.2f"},
	{FigureP999, "p99.9 %.2f ms"},
	{FigureReady, "ready %.2f s"},
	{FigureGap, "gap %.2f s"},
	{FigureIdleMemory, "idle %.0f MB"},
	{FigureLoadedMemory, "loaded %.0f MB"},
}

// Summary is one run in one line.
func Summary(r Result) string {
	text := fmt.Sprintf("%-4s %-10s %d", r.Workload, r.Peer, r.Pair)
	if r.Part != "" {
		text += " " + r.Part
	}
	if r.Failed != "" {
		return text + "  no figures: " + r.Failed
	}
	var parts []string
	for _, figure := range summaryFigures {
		if value, ok := r.Figures[figure.name]; ok {
			parts = append(parts, fmt.Sprintf(figure.format, value))
		}
	}
	if failed := r.Figures[FigureErrors]; failed > 0 {
		parts = append(parts, fmt.Sprintf("%.0f ERRORS", failed))
	}
	return text + "  " + strings.Join(parts, "  ")
}
