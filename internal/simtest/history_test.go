package simtest

import (
	"strings"
	"testing"
)

// A checker that finds nothing proves nothing: each kind of damage must be named.
func TestHistoryFindsDamage(t *testing.T) {
	good := Final{Partitions: map[int32][]string{0: {"a 0", "b 0", "a 1"}}, Streams: map[string][]string{"s": {"e0", "e1"}}}
	for name, test := range map[string]struct {
		do    func(*History)
		final Final
		want  string
	}{
		"clean": {func(h *History) {
			h.Acked(0, 0, "a 0")
			h.Read("r", 0, 0, "a 0")
			h.Read("r", 0, 1, "b 0")
			h.Committed("g", 0, 2)
			h.Resumed("g", 0, 2)
			h.Appended("s", 1, "e1")
		}, good, ""},
		"lost at the end":    {func(h *History) { h.Acked(0, 3, "a 2") }, good, "LOST"},
		"overwritten":        {func(h *History) { h.Acked(0, 1, "a 7") }, good, "LOST"},
		"two values read":    {func(h *History) { h.Saw(0, 1, "b 0"); h.Saw(0, 1, "x 1") }, good, "was read as"},
		"read, then gone":    {func(h *History) { h.Saw(0, 5, "z 1") }, good, "is not there"},
		"offset goes back":   {func(h *History) { h.Read("r", 0, 0, "a 0"); h.Read("r", 0, 0, "a 0") }, good, "wanted 1"},
		"commit goes back":   {func(h *History) { h.Committed("g", 0, 3); h.Resumed("g", 0, 2) }, good, "goes on at 2"},
		"version lost":       {func(h *History) { h.Appended("s", 2, "e2") }, good, "LOST"},
		"two winners":        {func(h *History) { h.Appended("s", 1, "e1"); h.Appended("s", 1, "x") }, good, "acknowledged for"},
		"duplicate":          {func(*History) {}, Final{Partitions: map[int32][]string{0: {"a 0", "a 0"}}}, "producer a: 0 after 0"},
		"out of order":       {func(*History) {}, Final{Partitions: map[int32][]string{0: {"a 1", "a 0"}}}, "producer a: 0 after 1"},
		"event twice":        {func(*History) {}, Final{Streams: map[string][]string{"s": {"e", "e"}}}, "twice"},
		"one offset, 2 acks": {func(h *History) { h.Acked(0, 0, "a 0"); h.Acked(0, 0, "b 0") }, good, "acknowledged for"},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHistory()
			test.do(h)
			got := strings.Join(h.Check(test.final), "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got %q, wanted %q", got, test.want)
			}
		})
	}
}
