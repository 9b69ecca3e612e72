package main

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/cmd/internal/command"
)

// report writes an error as one line and returns the exit status.
func report(w io.Writer, cmd *cobra.Command, err error) int {
	return command.Report(w, cmd, err, explain)
}

// reportPatience is how long the report of a fatal error may take: where it goes may be on the disk that hangs.
const reportPatience = 500 * time.Millisecond

// end ends the process because of an error, after which nothing orderly is tried. It is reported if that is quickly done.
func end(w io.Writer, err error, exit func(int)) {
	const failed = 1
	timer := time.AfterFunc(reportPatience, func() { exit(failed) })
	status := report(w, nil, err)
	timer.Stop()
	exit(status)
}

// explain adds a next step to errors that come with none.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return command.Advise(err, "stop what listens there or choose another address (--kafka, --http, --raft)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return command.Advise(err, "this machine has no such address; use one of its own or 0.0.0.0")
	case errors.Is(err, syscall.ECONNREFUSED):
		return command.Advise(err, "is a node running there? start one with 'stela serve' or name another with --brokers or --http")
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return command.Advise(err, "list topics with 'stela topic list' or make one with 'stela topic create'")
	case errors.Is(err, kerr.TopicAlreadyExists):
		return command.Advise(err, "look at it with 'stela topic describe'")
	case errors.Is(err, kerr.OffsetOutOfRange):
		return command.Advise(err, "the records at that offset are no longer kept; begin at the first with --from-beginning")
	case errors.Is(err, kerr.GroupIDNotFound):
		return command.Advise(err, "list groups with 'stela group list'")
	case errors.Is(err, kerr.NonEmptyGroup):
		return command.Advise(err, "stop its members first; 'stela group describe' names them")
	case errors.Is(err, os.ErrPermission):
		return command.Advise(err, "check the owner and the mode of that path")
	case command.IsTimeout(err):
		return command.Advise(err, "no answer in time; look at the cluster with 'stela cluster status'")
	}
	return err
}
