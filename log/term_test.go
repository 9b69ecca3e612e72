package log

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Who waits for an entry is not told that it is durable when another one is that took its place, whether the wait began before
// or after that.
func TestWaitDurableInKnowsTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, hold, release := held(t, testConfig(vfs.NewMem()))
		s := l.Shard(1)
		appendAll(t, s, entry(1, 1, 10))
		hold()
		if err := s.Append([]Entry{entry(2, 1, 10)}); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- s.WaitDurableIn(2, 1) }()
		synctest.Wait()
		if err := s.Truncate(2); err != nil {
			t.Fatal(err)
		}
		if err := s.Append([]Entry{entry(2, 2, 10)}); err != nil {
			t.Fatal(err)
		}
		release()
		release()
		if err := <-waiting; !errors.Is(err, ErrNotFound) {
			t.Errorf("wait for an entry that was taken back: %v", err)
		}
		if err := s.WaitDurableIn(2, 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("the same, late: %v", err)
		}
		if err := s.WaitDurableIn(2, 2); err != nil {
			t.Errorf("the entry that is there: %v", err)
		}
	})
}
