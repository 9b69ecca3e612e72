package group

import "errors"

// The reasons for which a request is refused. Fronts map each to a code of their protocol;
// the number is Kafka's.
var (
	// ErrUnknownMember says that the member is not in the group: it has to join anew (25).
	ErrUnknownMember = errors.New("unknown member")
	// ErrIllegalGeneration says that the generation is not the group's (22).
	ErrIllegalGeneration = errors.New("illegal generation")
	// ErrInconsistentProtocol says that the member has no protocol in common with the group (23).
	ErrInconsistentProtocol = errors.New("inconsistent group protocol")
	// ErrInvalidGroupID says that the group's name is empty where that is not allowed (24).
	ErrInvalidGroupID = errors.New("invalid group id")
	// ErrInvalidSessionTimeout says that the session timeout is outside the configured range (26).
	ErrInvalidSessionTimeout = errors.New("invalid session timeout")
	// ErrRebalanceInProgress says that the member should join again (27).
	ErrRebalanceInProgress = errors.New("rebalance in progress")
	// ErrMemberIDRequired says that the member should join again with the id that the answer carries (79).
	ErrMemberIDRequired = errors.New("member id required")
	// ErrGroupMaxSize says that the group has as many members, or bytes of members, as it may have (81).
	ErrGroupMaxSize = errors.New("group is full")
	// ErrFencedInstance says that another member took over the static instance id (82).
	ErrFencedInstance = errors.New("fenced instance id")
	// ErrGroupNotFound says that there is no such group (69).
	ErrGroupNotFound = errors.New("group not found")
	// ErrNonEmptyGroup says that the group still has members (68).
	ErrNonEmptyGroup = errors.New("group is not empty")
	// ErrSubscribedToTopic says that members of the group still consume the topic (86).
	ErrSubscribedToTopic = errors.New("group is subscribed to the topic")
	// ErrOffsetMetadataTooLarge says that the text beside an offset is too long (12).
	ErrOffsetMetadataTooLarge = errors.New("offset metadata too large")
	// ErrTooManyGroups says that the shard holds as many groups, or bytes of them, as it may hold (Kafka has no such limit; 44 fits).
	ErrTooManyGroups = errors.New("too many groups")
	// ErrGroupTooLarge says that members' metadata, assignments or an instance id exceed the limit in bytes (-1, as Kafka answers then).
	ErrGroupTooLarge = errors.New("group too large")
	// ErrReset answers requests that were parked when the coordinator lost or renewed its leadership (16).
	ErrReset = errors.New("coordinator was reset")
)
