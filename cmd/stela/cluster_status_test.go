package main

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A node that the cluster does not reach is not among its brokers, and is shown all the same.
func TestStatusShowsMissingNodes(t *testing.T) {
	metadata := kadm.Metadata{
		Controller: 1,
		Brokers:    kadm.BrokerDetails{{NodeID: 1, Host: "a", Port: 9092}, {NodeID: 3, Host: "c", Port: 9092}},
		Topics: kadm.TopicDetails{"t": {Topic: "t", Partitions: kadm.PartitionDetails{
			0: {Leader: 3, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 3}},
		}}},
	}
	status := summarize(metadata, map[int32]bool{1: true, 3: true})
	if len(status.Nodes) != 3 || status.Healthy {
		t.Fatalf("%+v", status)
	}
	if missing := status.Nodes[1]; missing.Node != 2 || missing.Reachable || missing.Copies != 1 || missing.InSync != 0 {
		t.Errorf("the missing node: %+v", missing)
	}
}
