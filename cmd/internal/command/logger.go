package command

import (
	"io"
	"log/slog"
	"strings"
)

// NewLogger returns the logger that --log-level and --log-format ask for.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, Usagef("--log-level is %q; use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, Usagef("--log-format is %q; use text or json", format)
}
