// Package group is the state machine of Kafka's classic consumer groups: who is a member, which generation it is,
// who was assigned what, and the offsets that were committed.
//
// It knows one shard's groups and nothing of clients' connections, of replication or of topics: a topic is a name, what
// members say to each other is opaque but for the list of topics in a consumer's subscription. It behaves
// as Kafka's coordinator does for JoinGroup 0–9, SyncGroup 0–5, Heartbeat 0–4, LeaveGroup 0–5, OffsetCommit 2–9,
// OffsetFetch 1–9, OffsetDelete, DescribeGroups, ListGroups and DeleteGroups. Where that is silent (a request that is sent
// twice, a member that leaves while it waits) every parked request is answered all the same.
//
// A request leads to Effects: records, to be replicated, and answers. The state has two parts:
//
//   - replicated: for each group the members, assignments and generation that the leader's last Sync made, and the
//     offsets. Only Replay changes it, with records that are committed, in the same way on every node.
//   - volatile, on the node that leads: sessions, requests that are parked until others come, and a rebalance that is
//     under way. It is ahead of the replicated part by the records that are on their way, and dies with the leadership.
//
// A new leader (Lead) takes up every group as it was stored. Members go on with their generation and notice nothing;
// each has a full session timeout to be heard of. A rebalance that was under way is forgotten: its members are told
// ErrIllegalGeneration or ErrUnknownMember and join again.
//
// Promises: an answer that was given after its records were committed (see Effects) holds on every later leader. A
// committed offset changes by a later commit, a deletion, or when it expires, and in no other way. The generation of a
// group never goes back while the group exists. Whatever clients send, memory stays within the limits of
// Config; bytes that are no record are an error, never a panic.
//
// Concurrency: none. The caller lets one goroutine at a time into a Machine, tells it the time, and calls Tick when
// Effects.Wake has come.
//
// Records and rows (what a Machine consists of, by key, for those who store it so) are drawn in record.go and
// stored.go.
package group
