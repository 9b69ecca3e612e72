package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/group"
	"github.com/stela-db/stela/server/meta"
)

// Refusals that this front decides by itself.
var (
	errReplicaOnly       = errors.New("replicas do not speak this protocol here: the request's replica id must be -1")
	errNoTransactions    = errors.New("transactions are not served")
	errEmptyTransaction  = errors.New("a transactional id must not be empty")
	errNoShareGroups     = errors.New("share groups are not served")
	errResourceType      = errors.New("configs of this resource type are not served")
	errOtherBroker       = errors.New("ask the broker itself for its configs")
	errControllers       = errors.New("controllers are brokers here: ask for endpoint type 1")
	errNoSession         = errors.New("fetch sessions are not kept")
	errOneBatch          = errors.New("a partition of a produce request must hold exactly one record batch of format 2")
	errAcks              = errors.New("acks must be -1, 0 or 1")
	errMechanism         = errors.New("no SASL mechanism is enabled")
	errNotAuthenticating = errors.New("no SASL handshake succeeded before")
	errSoftwareName      = errors.New("client software name or version has characters that are not allowed")
	errNameOrID          = errors.New("a topic is named either by its name or by its id")
	errTimestampKind     = errors.New("special timestamp is not known")
)

// codes says which error code of Kafka tells the client what an error means. The first row whose error is wrapped
// decides.
var codes = []struct {
	err  error
	code *kerr.Error
}{
	// First, because nothing that an unknown outcome wraps may claim that nothing was done.
	{broker.ErrTimedOut, kerr.RequestTimedOut},

	{errReplicaOnly, kerr.ClusterAuthorizationFailed},
	{errNoTransactions, kerr.UnsupportedVersion},
	{errEmptyTransaction, kerr.InvalidRequest},
	{errNoShareGroups, kerr.UnsupportedVersion},
	{errResourceType, kerr.InvalidRequest},
	{errOtherBroker, kerr.InvalidRequest},
	{errControllers, kerr.MismatchedEndpointType},
	{errNoSession, kerr.FetchSessionIDNotFound},
	{errOneBatch, kerr.InvalidRecord},
	{errAcks, kerr.InvalidRequiredAcks},
	{errMechanism, kerr.UnsupportedSaslMechanism},
	{errNotAuthenticating, kerr.IllegalSaslState},
	{errSoftwareName, kerr.InvalidRequest},
	{errNameOrID, kerr.InvalidRequest},
	{errTimestampKind, kerr.UnsupportedVersion},

	{broker.ErrUnknownTopicOrPartition, kerr.UnknownTopicOrPartition},
	{broker.ErrNotLeader, kerr.NotLeaderForPartition},
	{broker.ErrLeaderNotAvailable, kerr.LeaderNotAvailable},
	{broker.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{broker.ErrMessageTooLarge, kerr.MessageTooLarge},
	{broker.ErrCorruptMessage, kerr.CorruptMessage},
	{broker.ErrInvalidRecord, kerr.InvalidRecord},
	{broker.ErrInvalidTimestamp, kerr.InvalidTimestamp},
	{broker.ErrUnsupportedCompression, kerr.UnsupportedCompressionType},
	{broker.ErrInvalidTransaction, kerr.InvalidTxnState},
	{broker.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{broker.ErrInvalidProducerEpoch, kerr.InvalidProducerEpoch},
	{broker.ErrFencedLeaderEpoch, kerr.FencedLeaderEpoch},
	{broker.ErrUnknownLeaderEpoch, kerr.UnknownLeaderEpoch},
	{broker.ErrNotCoordinator, kerr.NotCoordinator},
	{broker.ErrCoordinatorLoading, kerr.CoordinatorLoadInProgress},
	{broker.ErrCoordinatorNotAvailable, kerr.CoordinatorNotAvailable},
	{broker.ErrNotController, kerr.NotController},
	{broker.ErrPolicyViolation, kerr.PolicyViolation},
	{broker.ErrInvalidRequest, kerr.InvalidRequest},
	{broker.ErrVersionConflict, kerr.InvalidRecord},
	{broker.ErrNotEventStore, kerr.PolicyViolation},
	{broker.ErrUnsupported, kerr.UnsupportedVersion},
	{broker.ErrStorage, kerr.KafkaStorageError},
	{broker.ErrShuttingDown, kerr.NotController},

	{meta.ErrTopicExists, kerr.TopicAlreadyExists},
	{meta.ErrInvalidTopic, kerr.InvalidTopicException},
	{meta.ErrInvalidPartitions, kerr.InvalidPartitions},
	{meta.ErrInvalidReplicationFactor, kerr.InvalidReplicationFactor},
	{meta.ErrInvalidReplicaAssignment, kerr.InvalidReplicaAssignment},
	{meta.ErrInvalidConfig, kerr.InvalidConfig},
	{meta.ErrInvalidRequest, kerr.InvalidRequest},
	{meta.ErrPolicyViolation, kerr.PolicyViolation},
	{meta.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
	{meta.ErrUnknownTopicID, kerr.UnknownTopicID},
	{meta.ErrDeletionDisabled, kerr.TopicDeletionDisabled},
	{meta.ErrUnknownBroker, kerr.InvalidRequest},

	{group.ErrUnknownMember, kerr.UnknownMemberID},
	{group.ErrIllegalGeneration, kerr.IllegalGeneration},
	{group.ErrInconsistentProtocol, kerr.InconsistentGroupProtocol},
	{group.ErrInvalidGroupID, kerr.InvalidGroupID},
	{group.ErrInvalidSessionTimeout, kerr.InvalidSessionTimeout},
	{group.ErrRebalanceInProgress, kerr.RebalanceInProgress},
	{group.ErrMemberIDRequired, kerr.MemberIDRequired},
	{group.ErrGroupMaxSize, kerr.GroupMaxSizeReached},
	{group.ErrFencedInstance, kerr.FencedInstanceID},
	{group.ErrGroupNotFound, kerr.GroupIDNotFound},
	{group.ErrNonEmptyGroup, kerr.NonEmptyGroup},
	{group.ErrSubscribedToTopic, kerr.GroupSubscribedToTopic},
	{group.ErrOffsetMetadataTooLarge, kerr.OffsetMetadataTooLarge},
	{group.ErrTooManyGroups, kerr.PolicyViolation},
	{group.ErrGroupTooLarge, kerr.UnknownServerError},
	{group.ErrReset, kerr.NotCoordinator},

	{record.ErrTooLarge, kerr.MessageTooLarge},
	{record.ErrCorrupt, kerr.CorruptMessage},

	// The connection or the request's own timeout ended it: whether it took effect is not known.
	{context.Canceled, kerr.RequestTimedOut},
	{context.DeadlineExceeded, kerr.RequestTimedOut},
}

// errorCode returns the code that stands for err: 0 for nil, UNKNOWN_SERVER_ERROR when the table has none.
func errorCode(err error) int16 {
	if err == nil {
		return 0
	}
	for i := range codes {
		if errors.Is(err, codes[i].err) {
			return codes[i].code.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// groupCode is errorCode for answers to members of groups, who know what to do with codes of coordinators, as Kafka
// answers them, and not with those of partitions.
func groupCode(err error) int16 {
	switch code := errorCode(err); code {
	case kerr.RequestTimedOut.Code, kerr.LeaderNotAvailable.Code:
		return kerr.CoordinatorNotAvailable.Code
	case kerr.NotLeaderForPartition.Code, kerr.KafkaStorageError.Code, kerr.NotController.Code:
		return kerr.NotCoordinator.Code
	default:
		return code
	}
}
