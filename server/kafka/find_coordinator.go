package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/group"
)

// FindCoordinator (key 10), versions 0 to 6.
//
// Behaviour: the node that coordinates a group. Transactions and share groups have no coordinator.
//
// Versions: 1 adds the type; 3 is flexible; 4 asks for many keys at once.

func findCoordinator(r *request, in *kmsg.FindCoordinatorRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.FindCoordinatorResponse)
	const asksForMany = 4
	if in.Version < asksForMany {
		e, err := coordinator(r, in.CoordinatorType, in.CoordinatorKey)
		out.ErrorCode, out.ErrorMessage = r.code(err), message(err)
		out.NodeID, out.Host, out.Port = e.node, e.host, e.port
		return out
	}
	first := once[string]()
	for _, key := range in.CoordinatorKeys {
		if !first(key) {
			continue
		}
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		e, err := coordinator(r, in.CoordinatorType, key)
		c.Key, c.ErrorCode, c.ErrorMessage = key, r.code(err), message(err)
		c.NodeID, c.Host, c.Port = e.node, e.host, e.port
		out.Coordinators = append(out.Coordinators, c)
	}
	return out
}

// coordinator returns where the coordinator of key is; node -1 with an error.
func coordinator(r *request, kind int8, key string) (endpoint, error) {
	const (
		kindGroup       = 0
		kindTransaction = 1
	)
	none := endpoint{node: -1, port: -1}
	switch kind {
	case kindGroup:
	case kindTransaction:
		return none, errNoTransactions
	default:
		return none, errNoShareGroups
	}
	if key == "" {
		return none, group.ErrInvalidGroupID
	}
	node, ok := r.broker().Coordinator(key)
	if !ok {
		return none, broker.ErrCoordinatorNotAvailable
	}
	e, ok := r.connection.endpoint(node)
	if !ok {
		return none, broker.ErrCoordinatorNotAvailable
	}
	return e, nil
}
