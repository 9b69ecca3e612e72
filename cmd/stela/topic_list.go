package main

import (
	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

type listedTopic struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
}

func newTopicList(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List topics",
		Example: "  stela topic list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			details, err := describeTopics(cmd.Context(), adm, nil)
			if err != nil {
				return err
			}
			listed := []listedTopic{}
			t := &command.Table{Head: []string{"TOPIC", "PARTITIONS", "REPLICAS"}}
			for _, detail := range details {
				if detail.IsInternal {
					continue
				}
				replicas := detail.Partitions.NumReplicas()
				listed = append(listed, listedTopic{Topic: detail.Topic, Partitions: len(detail.Partitions), Replicas: replicas})
				t.Add(detail.Topic, len(detail.Partitions), replicas)
			}
			return g.print(listed, t)
		},
	}
}
