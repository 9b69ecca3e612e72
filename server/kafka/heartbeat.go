package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// Heartbeat (key 12), versions 0 to 4.
//
// Behaviour: keeps a member's session alive and tells it to join again when the group rebalances.
//
// Versions: 3 adds static members; 4 is flexible.

func heartbeat(r *request, in *kmsg.HeartbeatRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.HeartbeatResponse)
	_, err := r.broker().Group(r.ctx, in.Group, &group.Heartbeat{
		Group: in.Group, MemberID: in.MemberID, InstanceID: value(in.InstanceID), Generation: in.Generation,
	})
	out.ErrorCode = r.groupCode(err)
	return out
}
