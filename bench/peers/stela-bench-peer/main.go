package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: stela-bench-peer nats|postgresql [flags] version
       stela-bench-peer nats|postgresql [flags] run WORKLOAD DIR [CONFIG]
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(os.Stderr, usage)
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "stela-bench-peer:", err)
		os.Exit(1)
	}
}

// A peer is what can be measured: servers that are started, driven and ended once.
type peer interface {
	// version returns the version of what would be measured, or why it cannot be had.
	version(ctx context.Context) (string, error)
	// start starts the servers in dir and prepares what the workload needs. stop must
	// follow, also after an error.
	start(ctx context.Context, dir string, w workload) error
	// processes returns the servers' process ids, one for each node.
	processes() []int
	stop()
	// store stores one record of the workload and returns when it was acknowledged. As an
	// event it goes to the stream, if nobody added one since the last that the clients of
	// this process know of; else it is a conflict.
	store(ctx context.Context, stream int, value []byte) (conflict bool, err error)
	// replay reads every event of all streams, in the way in which it is fastest, and
	// returns their number and the bytes of their values.
	replay(ctx context.Context) (events, bytes int64, err error)
}

// command does what args say. The answer goes to out; a run ends with in.
func command(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return flag.ErrHelp
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	var p peer
	switch args[0] {
	case "nats":
		n := &natsPeer{}
		flags.StringVar(&n.sync, "sync", syncDefault, "when JetStream syncs: default or always")
		flags.StringVar(&n.server, "server", "", "nats-server; else beside this program, else on PATH")
		p = n
	case "postgresql":
		s := &postgres{}
		flags.StringVar(&s.bin, "bin", "", "the folder of initdb and postgres; else where Debian or PATH has it")
		p = s
	default:
		return fmt.Errorf("no peer %q: use nats or postgresql", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch rest := flags.Args(); {
	case len(rest) == 1 && rest[0] == "version":
		version, err := p.version(ctx)
		if err == nil {
			fmt.Fprintln(out, version)
		}
		return err
	case (len(rest) == 3 || len(rest) == 4) && rest[0] == "run":
		w, err := parseWorkload(rest[1], rest[3:])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		// It ends with the process: who started us holds the other end.
		go func() {
			_, _ = io.Copy(io.Discard, in)
			cancel(errors.New("standard input was closed"))
		}()
		err = run(ctx, p, rest[2], w, &events{out: out})
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return fmt.Errorf("%w (%w)", err, cause)
		}
		return err
	}
	return flag.ErrHelp
}
