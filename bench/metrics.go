package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The series of a node's /metrics that results are made of.
const (
	seriesSyncs       = "stela_log_syncs_total"
	seriesLogBytes    = "stela_log_written_bytes_total"
	seriesAllocations = "go_memstats_mallocs_total"
	seriesGarbage     = "go_cpu_classes_gc_total_cpu_seconds_total"
)

// scrape adds up what the nodes' /metrics say, series by series, over all labels.
// A node without metrics adds nothing.
func scrape(ctx context.Context, nodes []*Node) (map[string]float64, error) {
	sums := map[string]float64{}
	for _, n := range nodes {
		if n.Metrics == "" {
			continue
		}
		if err := scrapeNode(ctx, n.Metrics, sums); err != nil {
			return nil, fmt.Errorf("read metrics of node %d: %w", n.ID, err)
		}
	}
	return sums, nil
}

func scrapeNode(ctx context.Context, url string, sums map[string]float64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s", url, answer.Status)
	}
	return parseMetrics(answer.Body, sums)
}

// parseMetrics adds the samples of Prometheus' text format to sums.
func parseMetrics(text io.Reader, sums map[string]float64) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name := line[:strings.IndexAny(line+" ", "{ ")]
		value := line[strings.LastIndexByte(line, ' ')+1:]
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			sums[name] += number
		}
	}
	return lines.Err()
}
