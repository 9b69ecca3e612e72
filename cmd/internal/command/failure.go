package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// A usageError is the caller's mistake in the command line: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usage makes err a mistake in the command line; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

// Usagef returns a mistake in the command line.
func Usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// A hint is an error with what to do about it.
type hint struct {
	err  error
	next string
}

func (h *hint) Error() string { return strings.TrimRight(h.err.Error(), ". \n") + "; " + h.next }
func (h *hint) Unwrap() error { return h.err }

// Advise adds the next step to err.
func Advise(err error, format string, args ...any) error {
	return &hint{err: err, next: fmt.Sprintf(format, args...)}
}

// IsAdvised reports whether err comes with a next step.
func IsAdvised(err error) bool {
	_, ok := errors.AsType[*hint](err)
	return ok
}

// CheckArguments makes wrong arguments of cmd and of all commands below it mistakes in the
// command line.
func CheckArguments(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return Usage(check(cmd, args)) }
	}
	for _, child := range cmd.Commands() {
		CheckArguments(child)
	}
}

// Report writes err as one line of the named program and returns the exit status.
// explain, if not nil, may add a next step to errors that come without one.
func Report(w io.Writer, cmd *cobra.Command, err error, explain func(error) error) int {
	if errors.Is(err, ErrSilent) {
		return 1
	}
	program, path := filepath.Base(os.Args[0]), ""
	if cmd != nil {
		program, path = cmd.Root().Name(), cmd.CommandPath()
	}
	if path == "" {
		path = program
	}
	var wrong *usageError
	isWrong := errors.As(err, &wrong) || isUnknownCommand(err)
	if explain != nil && !isWrong && !IsAdvised(err) {
		err = explain(err)
	}
	line := OneLine(err.Error())
	if isWrong {
		fmt.Fprintf(w, "%s: %s; see '%s --help'\n", program, line, path)
		return 2
	}
	fmt.Fprintf(w, "%s: %s\n", program, line)
	return 1
}

// ErrSilent ends with status 1 when everything was said already.
var ErrSilent = errors.New("failed")

// cobra gives no type to this one.
func isUnknownCommand(err error) bool { return strings.HasPrefix(err.Error(), "unknown command") }

// IsTimeout reports whether nobody answered in time.
func IsTimeout(err error) bool {
	var number syscall.Errno // EAGAIN calls itself a timeout; from a file it is a lock
	if errors.As(err, &number) && number == syscall.EAGAIN {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// OneLine folds an error text into a single line that begins in lower case.
func OneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = strings.TrimRight(text, ". ")
	first, size := utf8.DecodeRuneInString(text)
	second, _ := utf8.DecodeRuneInString(text[size:])
	if unicode.IsUpper(first) && !unicode.IsUpper(second) && second != '_' {
		text = string(unicode.ToLower(first)) + text[size:]
	}
	return text
}
