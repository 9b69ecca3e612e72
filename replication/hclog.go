package replication

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes what raft logs on to slog: what an operator should know as
// warnings, and all the rest, most of which repeats while a node is away, for debugging.
type raftLogger struct {
	hclog.Logger // answers what is not below, with nothing

	logger *slog.Logger
}

func newRaftLogger(logger *slog.Logger) hclog.Logger {
	return &raftLogger{hclog.NewNullLogger(), logger}
}

// isNotable says which of raft's warnings and errors concern an operator.
func isNotable(text string) bool {
	switch text {
	case "heartbeat timeout reached, starting election",
		"failed to contact quorum of nodes, stepping down",
		"clearing log suffix",
		"failed to clear log suffix",
		"failed to commit logs",
		"failed to append to logs",
		"failed to persist vote",
		"failed to compact logs":
		return true
	}
	return false
}

func (l *raftLogger) Log(level hclog.Level, text string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Warn && isNotable(text) {
		to = slog.LevelWarn
	}
	if !l.logger.Enabled(context.Background(), to) {
		return
	}
	l.logger.Log(context.Background(), to, text, attributes(args)...)
}

// attributes turns hclog's pairs into slog's.
func attributes(args []any) []any {
	out := make([]any, 0, len(args))
	for i := 0; i+1 < len(args); i += 2 {
		value := args[i+1]
		if f, ok := value.(hclog.Format); ok && len(f) > 0 {
			value = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		out = append(out, slog.Any(fmt.Sprint(args[i]), value))
	}
	return out
}

func (l *raftLogger) Trace(text string, args ...any) { l.Log(hclog.Trace, text, args...) }
func (l *raftLogger) Debug(text string, args ...any) { l.Log(hclog.Debug, text, args...) }
func (l *raftLogger) Info(text string, args ...any)  { l.Log(hclog.Info, text, args...) }
func (l *raftLogger) Warn(text string, args ...any)  { l.Log(hclog.Warn, text, args...) }
func (l *raftLogger) Error(text string, args ...any) { l.Log(hclog.Error, text, args...) }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{l.Logger, l.logger.With(attributes(args)...)}
}

func (l *raftLogger) Named(string) hclog.Logger      { return l }
func (l *raftLogger) ResetNamed(string) hclog.Logger { return l }
