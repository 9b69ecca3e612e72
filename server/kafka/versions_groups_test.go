package kafka_test

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// clamp returns the version to use of another key while the walk is at its own: the same, within the key's range.
func (w *walk) clamp(least, most int16) int16 { return min(max(w.version, least), most) }

// join makes one member of a group, in whatever steps the version takes, and returns the answer.
func (w *walk) join(group string) *kmsg.JoinGroupResponse {
	w.Helper()
	in := kmsg.NewPtrJoinGroupRequest()
	in.SetVersion(w.clamp(0, 9))
	in.Group, in.SessionTimeoutMillis, in.RebalanceTimeoutMillis, in.ProtocolType = group, 10_000, 10_000, "consumer"
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte("metadata")
	in.Protocols = append(in.Protocols, protocol)
	out := ask(w, w.conn, in).(*kmsg.JoinGroupResponse)
	if in.Version >= 4 {
		w.code("first join", out.ErrorCode, 79)
		in.MemberID = out.MemberID
		out = ask(w, w.conn, in).(*kmsg.JoinGroupResponse)
	}
	w.code("join", out.ErrorCode, 0)
	w.want("leader of itself", out.MemberID != "" && out.LeaderID == out.MemberID && out.Generation == 1 && len(out.Members) == 1 &&
		*out.Protocol == "range" && string(out.Members[0].ProtocolMetadata) == "metadata", out)
	return out
}

func (w *walk) sync(group string, joined *kmsg.JoinGroupResponse) {
	w.Helper()
	in := kmsg.NewPtrSyncGroupRequest()
	in.SetVersion(w.clamp(0, 5))
	in.Group, in.Generation, in.MemberID = group, joined.Generation, joined.MemberID
	in.ProtocolType, in.Protocol = new("consumer"), new("range")
	assignment := kmsg.NewSyncGroupRequestGroupAssignment()
	assignment.MemberID, assignment.MemberAssignment = joined.MemberID, []byte("assignment")
	in.GroupAssignment = append(in.GroupAssignment, assignment)
	out := ask(w, w.conn, in).(*kmsg.SyncGroupResponse)
	w.code("sync", out.ErrorCode, 0)
	w.want("assignment", string(out.MemberAssignment) == "assignment", out)
	if in.Version >= 5 {
		in.Protocol = nil
		w.code("sync without a protocol", ask(w, w.conn, in).(*kmsg.SyncGroupResponse).ErrorCode, 23)
		in.Protocol = new("range")
	}
	in.MemberID = "somebody"
	w.code("sync of a stranger", ask(w, w.conn, in).(*kmsg.SyncGroupResponse).ErrorCode, 25)
	in.MemberID, in.Generation = joined.MemberID, 77
	w.code("sync of another generation", ask(w, w.conn, in).(*kmsg.SyncGroupResponse).ErrorCode, 22)
}

func (w *walk) heartbeat(group, member string, generation int32) int16 {
	in := kmsg.NewPtrHeartbeatRequest()
	in.SetVersion(w.clamp(0, 4))
	in.Group, in.MemberID, in.Generation = group, member, generation
	return ask(w, w.conn, in).(*kmsg.HeartbeatResponse).ErrorCode
}

func (w *walk) leave(group, member string) int16 {
	in := kmsg.NewPtrLeaveGroupRequest()
	in.SetVersion(w.clamp(0, 5))
	in.Group, in.MemberID = group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	in.Members = append(in.Members, m)
	out := ask(w, w.conn, in).(*kmsg.LeaveGroupResponse)
	if in.Version >= 3 {
		w.code("leave", out.ErrorCode, 0)
		return out.Members[0].ErrorCode
	}
	return out.ErrorCode
}

// walkGroup is the life of a member: keys 11 to 14.
func walkGroup(w *walk) {
	group := "walk-" + w.Name()
	joined := w.join(group)
	w.sync(group, joined)
	w.code("heartbeat", w.heartbeat(group, joined.MemberID, joined.Generation), 0)
	w.code("heartbeat of a stranger", w.heartbeat(group, "somebody", joined.Generation), 25)
	w.code("heartbeat of another generation", w.heartbeat(group, joined.MemberID, 77), 22)
	w.code("heartbeat in an unknown group", w.heartbeat(group+"-missing", joined.MemberID, 1), 25)
	w.code("a stranger leaves", w.leave(group, "somebody"), 25)
	w.code("leave", w.leave(group, joined.MemberID), 0)
	w.code("heartbeat after that", w.heartbeat(group, joined.MemberID, joined.Generation), 25)
	if w.version >= 5 {
		walkStatic(w, group+"-static")
	}
}

// walkStatic is the life of a static member whose process is started anew.
func walkStatic(w *walk, group string) {
	const instance = "instance"
	join := func() *kmsg.JoinGroupResponse {
		in := kmsg.NewPtrJoinGroupRequest()
		in.SetVersion(w.clamp(0, 9))
		in.Group, in.SessionTimeoutMillis, in.RebalanceTimeoutMillis, in.ProtocolType, in.InstanceID = group, 10_000, 10_000, "consumer", new(instance)
		in.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("metadata")}}
		out := ask(w, w.conn, in).(*kmsg.JoinGroupResponse)
		w.code("join", out.ErrorCode, 0)
		w.want("an id that tells the instance", strings.HasPrefix(out.MemberID, instance+"-") && out.Generation == 1, out)
		return out
	}
	sync := func(member string, assignments ...kmsg.SyncGroupRequestGroupAssignment) *kmsg.SyncGroupResponse {
		in := kmsg.NewPtrSyncGroupRequest()
		in.SetVersion(w.clamp(0, 5))
		in.Group, in.Generation, in.MemberID, in.InstanceID = group, 1, member, new(instance)
		in.ProtocolType, in.Protocol, in.GroupAssignment = new("consumer"), new("range"), assignments
		return ask(w, w.conn, in).(*kmsg.SyncGroupResponse)
	}
	heartbeat := func(member string) int16 {
		in := kmsg.NewPtrHeartbeatRequest()
		in.SetVersion(w.clamp(0, 4))
		in.Group, in.MemberID, in.Generation, in.InstanceID = group, member, 1, new(instance)
		return ask(w, w.conn, in).(*kmsg.HeartbeatResponse).ErrorCode
	}
	first := join()
	w.want("its instance among the members", len(first.Members) == 1 && *first.Members[0].InstanceID == instance, first)
	synced := sync(first.MemberID, kmsg.SyncGroupRequestGroupAssignment{MemberID: first.MemberID, MemberAssignment: []byte("assignment")})
	w.code("sync", synced.ErrorCode, 0)
	second := join()
	if w.version >= 9 {
		w.want("the leader is told to skip the assignment", second.SkipAssignment && second.LeaderID == second.MemberID && len(second.Members) == 1, second)
	} else {
		w.want("an older client is not asked to assign", !second.SkipAssignment && second.LeaderID == first.MemberID && len(second.Members) == 0, second)
	}
	synced = sync(second.MemberID)
	w.want("its predecessor's assignment", synced.ErrorCode == 0 && string(synced.MemberAssignment) == "assignment", synced)
	w.code("heartbeat", heartbeat(second.MemberID), 0)
	w.code("heartbeat of the predecessor", heartbeat(first.MemberID), 82)
	w.code("sync of the predecessor", sync(first.MemberID).ErrorCode, 82)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.SetVersion(w.clamp(0, 5))
	leave.Group, leave.Members = group, []kmsg.LeaveGroupRequestMember{{MemberID: first.MemberID, InstanceID: new(instance)}, {InstanceID: new(instance)}}
	left := ask(w, w.conn, leave).(*kmsg.LeaveGroupResponse)
	w.want("its predecessor cannot leave, an administrator removes it", left.ErrorCode == 0 && len(left.Members) == 2 && left.Members[0].ErrorCode == 82 && left.Members[1].ErrorCode == 0, left)
	w.code("heartbeat after that", heartbeat(second.MemberID), 25)
}

func (w *walk) commitRequest(group, topic string, offset int64) *kmsg.OffsetCommitRequest {
	in := kmsg.NewPtrOffsetCommitRequest()
	in.SetVersion(w.clamp(2, 9))
	in.Group, in.Generation = group, -1
	for _, name := range []string{topic, topic + "-missing"} {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = name
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = 1, offset, -1, new("note")
		t.Partitions = append(t.Partitions, p)
		in.Topics = append(in.Topics, t)
	}
	return in
}

func walkOffsetCommit(w *walk) {
	group, name := "walk-"+w.Name(), w.name(8)
	out := w.ask(w.commitRequest(group, name, 5)).(*kmsg.OffsetCommitResponse)
	w.code("commit", out.Topics[0].Partitions[0].ErrorCode, 0)
	w.code("a topic that is not there", out.Topics[1].Partitions[0].ErrorCode, 3)
	in := w.commitRequest(group, name, 6)
	in.MemberID, in.Generation = "somebody", 3
	out = w.ask(in).(*kmsg.OffsetCommitResponse)
	w.want("a stranger", out.Topics[0].Partitions[0].ErrorCode == 25 || out.Topics[0].Partitions[0].ErrorCode == 22, out)
	long := w.commitRequest(group, name, 6)
	long.Topics[0].Partitions[0].Metadata = new(string(make([]byte, 5000)))
	w.code("long metadata", w.ask(long).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, 12)
}

// fetched is one offset as any version of OffsetFetch tells it.
type fetched struct {
	topic    string
	offset   int64
	code     int16
	metadata string
}

func (w *walk) fetchOffsets(group string, topics ...string) (out []fetched, code int16) {
	in := kmsg.NewPtrOffsetFetchRequest()
	in.SetVersion(w.clamp(1, 9))
	in.Group = group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	for _, name := range topics {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = name, []int32{1}
		in.Topics = append(in.Topics, t)
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = name, []int32{1}
		g.Topics = append(g.Topics, gt)
	}
	in.Groups = append(in.Groups, g)
	answer := ask(w, w.conn, in).(*kmsg.OffsetFetchResponse)
	code = answer.ErrorCode
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			out = append(out, fetched{t.Topic, p.Offset, p.ErrorCode, *p.Metadata})
		}
	}
	for _, g := range answer.Groups {
		code = g.ErrorCode
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				out = append(out, fetched{t.Topic, p.Offset, p.ErrorCode, *p.Metadata})
			}
		}
	}
	return out, code
}

func walkOffsetFetch(w *walk) {
	group, name := "walk-"+w.Name(), w.name(9)
	got, code := w.fetchOffsets(group, name)
	w.want("a group that is not there", code == 0 && len(got) == 1 && got[0].offset == -1 && got[0].code == 0, got)
	ask(w, w.conn, w.commitRequest(group, name, 5))
	got, code = w.fetchOffsets(group, name, name+"-missing")
	w.want("offsets", code == 0 && len(got) == 2 && got[0] == fetched{name, 5, 0, "note"} && got[1].offset == -1 && got[1].code == 0, got)
	if w.version >= 2 {
		got, code = w.fetchOffsets(group)
		w.want("all offsets", code == 0 && len(got) == 1 && got[0] == fetched{name, 5, 0, "note"}, got)
	}
}

func walkFindCoordinator(w *walk) {
	in := kmsg.NewPtrFindCoordinatorRequest()
	in.CoordinatorKey, in.CoordinatorKeys = "group", []string{"group", "other"}
	out := w.ask(in).(*kmsg.FindCoordinatorResponse)
	if w.version < 4 {
		w.want("this node", out.ErrorCode == 0 && out.NodeID == 1 && out.Host == "127.0.0.1" && out.Port > 0, out)
	} else {
		w.want("this node", len(out.Coordinators) == 2 && out.Coordinators[1].ErrorCode == 0 && out.Coordinators[1].NodeID == 1 && out.Coordinators[1].Key == "other", out)
	}
	if w.version >= 1 {
		in.CoordinatorType = 1
		out = w.ask(in).(*kmsg.FindCoordinatorResponse)
		w.want("transactions", out.ErrorCode == 35 || w.version >= 4 && out.Coordinators[0].ErrorCode == 35, out)
	}
}

func walkDescribeGroups(w *walk) {
	group := "walk-" + w.Name()
	joined := w.join(group)
	w.sync(group, joined)
	in := kmsg.NewPtrDescribeGroupsRequest()
	in.Groups, in.IncludeAuthorizedOperations = []string{group, group + "-missing"}, true
	out := w.ask(in).(*kmsg.DescribeGroupsResponse)
	g := out.Groups[0]
	w.want("stable", g.ErrorCode == 0 && g.State == "Stable" && g.Protocol == "range" && g.ProtocolType == "consumer" && len(g.Members) == 1, g)
	m := g.Members[0]
	w.want("its member", m.MemberID == joined.MemberID && m.ClientID == "test" && m.ClientHost == "/127.0.0.1" && string(m.MemberAssignment) == "assignment", m)
	w.want("operations", w.version < 3 || g.AuthorizedOperations == 328, g)
	w.want("a group that is not there", out.Groups[1].State == "Dead" && out.Groups[1].ErrorCode == 0, out.Groups[1])
	w.code("leave", w.leave(group, joined.MemberID), 0)
}

func walkListGroups(w *walk) {
	group := "walk-" + w.Name()
	ask(w, w.conn, w.commitRequest(group, w.name(16), 5))
	contains := func(in *kmsg.ListGroupsRequest) bool {
		out := w.ask(in).(*kmsg.ListGroupsResponse)
		w.code("list", out.ErrorCode, 0)
		for _, g := range out.Groups {
			if g.Group == group && (w.version < 4 || g.GroupState == "Empty") && (w.version < 5 || g.GroupType == "classic") {
				return true
			}
		}
		return false
	}
	w.want("the group", contains(kmsg.NewPtrListGroupsRequest()), group)
	if w.version >= 4 {
		w.want("groups that are empty", contains(&kmsg.ListGroupsRequest{StatesFilter: []string{"Empty"}}), group)
		w.want("groups that are stable", !contains(&kmsg.ListGroupsRequest{StatesFilter: []string{"Stable"}}), group)
	}
	if w.version >= 5 {
		w.want("classic groups", contains(&kmsg.ListGroupsRequest{TypesFilter: []string{"Classic"}}), group)
		w.want("consumer groups", !contains(&kmsg.ListGroupsRequest{TypesFilter: []string{"consumer"}}), group)
	}
}

func walkDeleteGroups(w *walk) {
	group := "walk-" + w.Name()
	joined := w.join(group)
	in := kmsg.NewPtrDeleteGroupsRequest()
	in.Groups = []string{group, group + "-missing"}
	out := w.ask(in).(*kmsg.DeleteGroupsResponse)
	w.code("a group with a member", out.Groups[0].ErrorCode, 68)
	w.code("a group that is not there", out.Groups[1].ErrorCode, 69)
	w.code("leave", w.leave(group, joined.MemberID), 0)
	w.code("delete", w.ask(in).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, 0)
}

func walkOffsetDelete(w *walk) {
	group, name := "walk-"+w.Name(), w.name(47)
	ask(w, w.conn, w.commitRequest(group, name, 5))
	in := kmsg.NewPtrOffsetDeleteRequest()
	in.Group = group
	for _, n := range []string{name, name + "-missing"} {
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = n
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = 1
		t.Partitions = append(t.Partitions, p)
		in.Topics = append(in.Topics, t)
	}
	out := w.ask(in).(*kmsg.OffsetDeleteResponse)
	w.code("delete", out.ErrorCode, 0)
	w.code("the offset", out.Topics[0].Partitions[0].ErrorCode, 0)
	w.code("of a topic that is not there", out.Topics[1].Partitions[0].ErrorCode, 3)
	got, _ := w.fetchOffsets(group, name)
	w.want("gone", len(got) == 1 && got[0].offset == -1, got)
	in.Group = group + "-missing"
	w.code("of a group that is not there", w.ask(in).(*kmsg.OffsetDeleteResponse).ErrorCode, 69)
}
