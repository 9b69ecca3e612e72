package framework

import (
	"errors"
	"testing"
	"time"

	"github.com/stela-db/stela/client"
)

func TestWatch(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	cut := func(offset int64) client.Cut { return client.Cut{"t": {offset}} }
	w := &watch{answered: at(0)}
	ready := func(now int, folded int64) bool {
		err := w.check(at(now), cut(folded))
		if err != nil && !errors.Is(err, ErrNotReady) {
			t.Error(err)
		}
		return err == nil
	}
	if !ready(5, 0) || ready(6, 0) {
		t.Error("a log that has never answered")
	}
	w.observe(at(10), cut(3), cut(3))
	if !ready(15, 3) || ready(16, 3) {
		t.Error("a log that answers no more")
	}
	w.observe(at(20), cut(9), cut(3))
	w.observe(at(24), cut(30), cut(5))
	if got := w.behind(at(24), cut(5)); got != 4*time.Second {
		t.Errorf("behind by %v", got)
	}
	if w.observe(at(26), cut(40), cut(5)); ready(26, 5) {
		t.Error("the state does not follow")
	}
	if !ready(26, 9) || w.behind(at(26), cut(9)) != 0 {
		t.Error("the state has come to where the log ended 6 s ago")
	}
	// Under a steady load the state is always behind a little, and never for long.
	for second := 30; second < 60; second++ {
		w.observe(at(second), cut(int64(100*second)), cut(int64(100*second-50)))
		if !ready(second, int64(100*second-50)) {
			t.Fatalf("not ready at %d", second)
		}
	}
}
