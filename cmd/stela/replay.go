package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
)

type replay struct {
	*general
	format string
	key    string
	quiet  bool
	cut    string
	count  bool
}

func newReplay(g *general) *cobra.Command {
	c := &replay{general: g}
	cmd := &cobra.Command{
		Use:   "replay TOPIC...",
		Short: "Print topics from their beginning to their current end",
		Long: `Print every record of topics from the first that is kept to the end that they have
when the command begins, with the progress on standard error. The cut at which
it ended is the last line there: state that was folded from the log is
comparable only at a cut.

Format: ` + formatHelp + `.`,
		Example: `  stela replay order-events -f '%k %v\n' > orders.txt
  stela replay order-events --key 9827
  stela replay order-events payment-events --count`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.format, "format", "f", `%v\n`, "how to print a record")
	flags.StringVar(&c.key, "key", "", "only records with this `key`")
	flags.StringVar(&c.cut, "to", "", "stop at this `cut`, as an earlier replay printed it, instead of the end")
	flags.BoolVar(&c.count, "count", false, "print how many records there are instead of the records")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (c *replay) run(ctx context.Context, topics []string) error {
	printer, err := c.recordFormat(c.format)
	if err != nil {
		return err
	}
	cl, err := c.library()
	if err != nil {
		return err
	}
	defer cl.Close()
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	from, to, err := c.cuts(asking, cl, topics)
	cancel()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(c.Out, 64<<10)
	progress := newProgressLine(c.Err, c.quiet)
	var line []byte
	var matched int64
	err = cl.Replay(ctx, client.ReplayRequest{
		From: from, To: to,
		Visit: func(r client.Record) error {
			if c.key != "" && string(r.Key) != c.key {
				return nil
			}
			matched++
			if c.count {
				return nil
			}
			line = printer.append(line[:0], kafkaRecord(r))
			_, err := out.Write(line)
			return err
		},
		Progress: func(p client.Progress) { progress.update(p.Done, p.Total) },
	})
	if c.count && err == nil {
		fmt.Fprintln(out, matched)
	}
	if err := firstError(err, out.Flush()); err != nil {
		return fmt.Errorf("replay %s: %w", strings.Join(topics, ", "), err)
	}
	progress.end(to)
	return nil
}

// cuts returns where to begin and where to stop.
func (c *replay) cuts(ctx context.Context, cl *client.Client, topics []string) (from, to client.Cut, err error) {
	if to, err = client.ParseCut(c.cut); err != nil {
		return nil, nil, command.Usage(fmt.Errorf("--to: %w", err))
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	if of := slices.Sorted(maps.Keys(to)); c.cut != "" && !slices.Equal(of, topics) {
		return nil, nil, command.Usagef("--to is a cut of %s; name these topics", strings.Join(of, " "))
	}
	if from, err = cl.Starts(ctx, topics...); err != nil {
		return nil, nil, err
	}
	end, err := cl.Cut(ctx, topics...)
	if err != nil || c.cut == "" {
		return from, end, err
	}
	if !end.Covers(to) {
		return nil, nil, command.Advise(fmt.Errorf("--to is beyond the end, which is %s", end), "wait until the topics have come to it, or leave --to out")
	}
	return from, to, nil
}

func kafkaRecord(r client.Record) *kgo.Record {
	record := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Timestamp: r.Time}
	for _, header := range r.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
	}
	return record
}

// A progressLine rewrites one line of a terminal; elsewhere it prints only its end.
type progressLine struct {
	file    *os.File // nil unless it is a terminal
	plain   func(text string)
	began   time.Time
	printed time.Time
	done    int64
}

// progressEvery is how often the line is rewritten.
const progressEvery = 200 * time.Millisecond

func newProgressLine(w any, quiet bool) *progressLine {
	p := &progressLine{began: time.Now(), plain: func(string) {}}
	if quiet {
		return p
	}
	if writer, ok := w.(interface{ Write([]byte) (int, error) }); ok {
		p.plain = func(text string) { fmt.Fprintln(writer, text) }
	}
	if file, ok := w.(*os.File); ok && isTerminal(file) {
		p.file = file
	}
	return p
}

func (p *progressLine) update(done, total int64) {
	p.done = done
	now := time.Now()
	if p.file == nil || now.Sub(p.printed) < progressEvery {
		return
	}
	p.printed = now
	elapsed := now.Sub(p.began).Seconds()
	rate := float64(done) / max(elapsed, 0.001)
	left := "?"
	if rate > 0 {
		left = (time.Duration(float64(total-done)/rate) * time.Second).String()
	}
	fmt.Fprintf(p.file, "\r\033[K%3d%%  %d of %d records  %.0f/s  %s left", 100*done/max(total, 1), done, total, rate, left)
}

func (p *progressLine) end(cut client.Cut) {
	if p.file != nil {
		fmt.Fprint(p.file, "\r\033[K")
	}
	elapsed := time.Since(p.began)
	p.plain(fmt.Sprintf("replayed %d offsets in %s; cut %s", p.done, elapsed.Round(time.Millisecond), cut))
}
