package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
)

// ListOffsets returns the first offset whose record is not older than timestamp (ms), or what one of the constants asks for.
func (b *Broker) ListOffsets(ctx context.Context, partition *Partition, timestamp int64) (ListedOffset, error) {
	p := partition.state
	term, _, err := p.leadership()
	if err != nil {
		return ListedOffset{}, err
	}
	start, next, err := p.bounds()
	if err != nil {
		return ListedOffset{}, err
	}
	switch {
	case timestamp == TimestampLatest:
		return ListedOffset{next, -1, term.Epoch()}, nil
	case timestamp == TimestampEarliest:
		epoch := int32(-1)
		if runs, err := b.config.Index.Runs(p.id, start, 1, nil); err == nil && len(runs) == 1 {
			epoch = runs[0].Term.Epoch()
		}
		return ListedOffset{start, -1, epoch}, nil
	case timestamp == TimestampMax:
		return p.latestTime(ctx, start)
	case timestamp < 0:
		return ListedOffset{}, fmt.Errorf("timestamp %d: %w", timestamp, ErrUnsupported)
	}
	return p.offsetAtTime(ctx, start, timestamp)
}

// offsetAtTime finds the first record from start on that is not older than timestamp.
func (p *partitionState) offsetAtTime(ctx context.Context, start record.Offset, timestamp int64) (ListedOffset, error) {
	none := ListedOffset{-1, -1, -1}
	run, ok, err := p.shard.broker.config.Index.RunAtTime(p.id, timestamp)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if !ok {
		return none, nil
	}
	// The run that reaches the time holds such a record, unless the begin of the partition lies behind it.
	found := none
	err = p.eachRun(ctx, max(run.First, start), func(run *index.Run, batch record.Batch) (bool, error) {
		if batch.LastOffset() < start || batch.MaxTimestamp() < timestamp {
			return true, nil
		}
		offset, at, err := p.recordAtTime(batch, start, timestamp)
		if err == nil && offset >= 0 {
			found = ListedOffset{offset, at, run.Term.Epoch()}
		}
		return offset < 0, err
	})
	return found, err
}

// latestTime finds the first of the records with the latest time.
func (p *partitionState) latestTime(ctx context.Context, start record.Offset) (ListedOffset, error) {
	none := ListedOffset{-1, -1, -1}
	last, ok, err := p.shard.broker.config.Index.LastRun(p.id)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if !ok || last.Last < start {
		return none, nil
	}
	found, err := p.offsetAtTime(ctx, start, last.MaxTimestamp)
	if err != nil || found.Offset >= 0 {
		return found, err
	}
	// The latest of all records is not there any more: look at every batch that is.
	latest := noTimestamp
	err = p.eachRun(ctx, start, func(_ *index.Run, batch record.Batch) (bool, error) {
		if batch.LastOffset() >= start {
			latest = max(latest, batch.MaxTimestamp())
		}
		return true, nil
	})
	if err != nil || latest < 0 {
		return none, err
	}
	return p.offsetAtTime(ctx, start, latest)
}

// eachRun calls visit for the batches of all runs from the one that contains offset on, until it returns false.
func (p *partitionState) eachRun(ctx context.Context, offset record.Offset, visit func(*index.Run, record.Batch) (bool, error)) error {
	var runs []index.Run
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrTimedOut, ctx.Err())
		}
		var err error
		if runs, err = p.shard.broker.config.Index.Runs(p.id, offset, fetchRuns, runs[:0]); err != nil {
			return fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if len(runs) == 0 {
			return nil
		}
		for i := range runs {
			more, err := p.visitRun(&runs[i], visit)
			if err != nil || !more {
				return err
			}
		}
		offset = runs[len(runs)-1].Last + 1
	}
}

func (p *partitionState) visitRun(run *index.Run, visit func(*index.Run, record.Batch) (bool, error)) (bool, error) {
	stored, held, err := p.shard.read(run)
	if err != nil {
		return false, err
	}
	defer held.Release()
	for len(stored) > 0 {
		batch, rest, err := record.NextBatch(stored)
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if more, err := visit(run, batch); err != nil || !more {
			return false, err
		}
		stored = rest
	}
	return true, nil
}

// recordAtTime returns the first record of a batch that is neither before start nor older than timestamp, -1 for none.
func (p *partitionState) recordAtTime(batch record.Batch, start record.Offset, timestamp int64) (record.Offset, int64, error) {
	for r, err := range p.shard.broker.unpacker.records(batch) {
		if err != nil {
			return -1, -1, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if offset, at := batch.Offset(&r), batch.Timestamp(&r); offset >= start && at >= timestamp {
			return offset, at, nil
		}
	}
	return -1, -1, nil
}

// OffsetForLeaderEpoch returns the newest epoch at most epoch and the offset after its last record.
// currentEpoch is the leader's epoch as the client knows it, -1 when it does not.
func (b *Broker) OffsetForLeaderEpoch(partition *Partition, currentEpoch, epoch int32) (EpochEnd, error) {
	p := partition.state
	none := EpochEnd{-1, -1}
	term, _, err := p.leadership()
	if err == nil {
		err = checkEpoch(currentEpoch, term)
	}
	if err != nil {
		return none, err
	}
	start, next, err := p.bounds()
	switch {
	case err != nil:
		return none, err
	case epoch < 0 || epoch > term.Epoch():
		return none, nil
	case epoch == term.Epoch():
		return EpochEnd{epoch, next}, nil
	}
	end, found, ok, err := b.config.Index.EpochEnd(p.id, record.Term(epoch))
	switch {
	case err != nil:
		return none, fmt.Errorf("%w: %w", ErrStorage, err)
	case !ok: // older than all that is there
		return EpochEnd{epoch, start}, nil
	case end < 0:
		return EpochEnd{found.Epoch(), next}, nil
	}
	return EpochEnd{found.Epoch(), end}, nil
}

// DeleteRecords moves the partition's begin up to before (-1: the high watermark) and returns the new begin.
// Event-store topics and topics that are not cleaned by deletion do not allow it.
func (b *Broker) DeleteRecords(ctx context.Context, partition *Partition, before record.Offset) (record.Offset, error) {
	p := partition.state
	if _, _, err := p.leadership(); err != nil {
		return -1, err
	}
	if options := &partition.topic.Options; options.EventStore || !options.Delete {
		return -1, fmt.Errorf("records of topic %s are kept: %w", partition.topic.Name, ErrPolicyViolation)
	}
	start, next, err := p.bounds()
	if err != nil {
		return -1, err
	}
	if before == -1 {
		before = next
	}
	switch {
	case before < 0 || before > next:
		return -1, offsetRange(before, start, next)
	case before <= start:
		return start, nil
	}
	if err := p.shard.proposeWait(ctx, appendLogStart(nil, p.id, before)); err != nil {
		return -1, err
	}
	start, _, err = p.bounds()
	return start, err
}

// proposeWait proposes notes and waits for the outcome; when ctx ends before, that is ErrTimedOut.
func (s *shard) proposeWait(ctx context.Context, notes []byte) error {
	outcome := make(chan error, 1)
	s.propose(notes, func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return errors.Join(ErrTimedOut, ctx.Err())
	}
}
