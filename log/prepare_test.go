package log

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestTakeAfterStop has a writer come for a prepared segment after the preparer has ended, as one whose disk hung does: the
// file is closed then and must not be handed out (found by replication's TestChaos, seed 3).
func TestTakeAfterStop(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	p := newPreparer(&Log{config: Config{FS: fs, Dir: "log", SegmentBytes: 1 << 16, Logger: slog.New(slog.DiscardHandler)}}, 1)
	p.mu.Lock()
	for p.ready == nil {
		p.changed.Wait()
	}
	p.mu.Unlock()
	p.stop()
	<-p.done
	if file, err := p.take(); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end the preparer handed out %v, %v", file, err)
	}
}
