package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/cmd/internal/command"
)

type describedGroup struct {
	Group       string            `json:"group"`
	State       string            `json:"state"`
	Coordinator int32             `json:"coordinator"`
	Protocol    string            `json:"protocol"`
	Members     []describedMember `json:"members"`
	TotalLag    int64             `json:"totalLag"`
	Partitions  []describedLag    `json:"partitions"`
}

type describedMember struct {
	Member   string `json:"member"`
	Instance string `json:"instance,omitempty"`
	Client   string `json:"client"`
	Host     string `json:"host"`
}

type describedLag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	Next      int64  `json:"next"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
}

func newGroupDescribe(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "describe GROUP...",
		Short:   "Show members, committed offsets and lag of groups",
		Example: "  stela group describe audit",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return g.describeGroups(cmd.Context(), adm, args)
		},
	}
}

func (g *general) describeGroups(ctx context.Context, adm *kadm.Client, names []string) error {
	lags, err := adm.Lag(ctx, names...)
	if err != nil {
		return fmt.Errorf("describe groups: %w", err)
	}
	var described []describedGroup
	var tables []*command.Table
	for _, name := range names {
		lag, ok := lags[name]
		if ok {
			err = lag.Error()
		} else {
			err = kerr.GroupIDNotFound
		}
		if err == nil && lag.State == "Dead" {
			err = kerr.GroupIDNotFound
		}
		if err != nil {
			return fmt.Errorf("describe group %s: %w", name, err)
		}
		group := describeGroup(lag)
		described = append(described, group)
		tables = append(tables, group.tables()...)
	}
	return g.print(described, tables...)
}

func describeGroup(lag kadm.DescribedGroupLag) describedGroup {
	group := describedGroup{
		Group: lag.Group, State: lag.State, Coordinator: lag.Coordinator.NodeID, Protocol: lag.Protocol,
		Members: []describedMember{}, Partitions: []describedLag{}, TotalLag: lag.Lag.Total(),
	}
	for _, member := range lag.Members {
		m := describedMember{Member: member.MemberID, Client: member.ClientID, Host: member.ClientHost}
		if member.InstanceID != nil {
			m.Instance = *member.InstanceID
		}
		group.Members = append(group.Members, m)
	}
	for _, partition := range lag.Lag.Sorted() {
		row := describedLag{
			Topic: partition.Topic, Partition: partition.Partition,
			Committed: partition.Commit.At, Next: partition.End.Offset, Lag: partition.Lag,
		}
		if partition.Member != nil {
			row.Member = partition.Member.MemberID
		}
		group.Partitions = append(group.Partitions, row)
	}
	return group
}

func (d describedGroup) tables() []*command.Table {
	head := &command.Table{}
	head.Add("group", d.Group)
	head.Add("state", d.State)
	head.Add("coordinator", d.Coordinator)
	head.Add("protocol", d.Protocol)
	head.Add("members", len(d.Members))
	head.Add("total lag", d.TotalLag)
	rows := &command.Table{Head: []string{"TOPIC", "PARTITION", "COMMITTED", "NEXT", "LAG", "MEMBER"}}
	for _, p := range d.Partitions {
		committed, lag := fmt.Sprint(p.Committed), fmt.Sprint(p.Lag)
		if p.Committed < 0 {
			committed = "-"
		}
		if p.Lag < 0 {
			lag = "-"
		}
		rows.Add(p.Topic, p.Partition, committed, p.Next, lag, p.Member)
	}
	return []*command.Table{head, rows}
}
