package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// DeleteGroups (key 42), versions 0 to 2.
//
// Behaviour: removes empty groups with their offsets, each by itself.
//
// Versions: 2 is flexible.

func deleteGroups(r *request, in *kmsg.DeleteGroupsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, id := range in.Groups {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group = id
		_, err := r.broker().Group(r.ctx, id, &group.Delete{Group: id})
		g.ErrorCode = r.groupCode(err)
		out.Groups = append(out.Groups, g)
	}
	return out
}
