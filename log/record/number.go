package record

import "errors"

// ErrCorrupt is wrapped by every error that says that bytes are not what they should be.
var ErrCorrupt = errors.New("corrupt")

// ErrTooLarge is wrapped when something exceeds a limit that the caller set.
var ErrTooLarge = errors.New("too large")

// Offset is a position of a record within one partition, from 0, as Kafka's clients see it.
type Offset int64

// Index is a position of an entry within one shard's Raft log, from 1.
type Index uint64

// Term is a Raft term; as a leader epoch of Kafka its low 31 bits are used.
type Term uint64

// Epoch returns the term as Kafka's leader epoch.
func (t Term) Epoch() int32 { return int32(t & 0x7fffffff) }

// Shard names one Raft group. 0 is the metadata shard; data shards count from 1.
type Shard uint8

// Metadata is the shard that holds topics, brokers and settings of the cluster.
const Metadata Shard = 0

// Partition names one partition of one topic within the cluster, for ever: the
// numbers are given out in order of creation and never used again.
type Partition uint32

// Position is a place in one node's log: segment number times the largest segment
// size, plus the place within the segment. Positions of different nodes differ.
type Position int64

// TopicID is Kafka's topic UUID.
type TopicID [16]byte
