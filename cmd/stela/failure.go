package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A usageError is the caller's mistake in the command line: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// A hint is an error with what to do about it.
type hint struct {
	err  error
	next string
}

func (h *hint) Error() string { return strings.TrimRight(h.err.Error(), ". \n") + "; " + h.next }
func (h *hint) Unwrap() error { return h.err }

// advise adds the next step to err.
func advise(err error, format string, args ...any) error {
	return &hint{err: err, next: fmt.Sprintf(format, args...)}
}

// report writes err as one line and returns the exit status.
func report(w io.Writer, cmd *cobra.Command, err error) int {
	if errors.Is(err, errSilent) {
		return 1
	}
	line := oneLine(explain(err).Error())
	var wrong *usageError
	if errors.As(err, &wrong) || isUnknownCommand(err) {
		path := "stela"
		if cmd != nil {
			path = cmd.CommandPath()
		}
		fmt.Fprintf(w, "stela: %s; see '%s --help'\n", line, path)
		return 2
	}
	fmt.Fprintf(w, "stela: %s\n", line)
	return 1
}

// errSilent ends with status 1 when everything was said already.
var errSilent = errors.New("failed")

// cobra gives no type to this one.
func isUnknownCommand(err error) bool { return strings.HasPrefix(err.Error(), "unknown command") }

// explain adds a next step to errors that come with none.
func explain(err error) error {
	if _, ok := errors.AsType[*hint](err); ok {
		return err
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return advise(err, "stop what listens there or choose another address (--kafka, --http, --raft)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return advise(err, "this machine has no such address; use one of its own or 0.0.0.0")
	case errors.Is(err, syscall.ECONNREFUSED):
		return advise(err, "is a node running there? start one with 'stela serve' or name another with --brokers or --http")
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return advise(err, "list topics with 'stela topic list' or make one with 'stela topic create'")
	case errors.Is(err, kerr.TopicAlreadyExists):
		return advise(err, "look at it with 'stela topic describe'")
	case errors.Is(err, kerr.GroupIDNotFound):
		return advise(err, "list groups with 'stela group list'")
	case errors.Is(err, kerr.NonEmptyGroup):
		return advise(err, "stop its members first; 'stela group describe' names them")
	case errors.Is(err, os.ErrPermission):
		return advise(err, "check the owner and the mode of that path")
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return advise(err, "no answer in time; look at the cluster with 'stela cluster status'")
	}
	return err
}

func isTimeout(err error) bool {
	var number syscall.Errno // EAGAIN calls itself a timeout; from a file it is a lock
	if errors.As(err, &number) && number == syscall.EAGAIN {
		return false
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// oneLine folds an error text into a single line that begins in lower case.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = strings.TrimRight(text, ". ")
	first, size := utf8.DecodeRuneInString(text)
	second, _ := utf8.DecodeRuneInString(text[size:])
	if unicode.IsUpper(first) && !unicode.IsUpper(second) && second != '_' {
		text = string(unicode.ToLower(first)) + text[size:]
	}
	return text
}
