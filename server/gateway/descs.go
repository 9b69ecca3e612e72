package gateway

import "github.com/stela-db/stela/internal/metrics"

// descs are the series that are read at a scrape. Those called exporter have the names
// of the kafka_exporter. Redpanda's consumer_group_lag_sum is called consumer_group_lag
// here, and the exporter's kafka_consumergroup_lag_sum is left out: promtool refuses _sum
// on what is no histogram, and sum() of the partitions' lag is the same.
type descs struct {
	nodeDescs
	clusterDescs
	groupDescs
	exporterDescs
}

type nodeDescs struct {
	build, uptime, ready              *metrics.Desc
	peerConnected                     *metrics.Desc
	raftLeader, raftTerm, raftCommit  *metrics.Desc
	raftApplied, raftLag, raftChanges *metrics.Desc
	maxOffset, underReplicated        *metrics.Desc
}

type clusterDescs struct {
	brokers, topics, partitionCount, unavailable *metrics.Desc
}

type groupDescs struct {
	groupMembers, groupCommitted, groupLag, groupLagMax, groupLeftOut *metrics.Desc
}

type exporterDescs struct {
	exporterBrokers, exporterBrokerInfo, exporterPartitions *metrics.Desc
	exporterCurrent, exporterOldest                         *metrics.Desc
	exporterLeader                                          *metrics.Desc
	exporterReplicas, exporterInSync, exporterUnder         *metrics.Desc
	exporterGroupOffset, exporterGroupLag, exporterMembers  *metrics.Desc
}

func gauge(name, help string, labels ...string) *metrics.Desc {
	return metrics.NewDesc(metrics.KindGauge, name, help, labels...)
}

func newDescs() descs {
	return descs{nodeDescs: newNodeDescs(), clusterDescs: clusterDescs{
		brokers:        gauge("stela_cluster_brokers", "Brokers that are registered."),
		topics:         gauge("stela_cluster_topics", "Topics."),
		partitionCount: gauge("stela_cluster_partitions", "Partitions of all topics."),
		unavailable:    gauge("stela_cluster_unavailable_partitions", "Partitions without a leader."),
	}, groupDescs: groupDescs{
		groupMembers:   gauge("stela_kafka_consumer_group_consumers", "Members of the group.", "group"),
		groupCommitted: gauge("stela_kafka_consumer_group_committed_offset", "Committed offset.", "group", "topic", "partition"),
		groupLag:       gauge("stela_kafka_consumer_group_lag", "Records after the committed offsets, of all of the topic's partitions.", "group", "topic"),
		groupLagMax:    gauge("stela_kafka_consumer_group_lag_max", "Records after the committed offset of the topic's partition that is farthest behind.", "group", "topic"),
		groupLeftOut:   gauge("stela_kafka_consumer_group_series_left_out", "Groups, topics and partitions of groups that are not told because there are too many.", "of"),
	}, exporterDescs: newExporterDescs()}
}

func newNodeDescs() nodeDescs {
	return nodeDescs{
		build:  gauge("stela_application_build", "Always 1; the labels tell the build.", "version", "go_version"),
		uptime: metrics.NewDesc(metrics.KindCounter, "stela_application_uptime_seconds_total", "Time since the start."),
		ready:  gauge("stela_application_ready", "1 when the node has joined, has caught up and can serve."),

		peerConnected: gauge("stela_raft_peer_connected", "1 when the other node is connected.", "node"),
		raftLeader:    gauge("stela_raft_leader", "1 when this node leads the shard; shard 0 is the metadata.", "shard"),
		raftTerm:      gauge("stela_raft_term", "The shard's term, which every election raises.", "shard"),
		raftChanges:   metrics.NewDesc(metrics.KindCounter, "stela_raft_leadership_changes_total", "Times this node became the shard's leader or ceased to be.", "shard"),
		raftCommit:    gauge("stela_raft_commit_index", "The last entry that is known to be committed.", "shard"),
		raftApplied:   gauge("stela_raft_applied_index", "The last entry that is applied here.", "shard"),
		raftLag:       gauge("stela_raft_follower_lag_entries", "Entries that a follower is behind, as this leader knows.", "shard", "node"),

		maxOffset:       gauge("stela_kafka_max_offset", "The offset after the last committed record.", "topic", "partition"),
		underReplicated: gauge("stela_kafka_under_replicated_replicas", "Replicas that are not reachable or far behind.", "topic", "partition"),
	}
}

func newExporterDescs() exporterDescs {
	return exporterDescs{
		exporterBrokers:    gauge("kafka_brokers", "Number of brokers in the cluster."),
		exporterBrokerInfo: gauge("kafka_broker_info", "Information about a broker.", "id", "address"),
		exporterPartitions: gauge("kafka_topic_partitions", "Number of partitions of the topic.", "topic"),
		exporterCurrent:    gauge("kafka_topic_partition_current_offset", "The offset after the partition's last record.", "topic", "partition"),
		exporterOldest:     gauge("kafka_topic_partition_oldest_offset", "The first offset that is still there.", "topic", "partition"),
		exporterLeader:     gauge("kafka_topic_partition_leader", "The partition's leader.", "topic", "partition"),
		exporterReplicas:   gauge("kafka_topic_partition_replicas", "Number of replicas.", "topic", "partition"),
		exporterInSync:     gauge("kafka_topic_partition_in_sync_replica", "Number of replicas that are in sync.", "topic", "partition"),
		exporterUnder:      gauge("kafka_topic_partition_under_replicated_partition", "1 when a replica is not in sync.", "topic", "partition"),

		exporterGroupOffset: gauge("kafka_consumergroup_current_offset", "Committed offset.", "consumergroup", "topic", "partition"),
		exporterGroupLag:    gauge("kafka_consumergroup_lag", "Records after the committed offset.", "consumergroup", "topic", "partition"),
		exporterMembers:     gauge("kafka_consumergroup_members", "Members of the group.", "consumergroup"),
	}
}
