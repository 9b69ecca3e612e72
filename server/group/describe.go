package group

import (
	"maps"
	"slices"
	"strings"
)

func (m *Machine) describe(r *Describe) *Description {
	d := &Description{Group: r.Group, State: StateDead}
	e := m.groups[r.Group]
	if e == nil {
		return d
	}
	d.State, d.ProtocolType = e.state()
	if e.live == nil {
		return d
	}
	if d.State == StateStable {
		d.Protocol = e.live.protocol
	}
	for _, member := range e.live.all() {
		described := DescribedMember{
			ID: member.id, InstanceID: member.instanceID, ClientID: member.clientID, ClientHost: member.clientHost,
			Assignment: member.assignment,
		}
		if d.State == StateStable {
			described.Metadata = member.metadata(d.Protocol)
		}
		d.Members = append(d.Members, described)
	}
	return d
}

// state returns the group's state and protocol type. Without a live form it has no members.
func (e *entry) state() (State, string) {
	switch {
	case e.live != nil:
		return e.live.state, e.live.protocolType
	case e.stored != nil:
		return StateEmpty, e.stored.protocolType
	default:
		return StateEmpty, ""
	}
}

func (m *Machine) list(r *List) *Listing {
	listing := &Listing{}
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		state, protocolType := m.groups[id].state()
		wanted := len(r.States) == 0 || slices.ContainsFunc(r.States, func(s string) bool { return strings.EqualFold(s, state.String()) })
		if wanted {
			listing.Groups = append(listing.Groups, Listed{Group: id, ProtocolType: protocolType, State: state})
		}
	}
	return listing
}
