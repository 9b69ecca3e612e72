package broker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/stela-db/stela/log/record"
)

// The headers that mean something to the broker on event-store topics.
const (
	headerEventID  = "ce_id"
	headerExpected = "es-expected-version"
)

// An eventID is the first half of the SHA-256 of a ce_id; zero when the record has none.
type eventID [eventIDBytes]byte

func hashEventID(id []byte) eventID {
	if len(id) == 0 {
		return eventID{}
	}
	sum := sha256.Sum256(id)
	return eventID(sum[:eventIDBytes])
}

// An unpacker reads the records of batches. Compressed ones take memory that their size does not tell, so that only a few
// are read at a time: no more than there are processors to do it, twice.
type unpacker struct {
	codecs record.Codecs
	slots  chan struct{}
	limit  int // of what one batch may hold when decompressed
}

// records yields the records of a batch, as Codecs.Records does.
func (u *unpacker) records(batch record.Batch) iter.Seq2[record.Record, error] {
	if batch.Codec() == record.CodecNone {
		return u.codecs.Records(batch, u.limit)
	}
	return func(yield func(record.Record, error) bool) {
		u.slots <- struct{}{}
		defer func() { <-u.slots }()
		u.codecs.Records(batch, u.limit)(yield)
	}
}

// open begins to read the records of a batch, and close ends that. Unlike records it allocates nothing, unless the batch
// is compressed.
func (u *unpacker) open(r *record.Reader, batch record.Batch) error {
	if batch.Codec() != record.CodecNone {
		u.slots <- struct{}{}
	}
	return u.codecs.Read(r, batch, u.limit)
}

func (u *unpacker) close(batch record.Batch) {
	if batch.Codec() != record.CodecNone {
		<-u.slots
	}
}

// A rejection is an error about single records of a batch.
type rejection struct {
	err     error
	records []RecordError
}

func rejectRecord(i int, message string, err error) *rejection {
	return &rejection{
		err:     fmt.Errorf("record %d: %s: %w", i, message, err),
		records: []RecordError{{Index: int32(i), Message: message}},
	}
}

// checkHeader checks what can be seen of a batch without its records.
func (p *Partition) checkHeader(batch record.Batch) error {
	switch limit := p.maxBatchBytes(); {
	case len(batch) > limit:
		return fmt.Errorf("batch of %d bytes, limit %d: %w", len(batch), limit, ErrMessageTooLarge)
	case batch.IsControl():
		return fmt.Errorf("control batch from a client: %w", ErrInvalidRecord)
	case batch.IsTransactional():
		return fmt.Errorf("transactional batch: %w", ErrInvalidTransaction)
	case batch.Codec() > record.CodecZstd:
		return fmt.Errorf("codec %d: %w", batch.Codec(), ErrUnsupportedCompression)
	case batch.RecordCount() <= 0 || batch.LastOffsetDelta() != batch.RecordCount()-1:
		return fmt.Errorf("%d records up to offset delta %d: %w", batch.RecordCount(), batch.LastOffsetDelta(), ErrInvalidRecord)
	case batch.ProducerID() >= 0 && (batch.ProducerEpoch() < 0 || batch.BaseSequence() < 0):
		return fmt.Errorf("producer epoch %d, sequence %d: %w", batch.ProducerEpoch(), batch.BaseSequence(), ErrInvalidRecord)
	case batch.IsLogAppendTime() && !p.topic.Options.LogAppendTime:
		return fmt.Errorf("batch claims to have the broker's time: %w", ErrInvalidTimestamp)
	}
	return nil
}

// maxBatchBytes returns the largest batch that the partition takes.
func (p *Partition) maxBatchBytes() int {
	return min(int(p.topic.Options.MaxMessageBytes), p.state.shard.broker.config.Settings.MaxBatchBytes)
}

// inspect looks at a batch's records: that they are what the header says, and what the topic asks of
// times and keys. On event-store topics it returns the streams they belong to, nil when no record has a key.
func (p *Partition) inspect(batch record.Batch, now time.Time) (*streamBatch, *rejection) {
	options := &p.topic.Options
	unpacker := &p.state.shard.broker.unpacker
	var reader record.Reader
	err := unpacker.open(&reader, batch)
	defer unpacker.close(batch)
	if err != nil {
		return nil, rejectBatch(err)
	}
	var streams *streamBatch
	times, base := p.timeCheck(now), batch.BaseTimestamp()
	r := &reader.Record
	for i := 0; reader.Next(); i++ {
		if r.OffsetDelta != int32(i) {
			return nil, rejectRecord(i, fmt.Sprintf("offset delta %d", r.OffsetDelta), ErrInvalidRecord)
		}
		if rejected := times.see(i, base+r.TimestampDelta); rejected != nil {
			return nil, rejected
		}
		if r.Key == nil {
			if options.Compact {
				return nil, rejectRecord(i, "a compacted topic needs keys", ErrInvalidRecord)
			}
			continue
		}
		if !options.EventStore {
			continue
		}
		if streams == nil {
			streams = &streamBatch{}
		}
		if rejected := streams.add(p, i, r); rejected != nil {
			return nil, rejected
		}
	}
	if err := reader.Err(); err != nil {
		return nil, rejectBatch(err)
	}
	times.correct(batch)
	return streams, nil
}

// rejectBatch refuses a batch whose records cannot be read.
func rejectBatch(err error) *rejection {
	if errors.Is(err, record.ErrTooLarge) {
		return &rejection{err: fmt.Errorf("%w: %w", err, ErrMessageTooLarge)}
	}
	return &rejection{err: fmt.Errorf("%w: %w", err, ErrCorruptMessage)}
}

// A streamBatch is what the records of one batch mean for streams.
type streamBatch struct {
	records []streamRecord
	groups  []streamGroup
	byKey   map[string]int // group by key, once there are several groups
	bytes   int            // of the versions note

	conditional bool // a header of a record names a version

	// The outcome, for an append to one stream: version of the first record, and whether it was there already.
	first     int64
	duplicate bool
	culprit   int // first record of the key that is in conflict
}

type streamRecord struct {
	delta int32
	group int32
	id    eventID
}

// A streamGroup is the records of one key.
type streamGroup struct {
	key      []byte
	expected Expected
	records  []int32 // places in streamBatch.records

	state *streamState // the sequencer's
}

func (s *streamBatch) add(p *Partition, i int, r *record.Record) *rejection {
	if len(r.Key) > MaxKeyBytes {
		return rejectRecord(i, fmt.Sprintf("key of %d bytes, limit %d", len(r.Key), MaxKeyBytes), ErrPolicyViolation)
	}
	partitions := len(p.topic.Partitions)
	if want := PartitionFor(r.Key, partitions); want != p.number {
		return rejectRecord(i, fmt.Sprintf("key %q belongs into partition %d by murmur2, not %d", r.Key, want, p.number), ErrPolicyViolation)
	}
	var id eventID
	if value, ok := r.Header(headerEventID); ok {
		if len(value) > MaxEventIDBytes {
			return rejectRecord(i, fmt.Sprintf("%s of %d bytes, limit %d", headerEventID, len(value), MaxEventIDBytes), ErrPolicyViolation)
		}
		id = hashEventID(value)
	}
	g, fresh := s.group(r.Key)
	if value, ok := r.Header(headerExpected); ok {
		expected, err := ParseExpected(string(value))
		switch {
		case err != nil:
			return rejectRecord(i, fmt.Sprintf("%s %q", headerExpected, value), ErrPolicyViolation)
		case fresh:
			s.groups[g].expected, s.conditional = expected, true
		default:
			return rejectRecord(i, headerExpected+" on another than the key's first record", ErrPolicyViolation)
		}
	}
	s.groups[g].records = append(s.groups[g].records, int32(len(s.records)))
	s.records = append(s.records, streamRecord{delta: r.OffsetDelta, group: int32(g), id: id})
	s.bytes += len(r.Key) + maxVersionBytes
	return nil
}

// expect gives the one stream of the batch the version that the request expects it at; records is how many there are. s may be nil.
func (s *streamBatch) expect(expected Expected, records int) *rejection {
	switch {
	case s == nil || len(s.groups) != 1 || len(s.records) != records:
		return &rejection{err: fmt.Errorf("a version is expected, but the records are not of one stream: %w", ErrInvalidRequest)}
	case expected < ExpectNone && expected != ExpectAny && expected != ExpectExists:
		return &rejection{err: fmt.Errorf("expected version %d: %w", int64(expected), ErrInvalidRequest)}
	case s.conditional:
		return &rejection{err: fmt.Errorf("a version is expected by the request and by a record's header: %w", ErrPolicyViolation)}
	}
	s.groups[0].expected = expected
	return nil
}

// group returns the group of a key, and whether it is new.
func (s *streamBatch) group(key []byte) (int, bool) {
	const few = 4
	if s.byKey != nil {
		if g, ok := s.byKey[string(key)]; ok {
			return g, false
		}
	} else {
		for g := range s.groups {
			if string(s.groups[g].key) == string(key) {
				return g, false
			}
		}
	}
	g := len(s.groups)
	s.groups = append(s.groups, streamGroup{key: key, expected: ExpectAny})
	if s.byKey != nil {
		s.byKey[string(key)] = g
	} else if len(s.groups) > few {
		s.byKey = make(map[string]int, 2*len(s.groups))
		for i := range s.groups {
			s.byKey[string(s.groups[i].key)] = i
		}
	}
	return g, true
}

// ParseExpected reads "any", "none", "exists" or a version from 0.
func ParseExpected(text string) (Expected, error) {
	switch text {
	case "any":
		return ExpectAny, nil
	case "none":
		return ExpectNone, nil
	case "exists":
		return ExpectExists, nil
	}
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil || version < 0 || text[0] == '+' {
		return 0, fmt.Errorf("expected version %q is none of any, none, exists or a number from 0: %w", text, ErrInvalidRequest)
	}
	return Expected(version), nil
}
