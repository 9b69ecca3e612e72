package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// DescribeGroups (key 15), versions 0 to 5.
//
// Behaviour: what groups are and who is in them. A group that does not exist is Dead, without an error.
//
// Versions: 3 adds what the client may do; 4 adds static members; 5 is flexible.

func describeGroups(r *request, in *kmsg.DescribeGroupsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DescribeGroupsResponse)
	first := once[string]()
	for _, id := range in.Groups {
		if !first(id) {
			continue
		}
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group = id
		g.Members = []kmsg.DescribeGroupsResponseGroupMember{}
		response, err := r.broker().Group(r.ctx, id, &group.Describe{Group: id})
		g.ErrorCode = r.groupCode(err)
		if description, ok := response.(*group.Description); ok && description != nil && err == nil {
			g.State, g.ProtocolType, g.Protocol = description.State.String(), description.ProtocolType, description.Protocol
			for i := range description.Members {
				if m := &description.Members[i]; !r.room(len(m.ID) + len(m.InstanceID) + len(m.ClientID) + len(m.ClientHost) + len(m.Metadata) + len(m.Assignment)) {
					return nil
				}
				g.Members = append(g.Members, describedMember(&description.Members[i]))
			}
			if in.IncludeAuthorizedOperations {
				g.AuthorizedOperations = groupOperations
			}
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

func describedMember(m *group.DescribedMember) kmsg.DescribeGroupsResponseGroupMember {
	out := kmsg.NewDescribeGroupsResponseGroupMember()
	out.MemberID, out.InstanceID, out.ClientID, out.ClientHost = m.ID, optional(m.InstanceID), m.ClientID, m.ClientHost
	out.ProtocolMetadata, out.MemberAssignment = []byte{}, []byte{}
	if m.Metadata != nil {
		out.ProtocolMetadata = m.Metadata
	}
	if m.Assignment != nil {
		out.MemberAssignment = m.Assignment
	}
	return out
}
