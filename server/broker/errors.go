package broker

import (
	"errors"
	"fmt"

	"github.com/stela-db/stela/log/record"
)

// The reasons for which a request is refused. Fronts map each to a code of their
// protocol; the number is Kafka's. Errors that wrap them say more; the text may be
// shown to clients. Errors of server/meta and server/group come through as they are.
var (
	// ErrUnknownTopicOrPartition says that there is no such topic, or it has no such partition (3).
	ErrUnknownTopicOrPartition = errors.New("unknown topic or partition")
	// ErrNotLeader says that this node does not lead the partition and nothing was done (6).
	ErrNotLeader = errors.New("not the leader of the partition")
	// ErrLeaderNotAvailable says that there is no leader at the moment (5).
	ErrLeaderNotAvailable = errors.New("no leader available")
	// ErrTimedOut says that it is not known whether the request took or will take effect (7). A retry is
	// safe for idempotent producers and for events with ids.
	ErrTimedOut = errors.New("timed out, the outcome is unknown")
	// ErrOffsetOutOfRange says that the partition does not hold the offset (1).
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrMessageTooLarge says that a batch exceeds max.message.bytes (10).
	ErrMessageTooLarge = errors.New("message too large")
	// ErrCorruptMessage says that a batch is not what its header claims (2).
	ErrCorruptMessage = errors.New("corrupt message")
	// ErrInvalidRecord says that a record breaks a rule of its topic (87).
	ErrInvalidRecord = errors.New("invalid record")
	// ErrInvalidTimestamp says that a batch's time is too far from the broker's (32).
	ErrInvalidTimestamp = errors.New("invalid timestamp")
	// ErrUnsupportedCompression says that the codec is not known (76).
	ErrUnsupportedCompression = errors.New("unsupported compression type")
	// ErrInvalidTransaction says that a batch belongs to a transaction that was never begun (48).
	ErrInvalidTransaction = errors.New("invalid transaction state")
	// ErrOutOfOrderSequence says that an idempotent producer's batches before this one are missing (45).
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrInvalidProducerEpoch says that a newer instance of the producer has written since (47).
	ErrInvalidProducerEpoch = errors.New("invalid producer epoch")
	// ErrFencedLeaderEpoch says that the client knows an older leader than the present one (74).
	ErrFencedLeaderEpoch = errors.New("fenced leader epoch")
	// ErrUnknownLeaderEpoch says that the client knows a newer leader than this node does (75).
	ErrUnknownLeaderEpoch = errors.New("unknown leader epoch")
	// ErrNotCoordinator says that another node coordinates the group (16).
	ErrNotCoordinator = errors.New("not the coordinator of the group")
	// ErrCoordinatorLoading says that this node has just become the coordinator and is not ready (14).
	ErrCoordinatorLoading = errors.New("coordinator is loading")
	// ErrCoordinatorNotAvailable says that the group has no coordinator at the moment (15).
	ErrCoordinatorNotAvailable = errors.New("coordinator not available")
	// ErrNotController says that the metadata's leader could not be reached (41).
	ErrNotController = errors.New("not the controller")
	// ErrPolicyViolation says that the request is not allowed on this kind of topic (44).
	ErrPolicyViolation = errors.New("policy violation")
	// ErrInvalidRequest says that the request contradicts itself (42).
	ErrInvalidRequest = errors.New("invalid request")
	// ErrVersionConflict says that a stream is not at the expected version (87); see ConflictError.
	ErrVersionConflict = errors.New("version conflict")
	// ErrNotEventStore says that the topic keeps no streams: eventstore.enable is false (44).
	ErrNotEventStore = errors.New("topic keeps no streams")
	// ErrUnsupported says that this release does not do that (35).
	ErrUnsupported = errors.New("not supported")
	// ErrStorage says that the disk did not give back what it should (56).
	ErrStorage = errors.New("storage error")
	// ErrShuttingDown says that the node is about to stop (7, nothing was done).
	ErrShuttingDown = errors.New("shutting down")
)

// Sentinels returns all errors of this package that fronts have to map.
func Sentinels() []error {
	return []error{
		ErrUnknownTopicOrPartition, ErrNotLeader, ErrLeaderNotAvailable, ErrTimedOut, ErrOffsetOutOfRange,
		ErrMessageTooLarge, ErrCorruptMessage, ErrInvalidRecord, ErrInvalidTimestamp, ErrUnsupportedCompression,
		ErrInvalidTransaction, ErrOutOfOrderSequence, ErrInvalidProducerEpoch, ErrFencedLeaderEpoch,
		ErrUnknownLeaderEpoch, ErrNotCoordinator, ErrCoordinatorLoading, ErrCoordinatorNotAvailable,
		ErrNotController, ErrPolicyViolation, ErrInvalidRequest, ErrVersionConflict, ErrNotEventStore,
		ErrUnsupported, ErrStorage, ErrShuttingDown,
	}
}

// A ConflictError says that an append found its stream at another version than it
// expected. It wraps ErrVersionConflict.
type ConflictError struct {
	Expected Expected
	Actual   int64         // the stream's version, -1 for an empty stream
	Unseen   []StreamEvent // after the expected version, at most MaxUnseen, oldest first
}

// MaxUnseen bounds ConflictError.Unseen.
const MaxUnseen = 20

// Error tells both versions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("expected version %s, the stream is at %d: %v", e.Expected, e.Actual, ErrVersionConflict)
}

// Unwrap returns ErrVersionConflict.
func (e *ConflictError) Unwrap() error { return ErrVersionConflict }

// A RecordError says which record of a batch was the reason to refuse all of it.
type RecordError struct {
	Index   int32 // within the batch, from 0
	Message string
}

// offsetRange is the text that goes with ErrOffsetOutOfRange.
func offsetRange(offset, start, end record.Offset) error {
	return fmt.Errorf("offset %d, the partition holds %d to %d: %w", offset, start, end, ErrOffsetOutOfRange)
}
