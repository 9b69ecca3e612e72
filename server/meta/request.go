package meta

import "github.com/stela-db/stela/log/record"

// A Request is one of the pointers to the request types of this file.
type Request interface {
	isRequest()
}

// A Response is a pointer to the type that the request's documentation names.
type Response any

// Setting is one name and value of a config. A nil Value asks for the default.
type Setting struct {
	Name  string
	Value *string
}

// CreateTopics creates topics, each by itself: some may fail. The answer is a *CreateTopicsResult.
type CreateTopics struct {
	Topics       []CreateTopic
	ValidateOnly bool
}

// A CreateTopic is one topic to create.
type CreateTopic struct {
	Name              string
	Partitions        int32 // -1: the default
	ReplicationFactor int16 // -1: the default
	Assignments       []ReplicaAssignment
	Configs           []Setting
}

// A ReplicaAssignment asks for a partition on certain brokers. It is checked as Kafka checks it; copies are those of
// the partition's shard all the same.
type ReplicaAssignment struct {
	Partition int32
	Nodes     []int32
}

// CreateTopicsResult answers CreateTopics: topics of the request in its order.
type CreateTopicsResult struct {
	Topics []CreateTopicResult
}

// A CreateTopicResult says how it went for one topic. With a nil Err the rest is what the topic is, or
// would be with ValidateOnly (then ID is zero).
type CreateTopicResult struct {
	Name              string
	ID                record.TopicID
	Partitions        int32
	ReplicationFactor int16
	Set               map[string]string // the configs that are set for the topic
	// Configs is all configs of the topic. The machine leaves it out (see View.DescribeConfigs): it is large.
	Configs []ConfigEntry
	Err     error
}

// DeleteTopics deletes topics, each by itself. The answer is a *DeleteTopicsResult.
type DeleteTopics struct {
	Topics []TopicRef
}

// A TopicRef names a topic by its name, or by its id when the name is empty.
type TopicRef struct {
	Name string
	ID   record.TopicID
}

// DeleteTopicsResult answers DeleteTopics: topics of the request in its order, name and id both set where known.
type DeleteTopicsResult struct {
	Topics []DeleteTopicResult
}

// DeleteTopicResult says how it went for one topic.
type DeleteTopicResult struct {
	TopicRef
	Err error
}

// CreatePartitions gives topics more partitions. The answer is a *CreatePartitionsResult.
type CreatePartitions struct {
	Topics       []GrowTopic
	ValidateOnly bool
}

// A GrowTopic says how many partitions a topic shall have in all.
type GrowTopic struct {
	Name        string
	Count       int32
	Assignments [][]int32 // nodes of each new partition; empty: chosen by the cluster
}

// CreatePartitionsResult answers CreatePartitions: topics of the request in its order.
type CreatePartitionsResult struct {
	Topics []GrowTopicResult
}

// GrowTopicResult says how it went for one topic.
type GrowTopicResult struct {
	Name string
	Err  error
}

// ResourceType says what a config belongs to.
type ResourceType int8

// The types of resources, with Kafka's numbers.
const (
	ResourceTopic  ResourceType = 2
	ResourceBroker ResourceType = 4
)

// A Resource is what a config belongs to: a topic by its name, a broker by its number in decimal, or all
// brokers by an empty name.
type Resource struct {
	Type ResourceType
	Name string
}

// AlterConfigs replaces all configs of resources by those given. The answer is an *AlterConfigsResult.
type AlterConfigs struct {
	Resources    []ReplaceConfigs
	ValidateOnly bool
}

// ReplaceConfigs is one resource of AlterConfigs.
type ReplaceConfigs struct {
	Resource Resource
	Configs  []Setting
}

// IncrementalAlterConfigs changes single configs of resources. The answer is an *AlterConfigsResult.
type IncrementalAlterConfigs struct {
	Resources    []ChangeConfigs
	ValidateOnly bool
}

// ChangeConfigs is one resource of IncrementalAlterConfigs.
type ChangeConfigs struct {
	Resource Resource
	Changes  []ConfigChange
}

// ConfigOperation says what to do with a config.
type ConfigOperation int8

// The operations, with Kafka's numbers. Append and subtract are for lists.
const (
	ConfigSet      ConfigOperation = 0
	ConfigDelete   ConfigOperation = 1
	ConfigAppend   ConfigOperation = 2
	ConfigSubtract ConfigOperation = 3
)

// A ConfigChange is one change of one config. Value is nil for ConfigDelete.
type ConfigChange struct {
	Name      string
	Operation ConfigOperation
	Value     *string
}

// AlterConfigsResult answers AlterConfigs and IncrementalAlterConfigs: resources of the request in its order.
type AlterConfigsResult struct {
	Resources []AlterConfigsResourceResult
}

// AlterConfigsResourceResult says how it went for one resource.
type AlterConfigsResourceResult struct {
	Resource Resource
	Err      error
}

// RegisterBroker says that a broker is there, under which addresses. The answer is nil.
type RegisterBroker struct {
	Broker Broker
}

// AllocateProducerIDs takes a block of producer ids for a broker. The answer is a *ProducerIDBlock.
type AllocateProducerIDs struct {
	Node int32
}

// A ProducerIDBlock is ids that nobody else will ever be given: First to First+Count-1.
type ProducerIDBlock struct {
	First int64
	Count int32
}

func (*CreateTopics) isRequest()            {}
func (*DeleteTopics) isRequest()            {}
func (*CreatePartitions) isRequest()        {}
func (*AlterConfigs) isRequest()            {}
func (*IncrementalAlterConfigs) isRequest() {}
func (*RegisterBroker) isRequest()          {}
func (*AllocateProducerIDs) isRequest()     {}
