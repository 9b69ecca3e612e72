package broker

import "github.com/stela-db/stela/log/record"

// A Status is what this node knows of the cluster's replication, for operators.
type Status struct {
	Node   int32         // who tells
	Shards []ShardStatus // shard 0, the metadata, first
	Peers  []PeerStatus  // the other nodes
}

// A ShardStatus is the state of this node's replica of one shard.
type ShardStatus struct {
	Shard                 record.Shard
	Role                  string // "leader", "follower", "candidate" or "stopped"
	Leader                int32  // node; -1 for none
	Term                  record.Term
	Commit, Applied, Last record.Index
	Changes               uint64           // how often this node became the leader or ceased to be
	Followers             []FollowerStatus // as the leader knows them; empty on other nodes
}

// A FollowerStatus says how far another node's replica is behind.
type FollowerStatus struct {
	Node  int32
	Voter bool
	Match record.Index // the last entry that is known to be there
	Lag   uint64       // entries
}

// A PeerStatus says whether another node is connected.
type PeerStatus struct {
	Node      int32
	Connected bool
	Problem   string // why not
}

// Status returns the state of replication as of now.
func (b *Broker) Status() Status {
	node := b.config.Replication
	status := Status{Node: b.Node()}
	for _, peer := range node.Peers() {
		status.Peers = append(status.Peers, PeerStatus{Node: peer.Node, Connected: peer.Connected, Problem: peer.Err})
	}
	for id := range node.Shards() + 1 {
		group := node.Group(record.Shard(id))
		state := group.Status()
		shard := ShardStatus{
			Shard: record.Shard(id), Role: state.Role.String(), Leader: group.Leader().Node, Term: state.Term,
			Commit: state.Commit, Applied: state.Applied, Last: state.Last, Changes: state.Changes,
		}
		for _, f := range state.Followers {
			shard.Followers = append(shard.Followers, FollowerStatus{Node: f.Node, Voter: f.Voter, Match: f.Match, Lag: f.Lag})
		}
		status.Shards = append(status.Shards, shard)
	}
	return status
}
