package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/cmd/internal/command"
)

type groupSeek struct {
	*general
	topics []string
	to     string
	dryRun bool
}

type soughtOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    int64  `json:"before"`
	After     int64  `json:"after"`
}

func newGroupSeek(g *general) *cobra.Command {
	c := &groupSeek{general: g}
	cmd := &cobra.Command{
		Use:   "seek GROUP --to start|end|OFFSET|TIME",
		Short: "Move the committed offsets of a group that has no members",
		Example: `  stela group seek audit --to start
  stela group seek audit --to 2h --topic orders --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&c.topics, "topic", "t", nil, "the `topics`; without it, those that the group has offsets of")
	flags.StringVar(&c.to, "to", "", "start, end, an offset, a `time` (RFC 3339), or a duration ago such as 2h")
	flags.BoolVar(&c.dryRun, "dry-run", false, "only show what would change")
	return cmd
}

func (c *groupSeek) run(ctx context.Context, group string) error {
	if c.to == "" {
		return command.Usagef("where to? give --to start, end, an offset or a time")
	}
	adm, done, err := c.admin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := checkNoMembers(ctx, adm, group); err != nil {
		return err
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return fmt.Errorf("read offsets of group %s: %w", group, err)
	}
	topics := c.topics
	if len(topics) == 0 {
		if topics = committed.Partitions().Topics(); len(topics) == 0 {
			return command.Advise(fmt.Errorf("group %s has no committed offsets", group), "name its topics with --topic")
		}
	}
	if _, err := describeTopics(ctx, adm, topics); err != nil {
		return err
	}
	targets, err := c.targets(ctx, adm, topics)
	if err != nil {
		return err
	}
	if !c.dryRun {
		if err := adm.CommitAllOffsets(ctx, group, targets.Offsets()); err != nil {
			return fmt.Errorf("commit offsets of group %s: %w", group, err)
		}
	}
	sought := []soughtOffset{}
	t := &command.Table{Head: []string{"TOPIC", "PARTITION", "BEFORE", "AFTER"}}
	for _, target := range targets.Offsets().Sorted() {
		s := soughtOffset{Topic: target.Topic, Partition: target.Partition, Before: -1, After: target.At}
		if before, ok := committed.Lookup(target.Topic, target.Partition); ok {
			s.Before = before.At
		}
		sought = append(sought, s)
		t.Add(s.Topic, s.Partition, s.Before, s.After)
	}
	return c.print(sought, t)
}

func checkNoMembers(ctx context.Context, adm *kadm.Client, group string) error {
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return fmt.Errorf("describe group %s: %w", group, err)
	}
	if members := len(described[group].Members); members > 0 {
		return fmt.Errorf("group %s has %d members: %w", group, members, kerr.NonEmptyGroup)
	}
	return nil
}

// targets returns the offsets to commit.
func (c *groupSeek) targets(ctx context.Context, adm *kadm.Client, topics []string) (kadm.ListedOffsets, error) {
	switch c.to {
	case "start":
		return listed(adm.ListStartOffsets(ctx, topics...))
	case "end":
		return listed(adm.ListEndOffsets(ctx, topics...))
	}
	if n, err := strconv.ParseInt(c.to, 10, 64); err == nil {
		if n < 0 {
			return nil, command.Usagef("--to is %d; an offset is 0 or more", n)
		}
		starts, err := listed(adm.ListStartOffsets(ctx, topics...))
		if err != nil {
			return nil, err
		}
		ends, err := listed(adm.ListEndOffsets(ctx, topics...))
		if err != nil {
			return nil, err
		}
		for topic, partitions := range ends {
			for partition, end := range partitions {
				start, _ := starts.Lookup(topic, partition)
				end.Offset = min(max(n, start.Offset), end.Offset)
				partitions[partition] = end
			}
		}
		return ends, nil
	}
	at, err := parseTime(c.to)
	if err != nil {
		return nil, command.Usage(fmt.Errorf("--to: %w; start, end and an offset are possible too", err))
	}
	return listed(adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topics...))
}
