package bench

import (
	"os"
	"path/filepath"
)

// driver is the program of bench/peers that measures what does not speak Kafka.
const driver = "stela-bench-peer"

// Others returns the peers that are not Stela, as they are installed below dir, in the
// order in which they take turns. Whether they are there is theirs to say: Peer.Version.
func Others(dir string) []*Peer {
	kafka := &Kafka{Dir: filepath.Join(dir, "kafka")}
	program := func(workloads []string, args ...string) *Program {
		return &Program{Path: filepath.Join(dir, "bin", driver), Args: args, Workloads: workloads}
	}
	publish := []string{"B3", "B4", "B13"}
	return []*Peer{
		{Name: "kafka", Durability: "in the page cache of all replicas in sync", System: kafka},
		{
			Name: "kafka-sync", Durability: "synced by all replicas in sync", System: kafka,
			TopicConfigs: map[string]string{"flush.messages": "1"},
		},
		{Name: "nats", Durability: "in the page cache of a majority", Program: program(publish, "nats")},
		{Name: "nats-sync", Durability: "synced by a majority", Program: program(publish, "nats", "--sync", "always")},
		{Name: "postgres", Durability: "synced by one node, the only one", Program: program([]string{"B13"}, "postgresql")},
	}
}

// PeersDir returns where the install script puts the peers: $STELA_BENCH_PEERS, or a folder
// below the user's home.
func PeersDir() string {
	if dir := os.Getenv("STELA_BENCH_PEERS"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "." // Nothing is there, and each peer says so.
	}
	return filepath.Join(home, ".cache", "stela-bench")
}
