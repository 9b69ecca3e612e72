// Command stela is the whole product in one binary: the server, the tools that
// talk to a cluster, the tools that read its files, and the tour.
//
// It knows flags, files and terminals; everything else is done by the packages
// below it. One file per command. Every flag of every command is also a key of
// the YAML file that --config names and an environment variable (--data-shards:
// data-shards, STELA_DATA_SHARDS); see settings.go for which one wins.
//
// An error is one line on standard error with the cause and the next step. The
// exit status is 0, 1 for a failure and 2 for wrong usage.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	status := run(ctx, &terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv}, os.Args[1:])
	stop()
	os.Exit(status)
}

// A terminal is what a command reads from and writes to.
type terminal struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) (string, bool)
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, t *terminal, args []string) int {
	root := newRoot(t)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	return report(t.Err, cmd, err)
}
