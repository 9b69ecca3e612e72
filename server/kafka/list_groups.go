package kafka

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// ListGroups (key 16), versions 0 to 5.
//
// Behaviour: the groups that this node coordinates; clients ask every broker.
//
// Versions: 3 is flexible; 4 can ask for states; 5 can ask for types, of which "classic" is the only one here.

func listGroups(r *request, in *kmsg.ListGroupsRequest) kmsg.Response {
	const typeClassic = "classic"
	out := in.ResponseKind().(*kmsg.ListGroupsResponse)
	out.Groups = []kmsg.ListGroupsResponseGroup{}
	wanted := len(in.TypesFilter) == 0
	for _, kind := range in.TypesFilter {
		wanted = wanted || strings.EqualFold(kind, typeClassic)
	}
	if !wanted {
		return out
	}
	response, err := r.broker().Group(r.ctx, "", &group.List{States: in.StatesFilter})
	if out.ErrorCode = r.groupCode(err); err != nil {
		return out
	}
	listing, ok := response.(*group.Listing)
	if !ok || listing == nil {
		return out
	}
	for _, listed := range listing.Groups {
		if !r.room(len(listed.Group) + len(listed.ProtocolType)) {
			return nil
		}
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState, g.GroupType = listed.Group, listed.ProtocolType, listed.State.String(), typeClassic
		out.Groups = append(out.Groups, g)
	}
	return out
}
