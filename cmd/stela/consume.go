package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consume struct {
	*general
	topic         string
	format        string
	group         string
	offset        string
	fromBeginning bool
	fromTime      string
	partitions    []int32
	tail          int64
	count         int64
	exit          bool

	printer *format
	out     *bufio.Writer
	line    []byte
	printed int64
}

func newConsume(g *general) *cobra.Command {
	c := &consume{general: g}
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a topic",
		Long: `Print the records of a topic: those that arrive from now on, or from where
--from-beginning, --offset, --from-time or --tail says. A --group continues from
its committed offsets and commits what was printed.

Format: ` + formatHelp + `.`,
		Example: `  stela consume orders --from-beginning --exit
  stela consume orders --tail 10 -f '%p/%o %k: %v\n'
  stela consume orders --group audit -n 100 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.topic = args[0]
			for _, pair := range [][]string{{"from-beginning", "offset", "from-time", "tail"}, {"group", "partition"}, {"group", "tail"}} {
				if err := onlyOne(cmd, pair...); err != nil {
					return err
				}
			}
			return c.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.format, "format", "f", `%v\n`, "how to print a record")
	flags.StringVarP(&c.group, "group", "g", "", "consume as a member of this `group`")
	flags.BoolVar(&c.fromBeginning, "from-beginning", false, "begin at the first record")
	flags.StringVar(&c.offset, "offset", "", "begin at start, end or this `offset` in every partition; -N is N before the end")
	flags.StringVar(&c.fromTime, "from-time", "", "begin at the first record of this `time`, RFC 3339 or a duration ago such as 1h")
	flags.Int32SliceVarP(&c.partitions, "partition", "p", nil, "only these `partitions`")
	flags.Int64Var(&c.tail, "tail", 0, "begin with the last `N` records of the topic")
	flags.Int64VarP(&c.count, "count", "n", 0, "end after this `number` of records")
	flags.BoolVar(&c.exit, "exit", false, "end when everything that was there at the start is printed")
	return cmd
}

func (c *consume) run(ctx context.Context) error {
	var err error
	if c.printer, err = c.recordFormat(c.format); err != nil {
		return err
	}
	from, err := c.beginning()
	if err != nil {
		return err
	}
	c.out = bufio.NewWriterSize(c.Out, 64<<10)
	err = c.read(ctx, from)
	if errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is how a tail ends.
	}
	return firstError(err, c.out.Flush())
}

// parseTime reads RFC 3339 or a duration before now.
func parseTime(text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither like 2026-11-22T10:00:00Z nor like 15m", text)
	}
	return at, nil
}

// read connects and prints until the end that was asked for.
func (c *consume) read(ctx context.Context, from beginning) error {
	adm, done, err := c.admin(ctx)
	if err != nil {
		return err
	}
	defer done()
	spans, err := c.spans(ctx, adm, from)
	if err != nil {
		return err
	}
	options := []kgo.Opt{kgo.FetchMaxWait(500 * time.Millisecond)}
	if c.group != "" {
		options = append(options, kgo.ConsumerGroup(c.group), kgo.ConsumeTopics(c.topic), kgo.ConsumeResetOffset(from.reset()),
			kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())
	} else {
		// Without an offset to go back to, one that has just been removed is an error and no silent jump.
		options = append(options, kgo.ConsumePartitions(spans.assignment(c.topic)), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	}
	cl, err := c.connect(ctx, options...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	if c.tail > 0 {
		if err := c.printTail(ctx, cl, spans); err != nil || c.exit || c.enough() {
			return err
		}
	}
	if !c.exit {
		return c.poll(ctx, cl, nil)
	}
	spans.dropEmpty()
	for len(spans) > 0 && !c.enough() {
		polling, cancel := context.WithTimeout(ctx, time.Second)
		err := c.poll(polling, cl, spans)
		cancel()
		if err != nil && (!errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil) {
			return err
		}
		if c.group != "" { // Other members may have read what is missing here.
			if err := spans.dropCommitted(ctx, adm, c.group, c.topic); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *consume) enough() bool { return c.count > 0 && c.printed >= c.count }

// poll prints records until the count, the end of all spans (nil: none) or the end of ctx.
func (c *consume) poll(ctx context.Context, cl *kgo.Client, within spans) error {
	for (within == nil || len(within) > 0) && !c.enough() {
		fetches := cl.PollRecords(ctx, c.batchLimit())
		if err := firstError(fetches.Err0(), fetchError(fetches)); err != nil {
			return err
		}
		var printed []*kgo.Record
		for _, record := range fetches.Records() {
			if within == nil || within.take(record) {
				if err := c.printOne(record); err != nil {
					return err
				}
				printed = append(printed, record)
			}
		}
		if err := c.out.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if c.group != "" && len(printed) > 0 {
			if err := cl.CommitRecords(context.WithoutCancel(ctx), printed...); err != nil {
				return fmt.Errorf("commit offsets of group %s: %w", c.group, err)
			}
		}
		cl.AllowRebalance()
	}
	return nil
}

func (c *consume) printOne(record *kgo.Record) error {
	c.line = c.printer.append(c.line[:0], record)
	if _, err := c.out.Write(c.line); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c.printed++
	return nil
}

func fetchError(fetches kgo.Fetches) error {
	for _, failed := range fetches.Errors() {
		return fmt.Errorf("read %s partition %d: %w", failed.Topic, failed.Partition, failed.Err)
	}
	return nil
}

func (c *consume) batchLimit() int {
	const most = 10_000
	if c.count > 0 {
		return int(min(most, c.count-c.printed))
	}
	return most
}

// printTail prints the last records of the topic in the order of their times,
// and without --exit whatever else came with them.
func (c *consume) printTail(ctx context.Context, cl *kgo.Client, within spans) error {
	within.dropEmpty()
	var last, later []*kgo.Record
	for len(within) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := firstError(fetches.Err0(), fetchError(fetches)); err != nil {
			return err
		}
		for _, record := range fetches.Records() {
			if within.take(record) {
				last = append(last, record)
			} else {
				later = append(later, record)
			}
		}
	}
	slices.SortStableFunc(last, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
	last = last[max(0, int64(len(last))-c.tail):]
	if !c.exit {
		last = append(last, later...)
	}
	for _, record := range last {
		if c.enough() {
			break
		}
		if err := c.printOne(record); err != nil {
			return err
		}
	}
	return firstError(c.out.Flush())
}
