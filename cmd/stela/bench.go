package main

import (
	"github.com/spf13/cobra"

	"github.com/stela-db/stela/bench"
	"github.com/stela-db/stela/cmd/internal/command"
)

// benchFolder is where results go and come from unless told otherwise.
const benchFolder = "stela-bench"

func newBench(g *general) *cobra.Command {
	cmd := parent("bench", "Measure this build beside Kafka, NATS and PostgreSQL",
		newBenchRun(g), newBenchList(g), newBenchReport(g))
	cmd.Long = `Measure this build beside Kafka, NATS and PostgreSQL: the same workloads, the
same client, the same machine, in turn. 'make bench-peers' installs the peers.`
	cmd.Example = `  stela bench list
  stela bench run B1 B3 --peers stela,kafka,kafka-sync
  stela bench report`
	return cmd
}

// benchPeers returns all peers in the order in which they take turns.
func benchPeers() []*bench.Peer {
	info := currentVersion()
	stela := &bench.Stela{Build: info.Version + " " + info.Commit, Extra: []string{
		// Removed topics make room at once: the runs of a minute need not all fit on the disk.
		"--retention-check", "2s", "--auto-create=false", "--log-level", "warn",
	}}
	own := &bench.Peer{Name: "stela", Durability: "synced by a majority", System: stela}
	return append([]*bench.Peer{own}, bench.Others(bench.PeersDir())...)
}

// benchPeersNamed returns the peers of these names; "all" is all of them.
func benchPeersNamed(names []string) ([]*bench.Peer, error) {
	known := benchPeers()
	var chosen []*bench.Peer
	var all []string
	for _, peer := range known {
		all = append(all, peer.Name)
		for _, name := range names {
			if name == peer.Name || name == "all" {
				chosen = append(chosen, peer)
				break
			}
		}
	}
	for _, name := range names {
		found := name == "all"
		for _, peer := range known {
			found = found || name == peer.Name
		}
		if !found {
			return nil, command.Usagef("--peers: no peer %q; did you mean %q?", name, command.Nearest(name, all))
		}
	}
	return chosen, nil
}

func newBenchList(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List workloads, and peers with their versions or why they are missing",
		Example: "  stela bench list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			workloads := &command.Table{Head: []string{"WORKLOAD", "WHAT IT DOES"}}
			for _, config := range bench.Workloads() {
				workloads.Add(config.ID, config.Title)
			}
			peers := &command.Table{Head: []string{"PEER", "AN ACKNOWLEDGED RECORD IS", "VERSION"}}
			listed := struct {
				Workloads []bench.Config   `json:"workloads"`
				Peers     []bench.PeerInfo `json:"peers"`
			}{Workloads: bench.Workloads()}
			for _, peer := range benchPeers() {
				info := bench.PeerInfo{Name: peer.Name, Durability: peer.Durability}
				version, err := peer.Version(cmd.Context())
				if err != nil {
					info.Missing = command.OneLine(err.Error())
					version = "none: " + info.Missing
				} else {
					info.Version = version
				}
				listed.Peers = append(listed.Peers, info)
				peers.Add(peer.Name, peer.Durability, version)
			}
			return g.print(listed, workloads, peers)
		},
	}
}
