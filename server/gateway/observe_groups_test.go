package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stela-db/stela/internal/metrics"
)

// However many groups, topics and partitions clients make, a scrape stays bounded and says what it left out.
func TestGroupSeriesAreBounded(t *testing.T) {
	desc := newDescs()
	told := map[*metrics.Desc]int{}
	leftOut := map[string]float64{}
	lags := map[string]float64{}
	tally := newGroupTally(func(d *metrics.Desc, value float64, labels ...string) {
		told[d]++
		switch d {
		case desc.groupLeftOut:
			leftOut[labels[0]] = value
		case desc.groupLag, desc.groupLagMax:
			lags[fmt.Sprintf("%v %s", d == desc.groupLagMax, strings.Join(labels, " "))] = value
		}
	}, &desc)
	offsets := func(n int) []committed {
		all := make([]committed, n)
		for i := range all {
			all[i] = committed{partition: int32(i), offset: 5, lag: int64(i)}
		}
		return all
	}
	tally.topic("a", "small", offsets(3))
	tally.topic("b", "huge", offsets(maxGroupPartitions)) // does not fit with the three before
	tally.topic("c", "rest", offsets(maxGroupPartitions-3))
	tally.topic("d", "small", offsets(1))
	for i := range maxGroupTopics {
		tally.topic(fmt.Sprint("e", i), "t", nil)
	}
	admitted := 0
	for range maxGroups + 7 {
		if tally.admit() {
			admitted++
		}
	}
	tally.end()
	if told[desc.groupLag] != maxGroupTopics || told[desc.exporterGroupLag] != maxGroupPartitions || admitted != maxGroups {
		t.Errorf("%d topics, %d partitions, %d groups", told[desc.groupLag], told[desc.exporterGroupLag], admitted)
	}
	if lags["false a small"] != 3 || lags["true a small"] != 2 || lags["true b huge"] != maxGroupPartitions-1 {
		t.Errorf("lags of a small %v, %v, of b huge %v", lags["false a small"], lags["true a small"], lags["true b huge"])
	}
	if leftOut["group"] != 7 || leftOut["topic"] != 4 || leftOut["partition"] != maxGroupPartitions+1 {
		t.Errorf("left out %v", leftOut)
	}
}
