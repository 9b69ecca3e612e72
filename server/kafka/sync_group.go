package kafka

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// SyncGroup (key 14), versions 0 to 5.
//
// Behaviour: the leader brings everyone's assignment; all get theirs once it is committed.
//
// Versions: 3 adds static members; 4 is flexible; 5 adds protocol type and name, which must be there and be the group's.

func syncGroup(r *request, in *kmsg.SyncGroupRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.SyncGroupResponse)
	const namesProtocol = 5
	if in.Version >= namesProtocol && (in.ProtocolType == nil || in.Protocol == nil) {
		out.ErrorCode, out.MemberAssignment = r.groupCode(group.ErrInconsistentProtocol), []byte{}
		return out
	}
	response, err := r.broker().Group(r.ctx, in.Group, syncOf(r, in))
	out.ErrorCode = r.groupCode(err)
	out.MemberAssignment = []byte{}
	if result, ok := response.(*group.SyncResult); ok && result != nil && err == nil {
		out.ProtocolType, out.Protocol = new(result.ProtocolType), new(result.Protocol)
		if result.Assignment != nil {
			out.MemberAssignment = result.Assignment
		}
	}
	return out
}

// syncOf makes the broker's request. The assignments are copied and let go of, as joinOf does it with metadata.
func syncOf(r *request, in *kmsg.SyncGroupRequest) *group.Sync {
	sync := &group.Sync{
		Group:        in.Group,
		MemberID:     in.MemberID,
		InstanceID:   value(in.InstanceID),
		Generation:   in.Generation,
		ProtocolType: value(in.ProtocolType),
		Protocol:     value(in.Protocol),
	}
	for _, a := range in.GroupAssignment {
		sync.Assignments = append(sync.Assignments, group.Assignment{MemberID: a.MemberID, Data: bytes.Clone(a.MemberAssignment)})
	}
	in.GroupAssignment = nil
	r.release()
	return sync
}
