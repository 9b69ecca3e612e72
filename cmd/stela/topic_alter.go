package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/stela-db/stela/cmd/internal/command"
)

type topicAlter struct {
	*general
	partitions int
	set        []string
	remove     []string
}

func newTopicAlter(g *general) *cobra.Command {
	c := &topicAlter{general: g}
	cmd := &cobra.Command{
		Use:   "alter TOPIC...",
		Short: "Change settings of topics or add partitions",
		Example: `  stela topic alter orders -c retention.ms=86400000
  stela topic alter orders --partitions 12 --delete-config retention.ms`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.IntVarP(&c.partitions, "partitions", "p", 0, "the new number of partitions, larger than now")
	flags.StringArrayVarP(&c.set, "topic-config", "c", nil, "a topic setting `name=value`; may be repeated")
	flags.StringArrayVar(&c.remove, "delete-config", nil, "the `name` of a setting that goes back to its default; may be repeated")
	return cmd
}

func (c *topicAlter) run(ctx context.Context, names []string) error {
	if c.partitions == 0 && len(c.set) == 0 && len(c.remove) == 0 {
		return command.Usagef("nothing to change; give --topic-config, --delete-config or --partitions")
	}
	pairs, err := parseAssignments(c.set)
	if err != nil {
		return err
	}
	var changes []kadm.AlterConfig
	for name, value := range pairs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value})
	}
	for _, name := range c.remove {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	adm, done, err := c.admin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if len(changes) > 0 {
		answers, err := adm.AlterTopicConfigs(ctx, changes, names...)
		if err != nil {
			return fmt.Errorf("change topic settings: %w", err)
		}
		for _, answer := range answers {
			if answer.Err != nil {
				return fmt.Errorf("change settings of topic %s: %w", answer.Name, firstFailure(answer.Err, answer.ErrMessage))
			}
		}
	}
	if c.partitions > 0 {
		answers, err := adm.UpdatePartitions(ctx, c.partitions, names...)
		if err != nil {
			return fmt.Errorf("add partitions: %w", err)
		}
		for _, answer := range answers {
			if answer.Err != nil {
				return fmt.Errorf("add partitions to topic %s: %w", answer.Topic, firstFailure(answer.Err, answer.ErrMessage))
			}
		}
	}
	t := &command.Table{Head: []string{"TOPIC", "STATUS"}}
	for _, name := range names {
		t.Add(name, "changed")
	}
	return c.print(map[string]any{"changed": names}, t)
}
