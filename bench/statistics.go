package bench

import (
	"cmp"
	"slices"
)

// A row is all runs of one peer at one part of one workload.
type row struct {
	workload string
	part     string
	peer     string
	config   Config
	results  []Result // those with figures
	failed   string   // why there are none, or fewer
}

// rowsOf sorts results into rows, in the order in which each came first.
func rowsOf(results []Result) []*row {
	var rows []*row
	for _, result := range results {
		i := slices.IndexFunc(rows, func(r *row) bool {
			return r.workload == result.Workload && r.part == result.Part && r.peer == result.Peer
		})
		if i < 0 {
			i = len(rows)
			rows = append(rows, &row{workload: result.Workload, part: result.Part, peer: result.Peer, config: result.Config})
		}
		if result.Failed != "" {
			rows[i].failed = result.Failed
			continue
		}
		rows[i].results = append(rows[i].results, result)
	}
	return rows
}

func findRow(rows []*row, workload, part, peer string) *row {
	i := slices.IndexFunc(rows, func(r *row) bool { return r.workload == workload && r.part == part && r.peer == peer })
	if i < 0 {
		return nil
	}
	return rows[i]
}

// values returns one figure of all runs that have it.
func (r *row) values(figure string) []float64 {
	var all []float64
	for _, result := range r.results {
		if value, ok := result.Figures[figure]; ok {
			all = append(all, value)
		}
	}
	return all
}

// ratios returns a figure over another row's, pair by pair: what was measured side by side.
func (r *row) ratios(figure string, base *row) []float64 {
	var all []float64
	for _, result := range r.results {
		for _, other := range base.results {
			mine, ok := result.Figures[figure]
			theirs, both := other.Figures[figure]
			if ok && both && result.Pair == other.Pair && theirs > 0 {
				all = append(all, mine/theirs)
			}
		}
	}
	return all
}

// A spread is the median and the ends of some values.
type spread struct {
	count            int
	median, min, max float64
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{count: len(sorted), median: median, min: sorted[0], max: sorted[len(sorted)-1]}
}

// distribution returns the median of each quantile over the row's runs.
func (r *row) distribution() []Quantile {
	byQuantile := map[float64][]float64{}
	for _, result := range r.results {
		for _, point := range result.Latency {
			byQuantile[point.Q] = append(byQuantile[point.Q], point.Ms)
		}
	}
	var points []Quantile
	for q, values := range byQuantile {
		points = append(points, Quantile{Q: q, Ms: spreadOf(values).median})
	}
	slices.SortFunc(points, func(a, b Quantile) int { return cmp.Compare(a.Q, b.Q) })
	return points
}
