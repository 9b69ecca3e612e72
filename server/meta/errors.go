package meta

import "errors"

// The reasons for which a request is refused. Fronts map each to a code of their protocol;
// the number is Kafka's. Errors that wrap them say more; the text may be shown to clients.
var (
	// ErrTopicExists says that there is a topic of this name (36).
	ErrTopicExists = errors.New("topic exists")
	// ErrInvalidTopic says that the name cannot be a topic's (17).
	ErrInvalidTopic = errors.New("invalid topic name")
	// ErrInvalidPartitions says that the number of partitions cannot be (37).
	ErrInvalidPartitions = errors.New("invalid number of partitions")
	// ErrInvalidReplicationFactor says that the replication factor cannot be (38).
	ErrInvalidReplicationFactor = errors.New("invalid replication factor")
	// ErrInvalidReplicaAssignment says that a manual assignment of replicas makes no sense (39).
	ErrInvalidReplicaAssignment = errors.New("invalid replica assignment")
	// ErrInvalidConfig says that a config has no such name or may not have such a value (40).
	ErrInvalidConfig = errors.New("invalid config")
	// ErrInvalidRequest says that the request contradicts itself (42).
	ErrInvalidRequest = errors.New("invalid request")
	// ErrPolicyViolation says that a limit or rule of this cluster forbids it (44).
	ErrPolicyViolation = errors.New("policy violation")
	// ErrUnknownTopic says that no topic has this name (3).
	ErrUnknownTopic = errors.New("unknown topic")
	// ErrUnknownTopicID says that no topic has this id (100).
	ErrUnknownTopicID = errors.New("unknown topic id")
	// ErrDeletionDisabled says that topics may not be deleted (73).
	ErrDeletionDisabled = errors.New("deletion of topics is disabled")
	// ErrUnknownBroker says that no broker has this number (the code depends on the request).
	ErrUnknownBroker = errors.New("unknown broker")
)

// Sentinels returns all errors of this package that fronts have to map. The order never changes: nodes tell each
// other errors by their place in it.
func Sentinels() []error {
	return []error{
		ErrTopicExists, ErrInvalidTopic, ErrInvalidPartitions, ErrInvalidReplicationFactor, ErrInvalidReplicaAssignment,
		ErrInvalidConfig, ErrInvalidRequest, ErrPolicyViolation, ErrUnknownTopic, ErrUnknownTopicID, ErrUnknownBroker,
		ErrDeletionDisabled,
	}
}
