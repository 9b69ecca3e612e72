package broker

import (
	"strconv"
	"time"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
)

// A ProduceBatch is one record batch on its way into a partition.
type ProduceBatch struct {
	Partition *Partition
	// Batch lies in Frame, has passed record.CheckBatch and will be changed (stamped) here.
	Batch record.Batch
	// Frame is the memory of Batch. The reference passes to the broker.
	Frame *frame.Frame
	// Receiver is told once.
	Receiver ProduceReceiver
	// Conditional says that all records belong to one stream, which is to be at Expected. Headers of the records cannot say so too.
	Conditional bool
	Expected    Expected
}

// A ProduceReceiver takes the result of a ProduceBatch. A front that has a place for each result gives that, which
// costs nothing; ReceiverFunc is for all others.
type ProduceReceiver interface {
	// Done is called once, from any goroutine, when the batch is committed or refused. It must not block.
	Done(result ProduceResult)
}

// A ReceiverFunc is a function as ProduceReceiver.
type ReceiverFunc func(ProduceResult)

// Done implements ProduceReceiver.
func (f ReceiverFunc) Done(result ProduceResult) { f(result) }

// A ProduceResult answers a ProduceBatch.
type ProduceResult struct {
	Err            error
	BaseOffset     record.Offset // -1 with an error
	LogStartOffset record.Offset // -1 with an error
	LogAppendTime  int64         // milliseconds since 1970; -1 when the producer's times were kept
	RecordErrors   []RecordError

	// Of a Conditional batch:
	FirstVersion int64 // of its first record
	Duplicate    bool  // its records were there already, from FirstVersion on
}

// A FetchRequest asks for batches of several partitions.
type FetchRequest struct {
	MaxWait    time.Duration // 0: answer at once
	MinBytes   int           // wait until so many bytes are there, or for MaxWait
	MaxBytes   int           // of all partitions; at least one batch is given all the same
	Partitions []FetchPartition
	Memory     FetchMemory // nil: as much as MaxBytes needs
}

// FetchMemory bounds the memory of fetches. Its methods are called from Fetch only.
type FetchMemory interface {
	// Take is called before so many bytes are read. When it returns false they are not: the answer is what there is by
	// then, perhaps nothing.
	Take(bytes int) bool
	// GiveBack is called when nothing that was read is held any more, before Fetch waits.
	GiveBack()
}

// A FetchPartition is one partition of a FetchRequest.
type FetchPartition struct {
	Partition   *Partition
	Offset      record.Offset
	MaxBytes    int
	LeaderEpoch int32 // as the client knows it, -1 when it does not
}

// A FetchResult answers a FetchRequest. Release it when the bytes are sent.
type FetchResult struct {
	Partitions []FetchedPartition // of the request in its order

	frames []*frame.Frame
}

// A FetchedPartition is the answer for one partition.
type FetchedPartition struct {
	Err            error
	HighWatermark  record.Offset // -1 with an error other than ErrOffsetOutOfRange
	LogStartOffset record.Offset // likewise
	// Batches are whole stored batches, in order, the first of which contains the offset asked for. Each slice holds
	// one or more; they are valid until Release.
	Batches [][]byte
}

// Bytes returns how many bytes of batches the answer holds.
func (p *FetchedPartition) Bytes() int {
	n := 0
	for _, b := range p.Batches {
		n += len(b)
	}
	return n
}

// Release gives back the memory of all batches. Call it once.
func (r *FetchResult) Release() {
	for _, f := range r.frames {
		f.Release()
	}
	r.frames = nil
}

// drop gives back all batches before the request waits: what is there is read again afterwards.
func (r *FetchResult) drop(request *FetchRequest) {
	r.Release()
	for i := range r.Partitions {
		r.Partitions[i].Batches = nil
	}
	if request.Memory != nil {
		request.Memory.GiveBack()
	}
}

// Times that ListOffsets takes instead of a timestamp.
const (
	TimestampLatest   int64 = -1 // the high watermark
	TimestampEarliest int64 = -2 // the log start
	TimestampMax      int64 = -3 // the record with the latest time
)

// A ListedOffset answers ListOffsets. Offset is -1 when no record is that late.
type ListedOffset struct {
	Offset      record.Offset
	Timestamp   int64 // of the record, -1 for TimestampLatest and TimestampEarliest
	LeaderEpoch int32 // of the record, -1 when not known
}

// An EpochEnd answers OffsetForLeaderEpoch: the newest epoch at most the requested one, and the offset after its last record.
type EpochEnd struct {
	LeaderEpoch int32         // -1 when there is none
	EndOffset   record.Offset // -1 when there is none
}

// Expected is the version at which an append expects its stream: a version from 0,
// or one of the constants.
type Expected int64

// What an append may expect other than a version. ExpectNone is the version of an empty stream.
const (
	ExpectNone   Expected = -1 // the stream has no event yet
	ExpectAny    Expected = -2 // whatever is there
	ExpectExists Expected = -4 // the stream has at least one event
)

// String returns "any", "none", "exists" or the version.
func (e Expected) String() string {
	switch e {
	case ExpectAny:
		return "any"
	case ExpectNone:
		return "none"
	case ExpectExists:
		return "exists"
	}
	return strconv.FormatInt(int64(e), 10)
}

// An Event is one event to append.
type Event struct {
	// ID makes a retry recognizable; at most MaxEventIDBytes. It is stored as the header ce_id.
	ID string
	// Headers are stored as they are, after ce_id. They must not hold ce_id again.
	Headers []record.Header
	Value   []byte
	Time    time.Time // zero: now
}

const (
	// MaxEventIDBytes bounds Event.ID.
	MaxEventIDBytes = 512
	// MaxAppendEvents bounds the events of one append.
	MaxAppendEvents = 1000
	// MaxKeyBytes bounds the key of a stream.
	MaxKeyBytes = 4096
	// MaxReadEvents bounds the events of one read of a stream.
	MaxReadEvents = 10_000
)

// An AppendRequest appends events to one stream, all or none.
type AppendRequest struct {
	Topic    string
	Key      []byte
	Expected Expected
	Events   []Event
}

// An AppendResult says where the events are.
type AppendResult struct {
	FirstVersion, LastVersion int64
	Partition                 int32
	FirstOffset               record.Offset
	// Duplicate: events of the same ids were there already; the numbers are theirs.
	Duplicate bool
}

// A ReadStreamRequest reads a part of one stream.
type ReadStreamRequest struct {
	Topic    string
	Key      []byte
	From     int64 // first version; backward: -1 for the newest
	Limit    int   // 1 to MaxReadEvents
	Backward bool
	// Until leaves out events that were stored after this time, to the millisecond; zero for all.
	Until time.Time
	// MinVersion: wait, as long as ctx lasts, until the stream has this version; -1 for no wait.
	MinVersion int64
}

// A StreamEvent is one event of a stream as it was stored. Its slices are the caller's.
type StreamEvent struct {
	Version   int64
	Partition int32
	Offset    record.Offset
	Timestamp int64 // milliseconds since 1970
	Headers   []record.Header
	Value     []byte
}

// A StreamSlice answers a ReadStreamRequest.
type StreamSlice struct {
	Events []StreamEvent
	Head   int64 // the stream's newest version, -1 for an empty stream
}
