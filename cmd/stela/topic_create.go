package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/cmd/internal/command"
)

type createdTopic struct {
	Topic      string `json:"topic"`
	Partitions int32  `json:"partitions"`
	Replicas   int16  `json:"replicas"`
	Existed    bool   `json:"existed,omitempty"`
}

type topicCreate struct {
	*general
	partitions  int32
	replicas    int16
	configs     []string
	ifNotExists bool
	dryRun      bool
}

func newTopicCreate(g *general) *cobra.Command {
	c := &topicCreate{general: g}
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Make topics",
		Example: `  stela topic create orders -p 6
  stela topic create ledger -c eventstore.enable=true -c retention.ms=-1`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.Int32VarP(&c.partitions, "partitions", "p", -1, "how many partitions; -1 for the cluster's default")
	flags.Int16VarP(&c.replicas, "replicas", "r", -1, "how many copies; -1 for as many as the cluster keeps")
	flags.StringArrayVarP(&c.configs, "topic-config", "c", nil, "a topic setting `name=value`; may be repeated")
	flags.BoolVar(&c.ifNotExists, "if-not-exists", false, "a topic that is there already is no error")
	flags.BoolVar(&c.dryRun, "dry-run", false, "only check whether it could be made")
	return cmd
}

func (c *topicCreate) run(ctx context.Context, names []string) error {
	configs, err := parseAssignments(c.configs)
	if err != nil {
		return err
	}
	adm, done, err := c.admin(ctx)
	if err != nil {
		return err
	}
	defer done()
	create := adm.CreateTopics
	if c.dryRun {
		create = adm.ValidateCreateTopics
	}
	answers, err := create(ctx, c.partitions, c.replicas, configs, names...)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	var created []createdTopic
	t := &command.Table{Head: []string{"TOPIC", "PARTITIONS", "REPLICAS"}}
	for _, name := range names {
		answer, ok := answers[name]
		if !ok {
			return fmt.Errorf("create topic %s: the broker did not answer for it", name)
		}
		existed := c.ifNotExists && errors.Is(answer.Err, kerr.TopicAlreadyExists)
		if answer.Err != nil && !existed {
			return fmt.Errorf("create topic %s: %w", name, firstFailure(answer.Err, answer.ErrMessage))
		}
		created = append(created, createdTopic{Topic: name, Partitions: answer.NumPartitions, Replicas: answer.ReplicationFactor, Existed: existed})
		if existed {
			t.Add(name, "was there already")
			continue
		}
		t.Add(name, answer.NumPartitions, answer.ReplicationFactor)
	}
	return c.print(created, t)
}
