package gateway

import (
	"context"

	"github.com/stela-db/stela/server/broker"
)

// verbs is what the event store's door and the health routes ask of the broker.
// Functions instead of the broker itself, so that tests can make any of its answers happen.
type verbs struct {
	ready  func() error
	append func(context.Context, *broker.AppendRequest) (broker.AppendResult, error)
	read   func(context.Context, *broker.ReadStreamRequest) (broker.StreamSlice, error)
}

func brokerVerbs(b *broker.Broker) verbs {
	return verbs{ready: b.Ready, append: b.AppendStream, read: b.ReadStream}
}
