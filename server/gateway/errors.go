package gateway

import (
	"context"
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/meta"
)

// errInternal is wrapped by what should not have happened.
var errInternal = errors.New("internal error")

// A mapping says how the cause of an error is answered.
type mapping struct {
	cause  error
	status int
	name   string // the problem's type; stable, listed in openapi.yaml
	title  string
	retry  bool // soon, and as it is
}

// mappings is the table of all causes that a handler can return. The first match counts.
//
// 503 is answered only where it is certain that nothing was done: a client may then
// turn to another node with another request. 504 means that nobody knows.
func mappings() []mapping {
	const (
		badRequest  = fasthttp.StatusBadRequest
		notFound    = fasthttp.StatusNotFound
		conflict    = fasthttp.StatusConflict
		tooLarge    = fasthttp.StatusRequestEntityTooLarge
		invalid     = fasthttp.StatusUnprocessableEntity
		internal    = fasthttp.StatusInternalServerError
		missing     = fasthttp.StatusNotImplemented
		unavailable = fasthttp.StatusServiceUnavailable
		unknown     = fasthttp.StatusGatewayTimeout
	)
	return []mapping{
		{broker.ErrVersionConflict, conflict, "version-conflict", "the stream is not at the expected version", false},
		{broker.ErrTimedOut, unknown, "outcome-unknown", "the outcome is unknown; retry with the same event ids", true},
		{broker.ErrUnknownTopicOrPartition, notFound, "unknown-topic", "no such topic", false},
		{meta.ErrUnknownTopic, notFound, "unknown-topic", "no such topic", false},
		{meta.ErrUnknownTopicID, notFound, "unknown-topic", "no such topic", false},
		{meta.ErrInvalidTopic, badRequest, "invalid-topic", "this cannot be a topic's name", false},
		{broker.ErrNotEventStore, conflict, "not-event-store", "the topic keeps no streams; eventstore.enable=true is decided when a topic is created", false},
		{broker.ErrNotLeader, unavailable, "no-leader", "the partition has no leader that could be reached", true},
		{broker.ErrLeaderNotAvailable, unavailable, "no-leader", "the partition has no leader that could be reached", true},
		{broker.ErrNotController, unavailable, "no-leader", "the metadata has no leader that could be reached", true},
		{broker.ErrShuttingDown, unavailable, "shutting-down", "the node is about to stop; ask another", true},
		{broker.ErrStorage, unavailable, "storage", "the disk did not do what it should", true},
		{broker.ErrMessageTooLarge, tooLarge, "events-too-large", "the events exceed the topic's max.message.bytes", false},
		{broker.ErrInvalidRecord, invalid, "invalid-event", "an event breaks a rule of its topic", false},
		{broker.ErrInvalidTimestamp, invalid, "invalid-time", "an event's time is too far from the server's", false},
		{broker.ErrPolicyViolation, invalid, "policy-violation", "the topic does not allow this", false},
		{broker.ErrInvalidRequest, badRequest, "bad-request", "the request contradicts itself", false},
		{meta.ErrInvalidRequest, badRequest, "bad-request", "the request contradicts itself", false},
		{meta.ErrDeletionDisabled, invalid, "policy-violation", "the cluster does not allow this", false},
		{meta.ErrPolicyViolation, invalid, "policy-violation", "the cluster does not allow this", false},
		{broker.ErrOffsetOutOfRange, notFound, "events-gone", "events that were asked for are no longer kept", false},
		{broker.ErrUnsupported, missing, "not-supported", "this release does not do that", false},

		// What follows concerns Kafka's protocol and its producers, and admin requests that have no
		// route here. Reaching a handler, each would be a bug, but it would still be answered.
		{broker.ErrCorruptMessage, internal, "internal", "a bug in the server", false},
		{broker.ErrUnsupportedCompression, internal, "internal", "a bug in the server", false},
		{broker.ErrInvalidTransaction, internal, "internal", "a bug in the server", false},
		{broker.ErrOutOfOrderSequence, internal, "internal", "a bug in the server", false},
		{broker.ErrInvalidProducerEpoch, internal, "internal", "a bug in the server", false},
		{broker.ErrFencedLeaderEpoch, unavailable, "no-leader", "the leader has just changed", true},
		{broker.ErrUnknownLeaderEpoch, unavailable, "no-leader", "the leader has just changed", true},
		{broker.ErrNotCoordinator, unavailable, "no-leader", "the group's coordinator has just changed", true},
		{broker.ErrCoordinatorLoading, unavailable, "no-leader", "the group's coordinator is not ready", true},
		{broker.ErrCoordinatorNotAvailable, unavailable, "no-leader", "the group has no coordinator", true},
		{meta.ErrTopicExists, conflict, "topic-exists", "there is a topic of this name", false},
		{meta.ErrInvalidPartitions, badRequest, "bad-request", "this cannot be a number of partitions", false},
		{meta.ErrInvalidReplicationFactor, badRequest, "bad-request", "this cannot be a replication factor", false},
		{meta.ErrInvalidReplicaAssignment, badRequest, "bad-request", "this cannot be an assignment of replicas", false},
		{meta.ErrInvalidConfig, badRequest, "bad-request", "this cannot be a config", false},
		{meta.ErrUnknownBroker, notFound, "unknown-node", "no such node", false},
		{context.DeadlineExceeded, unavailable, "no-leader", "nobody answered in time", true},
		{context.Canceled, unavailable, "shutting-down", "the node is about to stop; ask another", true},
		{errInternal, internal, "internal", "a bug in the server", false},
	}
}

// problemOf returns the problem that an error of the broker stands for. Causes that are
// not in the table are logged: their text may hold what is not for clients.
func (s *Server) problemOf(err error) *problem {
	for _, m := range s.mappings {
		if !errors.Is(err, m.cause) {
			continue
		}
		p := &problem{status: m.status, name: m.name, title: m.title, detail: err.Error()}
		if m.retry {
			p.retryAfter = 1
		}
		if m.status == fasthttp.StatusInternalServerError {
			s.logger.Error("http request ended in an unexpected error", "error", err)
			p.detail = "it was logged"
		}
		return p
	}
	s.logger.Error("http request ended in an unknown error", "error", err)
	return &problem{
		status: fasthttp.StatusInternalServerError,
		name:   "internal", title: "a bug in the server", detail: "it was logged",
	}
}
