// Command shop runs the order services and talks to them: it places orders, shows what
// became of them, and rebuilds a service's state from the log.
//
// It knows flags and terminals; everything else is done by package services. One file
// per command. Every flag is also a key of the YAML file that --config names and an
// environment variable (--data: SHOP_DATA).
//
// An error is one line on standard error with the cause and the next step. The exit
// status is 0, 1 for a failure and 2 for wrong usage.
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
	status := run(ctx, terminal{Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv}, os.Args[1:])
	stop()
	os.Exit(status)
}

// A terminal is what a command writes to and takes its environment from.
type terminal struct {
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) (string, bool)
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, t terminal, args []string) int {
	root := newRoot(t)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	return report(t.Err, cmd, err)
}
