package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/cmd/internal/command"
)

// A beginning says where reading starts in each partition.
type beginning struct {
	at     int64 // an offset, or one of the values below
	before int64 // with fromEnd: this many offsets earlier
	time   int64 // with fromTime: milliseconds since 1970
}

const (
	fromStart = -1
	fromEnd   = -2
	fromTime  = -3
)

// beginning reads the flags that say where to begin.
func (c *consume) beginning() (beginning, error) {
	switch {
	case c.tail < 0 || c.count < 0:
		return beginning{}, command.Usagef("--tail and --count take positive numbers")
	case c.fromTime != "":
		at, err := parseTime(c.fromTime)
		if err != nil {
			return beginning{}, command.Usage(fmt.Errorf("--from-time: %w", err))
		}
		return beginning{at: fromTime, time: at.UnixMilli()}, nil
	case c.fromBeginning || c.offset == "start" || c.offset == "" && c.group != "":
		return beginning{at: fromStart}, nil
	case c.tail > 0:
		return beginning{at: fromEnd, before: c.tail}, nil
	case c.offset == "" && c.exit:
		return beginning{}, command.Usagef("--exit from the end on would print nothing; add --from-beginning, --offset, --from-time or --tail")
	case c.offset == "" || c.offset == "end":
		return beginning{at: fromEnd}, nil
	}
	n, err := strconv.ParseInt(c.offset, 10, 64)
	if err != nil {
		return beginning{}, command.Usagef("--offset is %q; use start, end, N or -N", c.offset)
	}
	if n < 0 {
		return beginning{at: fromEnd, before: -n}, nil
	}
	return beginning{at: n}, nil
}

// reset returns the beginning for a group's partition without a committed offset.
func (b beginning) reset() kgo.Offset {
	switch b.at {
	case fromStart:
		return kgo.NewOffset().AtStart()
	case fromEnd:
		return kgo.NewOffset().AtEnd().Relative(-b.before)
	case fromTime:
		return kgo.NewOffset().AfterMilli(b.time)
	}
	return kgo.NewOffset().At(b.at)
}

// spans are the offsets [begin, end) to read, by partition.
type spans map[int32]*span

type span struct{ begin, end int64 }

// spans asks the cluster what there is to read now.
func (c *consume) spans(ctx context.Context, adm *kadm.Client, from beginning) (spans, error) {
	details, err := describeTopics(ctx, adm, []string{c.topic})
	if err != nil {
		return nil, err
	}
	for _, partition := range c.partitions {
		if _, ok := details[0].Partitions[partition]; !ok {
			return nil, fmt.Errorf("topic %s has no partition %d; it has %d, counted from 0", c.topic, partition, len(details[0].Partitions))
		}
	}
	starts, err := listed(adm.ListStartOffsets(ctx, c.topic))
	if err != nil {
		return nil, err
	}
	ends, err := listed(adm.ListEndOffsets(ctx, c.topic))
	if err != nil {
		return nil, err
	}
	var times kadm.ListedOffsets
	if from.at == fromTime {
		if times, err = listed(adm.ListOffsetsAfterMilli(ctx, from.time, c.topic)); err != nil {
			return nil, err
		}
	}
	result := spans{}
	ends.Each(func(end kadm.ListedOffset) {
		if len(c.partitions) > 0 && !slices.Contains(c.partitions, end.Partition) {
			return
		}
		start, _ := starts.Lookup(c.topic, end.Partition)
		s := &span{begin: max(from.at, start.Offset), end: end.Offset}
		switch from.at {
		case fromEnd:
			s.begin = max(end.Offset-from.before, start.Offset)
		case fromTime:
			at, _ := times.Lookup(c.topic, end.Partition)
			s.begin = max(at.Offset, start.Offset)
		}
		result[end.Partition] = s
	})
	if c.group != "" {
		if err := result.beginCommitted(ctx, adm, c.group, c.topic); err != nil {
			return nil, err
		}
	}
	if from.at < 0 {
		return result, nil
	}
	return result, result.checkEnds(c.topic)
}

// checkEnds refuses to begin beyond an end: nothing is there, and nobody asked for what is before.
func (s spans) checkEnds(topic string) error {
	for _, partition := range slices.Sorted(maps.Keys(s)) {
		if span := s[partition]; span.begin > span.end {
			return command.Advise(fmt.Errorf("offset %d is beyond the end of %s partition %d, which is %d", span.begin, topic, partition, span.end),
				"use a smaller --offset, 'end', or --partition for those that have it")
		}
	}
	return nil
}

// listed joins the two ways in which listing offsets can fail.
func listed(offsets kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	return offsets, nil
}

// beginCommitted moves the beginnings to what the group has committed.
func (s spans) beginCommitted(ctx context.Context, adm *kadm.Client, group, topic string) error {
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("read offsets of group %s: %w", group, err)
	}
	for partition, span := range s {
		if offset, ok := committed.Lookup(topic, partition); ok && offset.Err == nil && offset.At >= 0 {
			span.begin = offset.At
		}
	}
	return nil
}

// dropCommitted removes what the group has read to its end.
func (s spans) dropCommitted(ctx context.Context, adm *kadm.Client, group, topic string) error {
	if err := s.beginCommitted(ctx, adm, group, topic); err != nil {
		return err
	}
	s.dropEmpty()
	return nil
}

func (s spans) dropEmpty() {
	for partition, span := range s {
		if span.begin >= span.end {
			delete(s, partition)
		}
	}
}

// take notes that record was read and reports whether it lies in its span.
func (s spans) take(record *kgo.Record) bool {
	span, ok := s[record.Partition]
	if !ok {
		return false
	}
	if record.Offset+1 >= span.end {
		delete(s, record.Partition)
	}
	return record.Offset < span.end
}

func (s spans) assignment(topic string) map[string]map[int32]kgo.Offset {
	partitions := map[int32]kgo.Offset{}
	for partition, span := range s {
		partitions[partition] = kgo.NewOffset().At(span.begin)
	}
	return map[string]map[int32]kgo.Offset{topic: partitions}
}
