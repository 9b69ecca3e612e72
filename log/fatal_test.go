package log

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// stuckHandler writes to a file on a disk that hangs, until it is let go.
type stuckHandler struct {
	slog.Handler
	free chan struct{}
}

func (h *stuckHandler) Handle(context.Context, slog.Record) error {
	<-h.free
	return nil
}

func (h *stuckHandler) Enabled(context.Context, slog.Level) bool { return true }

// The log of a node may be on the disk that hangs: whoever ends the process is told first.
func TestFatalDoesNotWaitForLogging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &stuckHandler{Handler: slog.DiscardHandler, free: make(chan struct{})}
		config := testConfig(vfs.NewMem())
		config.Logger = slog.New(h)
		config.Fatal = func(error) { close(h.free) }
		l := open(t, config)
		go l.fail(errDisk)
		<-h.free
	})
}
