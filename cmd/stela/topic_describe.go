package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/stela-db/stela/cmd/internal/command"
)

type describedTopic struct {
	Topic      string               `json:"topic"`
	ID         string               `json:"id"`
	Configs    map[string]string    `json:"configs"`
	Partitions []describedPartition `json:"partitions"`
}

type describedPartition struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leaderEpoch"`
	Replicas    []int32 `json:"replicas"`
	InSync      []int32 `json:"inSync"`
	Offline     []int32 `json:"offline"`
	FirstOffset int64   `json:"firstOffset"`
	NextOffset  int64   `json:"nextOffset"`
}

func newTopicDescribe(g *general) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "describe TOPIC...",
		Short:   "Show partitions, leaders, offsets and settings of topics",
		Example: "  stela topic describe orders --all",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return g.describeTopics(cmd.Context(), adm, args, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show settings that have their default value too")
	return cmd
}

func (g *general) describeTopics(ctx context.Context, adm *kadm.Client, names []string, all bool) error {
	details, err := describeTopics(ctx, adm, names)
	if err != nil {
		return err
	}
	starts, err := adm.ListStartOffsets(ctx, names...)
	if err != nil {
		return fmt.Errorf("list first offsets: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return fmt.Errorf("list next offsets: %w", err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("read topic settings: %w", err)
	}
	var described []describedTopic
	var tables []*command.Table
	for _, detail := range details {
		topic := describedTopic{Topic: detail.Topic, ID: detail.ID.String(), Configs: map[string]string{}}
		config, err := configs.On(detail.Topic, nil)
		if err == nil {
			err = config.Err
		}
		if err != nil {
			return fmt.Errorf("read settings of topic %s: %w", detail.Topic, err)
		}
		for _, setting := range config.Configs {
			if all || setting.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				topic.Configs[setting.Key] = setting.MaybeValue()
			}
		}
		for _, partition := range detail.Partitions.Sorted() {
			start, _ := starts.Lookup(detail.Topic, partition.Partition)
			end, _ := ends.Lookup(detail.Topic, partition.Partition)
			topic.Partitions = append(topic.Partitions, describedPartition{
				Partition: partition.Partition, Leader: partition.Leader, LeaderEpoch: partition.LeaderEpoch,
				Replicas: partition.Replicas, InSync: partition.ISR, Offline: append([]int32{}, partition.OfflineReplicas...),
				FirstOffset: start.Offset, NextOffset: end.Offset,
			})
		}
		described = append(described, topic)
		tables = append(tables, topic.tables()...)
	}
	return g.print(described, tables...)
}

func (d describedTopic) tables() []*command.Table {
	head := &command.Table{}
	head.Add("topic", d.Topic)
	head.Add("id", d.ID)
	names := make([]string, 0, len(d.Configs))
	for name := range d.Configs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		head.Add(name, d.Configs[name])
	}
	rows := &command.Table{Head: []string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC", "OFFLINE", "FIRST", "NEXT"}}
	for _, p := range d.Partitions {
		rows.Add(p.Partition, p.Leader, p.LeaderEpoch, joinNumbers(p.Replicas), joinNumbers(p.InSync), joinNumbers(p.Offline), p.FirstOffset, p.NextOffset)
	}
	return []*command.Table{head, rows}
}

func joinNumbers(numbers []int32) string {
	if len(numbers) == 0 {
		return "-"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
}
