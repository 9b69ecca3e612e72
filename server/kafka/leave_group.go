package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// LeaveGroup (key 13), versions 0 to 5.
//
// Behaviour: removes members, each by itself.
//
// Versions: before 3 there is one member, whose error is the answer's; 4 is flexible; 5 adds a reason.

func leaveGroup(r *request, in *kmsg.LeaveGroupRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.LeaveGroupResponse)
	leave := &group.Leave{Group: in.Group}
	const leavesMany = 3
	if in.Version < leavesMany {
		leave.Members = []group.LeaveMember{{MemberID: in.MemberID}}
	}
	for _, m := range in.Members {
		leave.Members = append(leave.Members, group.LeaveMember{
			MemberID: m.MemberID, InstanceID: value(m.InstanceID), Reason: value(m.Reason),
		})
	}
	response, err := r.broker().Group(r.ctx, in.Group, leave)
	out.ErrorCode = r.groupCode(err)
	out.Members = []kmsg.LeaveGroupResponseMember{}
	result, ok := response.(*group.LeaveResult)
	if err != nil || !ok || result == nil {
		return out
	}
	for _, m := range result.Members {
		code := r.code(m.Err)
		if in.Version < leavesMany {
			out.ErrorCode = code
			continue
		}
		member := kmsg.NewLeaveGroupResponseMember()
		member.MemberID, member.InstanceID, member.ErrorCode = m.MemberID, optional(m.InstanceID), code
		out.Members = append(out.Members, member)
	}
	return out
}
