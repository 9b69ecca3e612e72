package group

import (
	"time"

	"github.com/stela-db/stela/log/record"
)

// A Request is one of the pointers to the request types of this file.
type Request interface {
	isRequest()
}

// NoGeneration is the generation of a commit from a client that manages no group, and of an answer without one.
const NoGeneration int32 = -1

// Join asks for membership in the next generation. The answer is a *JoinResult; it
// comes when the generation begins, which may take as long as the rebalance timeout.
type Join struct {
	Group              string
	MemberID           string // empty for a client that is not a member yet
	InstanceID         string // of a static member; empty for none
	ClientID           string
	ClientHost         string
	ProtocolType       string
	Protocols          []Protocol // in the order of preference
	SessionTimeout     time.Duration
	RebalanceTimeout   time.Duration
	RequireKnownMember bool // JoinGroup version 4 and above: a dynamic member asks twice
	CanSkipAssignment  bool // JoinGroup version 9 and above
	Reason             string
}

// A Protocol is one way of assigning partitions that a member can speak, and what it says in it. The bytes are kept as long
// as the member is there.
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinResult answers Join. With ErrMemberIDRequired MemberID is the id to join with;
// with other errors it is what the request said, or empty.
type JoinResult struct {
	MemberID       string
	Generation     int32 // NoGeneration with an error
	ProtocolType   string
	Protocol       string
	Leader         string
	SkipAssignment bool
	Members        []JoinMember // for the leader only
}

// A JoinMember is what the leader learns of one member.
type JoinMember struct {
	ID         string
	InstanceID string
	Metadata   []byte
}

// Sync asks for the member's assignment; the leader's Sync brings everyone's. The answer is a
// *SyncResult; it comes when the leader's assignment is committed.
type Sync struct {
	Group        string
	MemberID     string
	InstanceID   string
	Generation   int32
	ProtocolType string // empty when the client did not say (before version 5)
	Protocol     string // likewise
	Assignments  []Assignment
}

// An Assignment is what the leader gives to one member. The bytes are kept until the next generation.
type Assignment struct {
	MemberID string
	Data     []byte
}

// SyncResult answers Sync.
type SyncResult struct {
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// Heartbeat keeps a member's session alive. The answer is a nil Response; ErrRebalanceInProgress asks to join again.
type Heartbeat struct {
	Group      string
	MemberID   string
	InstanceID string
	Generation int32
}

// Leave removes members. The answer is a *LeaveResult.
type Leave struct {
	Group   string
	Members []LeaveMember
}

// A LeaveMember names who leaves. An administrator removes a static member by its InstanceID and an empty MemberID.
type LeaveMember struct {
	MemberID   string
	InstanceID string
	Reason     string
}

// LeaveResult answers Leave, one element for each member of the request in its order.
type LeaveResult struct {
	Members []LeaveMemberResult
}

// LeaveMemberResult says how it went for one member.
type LeaveMemberResult struct {
	MemberID   string
	InstanceID string
	Err        error
}

// OffsetCommit stores offsets. The answer is a *CommitResult, or an error for all of it.
type OffsetCommit struct {
	Group                string
	MemberID             string // empty from a client that manages no group
	InstanceID           string
	Generation           int32         // NoGeneration from a client that manages no group
	Retention            time.Duration // negative: the configured one (versions 2 to 4 may say)
	ReportsGroupNotFound bool          // version 9 and above: an unknown group is ErrGroupNotFound, below ErrIllegalGeneration
	Topics               []CommitTopic
}

// A CommitTopic is the offsets of one topic.
type CommitTopic struct {
	Name       string
	Partitions []CommitPartition
}

// A CommitPartition is the offset of one partition.
type CommitPartition struct {
	Index       int32            // within the topic
	Number      record.Partition // within the cluster: tells a deleted topic from its successor of the same name
	Offset      record.Offset
	LeaderEpoch int32 // -1 when not known
	Metadata    string
}

// CommitResult answers OffsetCommit and OffsetDelete: topics and partitions are those of the request in its order.
type CommitResult struct {
	Topics []CommitTopicResult
}

// CommitTopicResult says how it went for one topic.
type CommitTopicResult struct {
	Name       string
	Partitions []CommitPartitionResult
}

// CommitPartitionResult says how it went for one partition.
type CommitPartitionResult struct {
	Index int32
	Err   error
}

// OffsetFetch asks for committed offsets. The answer is a *FetchResult; an unknown group
// has no offsets, which is no error.
type OffsetFetch struct {
	Group  string
	All    bool // every offset of the group; Topics is not looked at
	Topics []FetchTopic
}

// A FetchTopic names partitions of one topic.
type FetchTopic struct {
	Name       string
	Partitions []int32
}

// FetchResult answers OffsetFetch: what was asked for in its order, or with All everything sorted by name and partition.
type FetchResult struct {
	Topics []FetchTopicResult
}

// FetchTopicResult is the offsets of one topic.
type FetchTopicResult struct {
	Name       string
	Partitions []FetchPartitionResult
}

// FetchPartitionResult is the offset of one partition: Offset -1, LeaderEpoch -1 and no Metadata when none is committed.
type FetchPartitionResult struct {
	Index       int32
	Number      record.Partition
	Offset      record.Offset
	LeaderEpoch int32
	Metadata    string
}

// OffsetDelete forgets committed offsets. The answer is a *CommitResult, or an error for all of it.
type OffsetDelete struct {
	Group  string
	Topics []FetchTopic
}

// Describe asks what a group is. The answer is a *Description, of state StateDead for an unknown group.
type Describe struct {
	Group string
}

// A Description answers Describe.
type Description struct {
	Group        string
	State        State
	ProtocolType string
	Protocol     string // only when stable
	Members      []DescribedMember
}

// A DescribedMember is one member of a Description.
type DescribedMember struct {
	ID         string
	InstanceID string
	ClientID   string
	ClientHost string
	Metadata   []byte // of the chosen protocol; only when stable
	Assignment []byte
}

// List asks for the groups of the shard. The answer is a *Listing, sorted by name.
type List struct {
	States []string // names of states, in any case; empty for all
}

// A Listing answers List.
type Listing struct {
	Groups []Listed
}

// A Listed is one group of a Listing. All groups here are of Kafka's type "classic".
type Listed struct {
	Group        string
	ProtocolType string
	State        State
}

// Delete removes an empty group with its offsets. The answer is a nil Response.
type Delete struct {
	Group string
}

// ForgetPartitions removes, in all groups, the offsets of partitions that are gone. The answer is a nil Response.
type ForgetPartitions struct {
	// Gone reports whether a partition was deleted for ever. It is called before Handle returns.
	Gone func(record.Partition) bool
}

func (*Join) isRequest()             {}
func (*Sync) isRequest()             {}
func (*Heartbeat) isRequest()        {}
func (*Leave) isRequest()            {}
func (*OffsetCommit) isRequest()     {}
func (*OffsetFetch) isRequest()      {}
func (*OffsetDelete) isRequest()     {}
func (*Describe) isRequest()         {}
func (*List) isRequest()             {}
func (*Delete) isRequest()           {}
func (*ForgetPartitions) isRequest() {}

// A Response is a pointer to the type that the request's documentation names, or nil.
type Response any
