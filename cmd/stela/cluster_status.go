package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/stela-db/stela/cmd/internal/command"
)

type clusterStatus struct {
	Cluster         string       `json:"cluster"`
	Controller      int32        `json:"controller"`
	Healthy         bool         `json:"healthy"`
	Topics          int          `json:"topics"`
	Partitions      int          `json:"partitions"`
	Leaderless      int          `json:"leaderless"`
	UnderReplicated int          `json:"underReplicated"`
	Nodes           []nodeStatus `json:"nodes"`
}

type nodeStatus struct {
	Node      int32  `json:"node"`
	Kafka     string `json:"kafka"`
	Reachable bool   `json:"reachable"`
	Leads     int    `json:"leads"`
	Copies    int    `json:"copies"`
	InSync    int    `json:"inSync"`
}

func newClusterStatus(g *general) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the nodes of a cluster and whether all partitions are served",
		Long: `Show the nodes of a cluster and whether all partitions have a leader and all
their copies. The exit status is 1 when a partition has no leader.`,
		Example: "  stela cluster status -b 127.0.0.1:9093",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := g.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return g.clusterStatus(cmd.Context(), adm)
		},
	}
}

func (g *general) clusterStatus(ctx context.Context, adm *kadm.Client) error {
	metadata, err := adm.Metadata(ctx)
	if err != nil {
		return fmt.Errorf("ask for the cluster's state: %w", err)
	}
	reachable := map[int32]bool{}
	answers, err := adm.ApiVersions(ctx)
	if err != nil {
		return fmt.Errorf("ask the nodes: %w", err)
	}
	for _, answer := range answers {
		reachable[answer.NodeID] = answer.Err == nil
	}
	status := summarize(metadata, reachable)
	if err := g.print(status, status.tables()...); err != nil {
		return err
	}
	if status.Leaderless > 0 {
		return command.Advise(fmt.Errorf("%d of %d partitions have no leader", status.Leaderless, status.Partitions), "start the nodes that are missing")
	}
	return nil
}

func summarize(metadata kadm.Metadata, reachable map[int32]bool) clusterStatus {
	status := clusterStatus{Cluster: metadata.Cluster, Controller: metadata.Controller, Healthy: metadata.Controller >= 0}
	nodes := map[int32]*nodeStatus{}
	for _, broker := range metadata.Brokers {
		nodes[broker.NodeID] = &nodeStatus{
			Node: broker.NodeID, Kafka: fmt.Sprintf("%s:%d", broker.Host, broker.Port), Reachable: reachable[broker.NodeID],
		}
	}
	addMissing(nodes, metadata)
	for _, topic := range metadata.Topics {
		status.Topics++
		for _, partition := range topic.Partitions {
			status.Partitions++
			if partition.Leader < 0 {
				status.Leaderless++
			}
			if len(partition.ISR) < len(partition.Replicas) {
				status.UnderReplicated++
			}
			if node := nodes[partition.Leader]; node != nil {
				node.Leads++
			}
			countCopies(nodes, partition)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		status.Nodes = append(status.Nodes, *nodes[id])
		status.Healthy = status.Healthy && nodes[id].Reachable
	}
	status.Healthy = status.Healthy && status.Leaderless == 0 && status.UnderReplicated == 0
	return status
}

// addMissing adds the nodes that keep copies and are not among the brokers: the cluster does not reach them.
func addMissing(nodes map[int32]*nodeStatus, metadata kadm.Metadata) {
	for _, topic := range metadata.Topics {
		for _, partition := range topic.Partitions {
			for _, id := range partition.Replicas {
				if nodes[id] == nil {
					nodes[id] = &nodeStatus{Node: id}
				}
			}
		}
	}
}

func countCopies(nodes map[int32]*nodeStatus, partition kadm.PartitionDetail) {
	for _, id := range partition.Replicas {
		if node := nodes[id]; node != nil {
			node.Copies++
		}
	}
	for _, id := range partition.ISR {
		if node := nodes[id]; node != nil {
			node.InSync++
		}
	}
}

func (s clusterStatus) tables() []*command.Table {
	head := &command.Table{}
	head.Add("cluster", s.Cluster)
	head.Add("controller", s.Controller)
	head.Add("healthy", s.Healthy)
	head.Add("topics", s.Topics)
	head.Add("partitions", s.Partitions)
	head.Add("without leader", s.Leaderless)
	head.Add("under-replicated", s.UnderReplicated)
	rows := &command.Table{Head: []string{"NODE", "KAFKA", "REACHABLE", "LEADS", "COPIES", "IN-SYNC"}}
	for _, n := range s.Nodes {
		rows.Add(n.Node, n.Kafka, n.Reachable, n.Leads, n.Copies, n.InSync)
	}
	return []*command.Table{head, rows}
}
