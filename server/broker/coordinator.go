package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/group"
	"github.com/stela-db/stela/server/meta"
)

const (
	// groupNoteBytes is about how many bytes of records go into one entry. One record may exceed it.
	groupNoteBytes = 1 << 20
	// forgetDelay is how long deletions of topics are gathered before their offsets are forgotten.
	forgetDelay = 100 * time.Millisecond
	// reviveTimeout bounds one attempt to begin anew after a record was not taken.
	reviveTimeout = 5 * time.Second
	// revivePause is how long to wait after one that failed.
	revivePause = 100 * time.Millisecond
)

// A coordinator runs the groups of one data shard. Requests are decided by whoever brings them, one at a time; there is no
// goroutine of its own but the timer's. What a request answers waits in a reign until all records before it are committed.
type coordinator struct {
	shard *shard

	mu        sync.Mutex // guards the fields up to closed, and is held while the machine decides, never while anybody waits
	machine   *group.Machine
	reign     *reign // nil while another node leads
	term      record.Term
	token     uint64 // of the last request
	timer     *time.Timer
	wake      time.Time // when the machine wants to be ticked; zero for never
	sweepAt   time.Time // when offsets of deleted partitions are to be forgotten; zero for never
	deletions uint64    // of the view at the last sweep
	closed    bool

	ctx     context.Context // ends at close
	cancel  context.CancelFunc
	spawn   sync.Mutex // guards running against a start while close waits
	running sync.WaitGroup
}

// newCoordinator is called when the shard is made; nothing runs before lead.
func newCoordinator(s *shard) *coordinator {
	c := &coordinator{shard: s}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.machine = group.New(groupConfig(s.broker.config.Settings.MetaConfigs))
	return c
}

// groupConfig returns what the broker's configs say of groups. They were checked; what is missing is zero, which is the default.
func groupConfig(configs map[string]string) group.Config {
	number := func(name string) int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(configs[name]), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	milliseconds := func(name string) time.Duration { return time.Duration(number(name)) * time.Millisecond }
	return group.Config{
		MinSessionTimeout:      milliseconds(meta.KeyGroupMinSessionMs),
		MaxSessionTimeout:      milliseconds(meta.KeyGroupMaxSessionMs),
		InitialRebalanceDelay:  milliseconds(meta.KeyGroupInitialDelayMs),
		OffsetsRetention:       time.Duration(number(meta.KeyOffsetsRetentionMinutes)) * time.Minute,
		RetentionCheckInterval: milliseconds(meta.KeyOffsetsRetentionCheckMs),
		MaxOffsetMetadataBytes: int(number(meta.KeyOffsetMetadataMaxBytes)),
		MaxMembers:             int(number(meta.KeyGroupMaxSize)),
	}
}

// load replaces the replicated state by the rows of the index that begin with rowGroup. Called at the start and after a
// restore, on the state machine's goroutine.
func (c *coordinator) load() error {
	machine := group.New(groupConfig(c.shard.broker.config.Settings.MetaConfigs))
	rows, scanError := c.shard.broker.config.Index.Scan(c.shard.id, []byte{rowGroup})
	for key, value := range rows {
		if err := machine.Load(key[1:], value); err != nil {
			return fmt.Errorf("shard %d: %w", c.shard.id, err)
		}
	}
	if err := scanError(); err != nil {
		return fmt.Errorf("shard %d: read groups: %w", c.shard.id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.machine = machine
	return nil
}

// replay applies a note of kind noteGroup and puts changed rows into batch. Called on the state machine's goroutine.
func (c *coordinator) replay(batch *index.Batch, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.Replay(body, func(key, value []byte) {
		row := append([]byte{rowGroup}, key...)
		if value == nil {
			batch.Delete(c.shard.id, row)
			return
		}
		batch.Put(c.shard.id, row, value)
	})
}

// lead and follow tell about leadership; serial, on a goroutine of replication. They must not wait for proposals.
func (c *coordinator) lead(term record.Term) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.term = term
	c.begin()
}

// begin starts a reign. The caller holds mu.
func (c *coordinator) begin() {
	c.end(ErrNotCoordinator)
	c.reign = newReign()
	c.sweepAt = time.Now().Add(forgetDelay)
	c.carryOut(c.machine.Lead(time.Now()))
}

// end ends the reign, if there is one: whoever waits for its answers gets the error. The caller holds mu.
func (c *coordinator) end(err error) {
	if c.reign == nil {
		return
	}
	c.machine.Follow() // answers with ErrReset, which nobody gets: the reign has a better reason
	if c.timer != nil {
		c.timer.Stop()
	}
	c.reign.fail(err)
	c.reign = nil
}

func (c *coordinator) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(ErrNotCoordinator)
	c.term = 0
}

// close ends the goroutines.
func (c *coordinator) close() {
	c.mu.Lock()
	c.closed = true
	c.end(ErrShuttingDown)
	c.mu.Unlock()
	c.spawn.Lock()
	c.cancel()
	c.spawn.Unlock()
	c.running.Wait()
}

// ask decides one request and waits for its answer.
func (c *coordinator) ask(ctx context.Context, request group.Request) (group.Response, error) {
	if _, isCommit := request.(*group.OffsetCommit); isCommit {
		if err := c.shard.broker.config.Log.Writable(); err != nil { // other requests write little, and make room
			return nil, fmt.Errorf("%w: %w", ErrCoordinatorNotAvailable, err)
		}
	}
	answer := make(chan group.Answer, 1)
	c.mu.Lock()
	r := c.reign
	switch {
	case c.closed:
		c.mu.Unlock()
		return nil, ErrShuttingDown
	case r == nil && c.term != 0:
		c.mu.Unlock()
		return nil, ErrCoordinatorLoading
	case r == nil:
		c.mu.Unlock()
		return nil, ErrNotCoordinator
	}
	c.token++
	token := c.token
	if !r.expect(token, answer) {
		c.mu.Unlock()
		return nil, ErrCoordinatorLoading
	}
	c.carryOut(c.machine.Handle(time.Now(), token, request))
	c.mu.Unlock()
	select {
	case a := <-answer:
		if errors.Is(a.Err, group.ErrReset) {
			a.Err = ErrNotCoordinator
		}
		return a.Response, a.Err
	case <-ctx.Done():
		r.forget(token)
		return nil, fmt.Errorf("group request: %w: %w", ErrTimedOut, ctx.Err())
	}
}

// carryOut proposes records and lets answers wait for them. The caller holds mu, so that records get into the log in
// the order in which they were decided.
func (c *coordinator) carryOut(effects group.Effects) {
	var notes [][]byte
	for _, entry := range effects.Records {
		if last := len(notes) - 1; last >= 0 && len(notes[last])+len(entry) <= groupNoteBytes {
			notes[last] = record.AppendNote(notes[last], noteGroup, entry)
			continue
		}
		notes = append(notes, record.AppendNote(nil, noteGroup, entry))
	}
	r := c.reign
	waiting := r.wait(effects.Answers, len(notes))
	if waiting == nil {
		return // revive is about to end this reign
	}
	for _, note := range notes {
		c.shard.propose(note, func(err error) { c.settled(r, waiting, err) })
	}
	c.wake = effects.Wake
	c.setTimer()
}

// settled is called when the outcome of a proposal is known: any goroutine, mu perhaps held.
func (c *coordinator) settled(r *reign, waiting *round, err error) {
	if !r.settle(waiting, err) {
		return
	}
	// A record was not taken, so what was decided since is built on sand. Whether this node still leads is for revive to find out.
	c.spawn.Lock()
	defer c.spawn.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.running.Go(func() { c.revive(r) }) // ends when another reign begins or none can, at the latest at close
}

// revive ends a reign of which a record was not taken. When this node leads all the same (the queue was full, a disk
// was), it begins another one as soon as everything that was proposed is decided.
func (c *coordinator) revive(r *reign) {
	c.mu.Lock()
	if c.reign != r {
		c.mu.Unlock()
		return
	}
	c.end(ErrNotCoordinator)
	term := c.term
	c.mu.Unlock()
	if r.drained(c.ctx) != nil {
		return
	}
	for {
		ctx, cancel := context.WithTimeout(c.ctx, reviveTimeout)
		err := c.shard.group.Barrier(ctx)
		cancel()
		c.mu.Lock()
		if c.closed || c.reign != nil || c.term != term || term == 0 {
			c.mu.Unlock()
			return // another leadership began or none is left
		}
		if err == nil {
			c.begin()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if leader := c.shard.group.Leader(); !leader.Local || leader.Term != term {
			return // replication will tell, if it has not yet
		}
		pause := time.NewTimer(revivePause)
		select {
		case <-pause.C:
		case <-c.ctx.Done():
			pause.Stop()
		}
	}
}

// setTimer moves the time of the next tick. The caller holds mu.
func (c *coordinator) setTimer() {
	next := c.wake
	if next.IsZero() || !c.sweepAt.IsZero() && c.sweepAt.Before(next) {
		next = c.sweepAt
	}
	switch {
	case next.IsZero():
		if c.timer != nil {
			c.timer.Stop()
		}
	case c.timer == nil:
		c.timer = time.AfterFunc(max(time.Until(next), 0), c.tick)
	default:
		c.timer.Reset(max(time.Until(next), 0))
	}
}

// tick runs on the timer's goroutine. After the end of a reign it does nothing.
func (c *coordinator) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reign == nil {
		return
	}
	now := time.Now()
	if !c.sweepAt.IsZero() && !now.Before(c.sweepAt) {
		view := c.shard.broker.View()
		c.sweepAt, c.deletions = time.Time{}, view.Deletions()
		c.token++
		c.carryOut(c.machine.Handle(now, c.token, &group.ForgetPartitions{Gone: view.Gone}))
	}
	c.carryOut(c.machine.Tick(now))
}

// viewChanged tells that the metadata changed (topics deleted, perhaps). It must not block.
func (c *coordinator) viewChanged() {
	deletions := c.shard.broker.View().Deletions()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reign != nil && deletions != c.deletions && c.sweepAt.IsZero() {
		c.sweepAt = time.Now().Add(forgetDelay)
		c.setTimer()
	}
}

// Coordinator returns the node that coordinates a group.
func (b *Broker) Coordinator(groupID string) (node int32, ok bool) {
	s := b.groupShard(groupID)
	if s == nil {
		return -1, false
	}
	node = s.group.Leader().Node
	return node, node >= 0
}

// groupShard returns the shard that a group lives in; nil before the cluster is formed and the shard is there.
func (b *Broker) groupShard(groupID string) *shard {
	count := b.config.Replication.Shards()
	if count == 0 {
		return nil
	}
	// FNV-1a: which shard a group is in is for ever.
	hash := uint64(14695981039346656037)
	for i := range len(groupID) {
		hash = (hash ^ uint64(groupID[i])) * 1099511628211
	}
	return b.shard(record.Shard(hash%uint64(count)) + 1)
}

// Group asks the coordinator of a group, which has to be this node: ErrNotCoordinator when it is another. The response is of
// the type that the request's documentation names; it may be there beside an error.
// *group.List ignores groupID and lists all groups that this node coordinates.
func (b *Broker) Group(ctx context.Context, groupID string, request group.Request) (group.Response, error) {
	if list, ok := request.(*group.List); ok {
		return b.listGroups(ctx, list)
	}
	s := b.groupShard(groupID)
	if s == nil {
		return nil, ErrCoordinatorNotAvailable
	}
	switch r := request.(type) {
	case *group.OffsetCommit:
		return s.coordinator.commitOffsets(ctx, r)
	case *group.OffsetFetch:
		return s.coordinator.fetchOffsets(ctx, r)
	default:
		return s.coordinator.ask(ctx, request)
	}
}

func (b *Broker) listGroups(ctx context.Context, request *group.List) (group.Response, error) {
	all := &group.Listing{}
	for _, s := range b.dataShards() {
		response, err := s.coordinator.ask(ctx, request)
		if errors.Is(err, ErrNotCoordinator) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all.Groups = append(all.Groups, response.(*group.Listing).Groups...)
	}
	slices.SortFunc(all.Groups, func(a, b group.Listed) int { return strings.Compare(a.Group, b.Group) })
	return all, nil
}

// commitOffsets tells the coordinator which partitions of the cluster are meant, so that a deleted topic's offsets are never
// taken for those of its successor. Partitions that there are not are refused.
func (c *coordinator) commitOffsets(ctx context.Context, r *group.OffsetCommit) (group.Response, error) {
	view := c.shard.broker.View()
	known := *r
	known.Topics = make([]group.CommitTopic, len(r.Topics))
	result := &group.CommitResult{Topics: make([]group.CommitTopicResult, len(r.Topics))}
	for i, topic := range r.Topics {
		known.Topics[i].Name = topic.Name
		result.Topics[i] = group.CommitTopicResult{Name: topic.Name, Partitions: make([]group.CommitPartitionResult, len(topic.Partitions))}
		found := view.TopicByName(topic.Name)
		for j, p := range topic.Partitions {
			result.Topics[i].Partitions[j].Index = p.Index
			if found == nil || p.Index < 0 || int(p.Index) >= len(found.Partitions) {
				result.Topics[i].Partitions[j].Err = ErrUnknownTopicOrPartition
				continue
			}
			p.Number = found.Partitions[p.Index].Partition
			known.Topics[i].Partitions = append(known.Topics[i].Partitions, p)
		}
	}
	response, err := c.ask(ctx, &known)
	if err != nil {
		return nil, err
	}
	for i, topic := range response.(*group.CommitResult).Topics {
		answered := topic.Partitions
		for j := range result.Topics[i].Partitions {
			if p := &result.Topics[i].Partitions[j]; p.Err == nil {
				p.Err, answered = answered[0].Err, answered[1:]
			}
		}
	}
	return result, nil
}

// fetchOffsets leaves out offsets of deleted topics that were not swept yet. It makes sure that no other node has been the
// coordinator in the meantime: an offset that was committed there must not be missed.
func (c *coordinator) fetchOffsets(ctx context.Context, r *group.OffsetFetch) (group.Response, error) {
	response, err := c.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := c.shard.group.VerifyLeader(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCoordinator, err)
	}
	view := c.shard.broker.View()
	result := response.(*group.FetchResult)
	for i := range result.Topics {
		topic := &result.Topics[i]
		kept := topic.Partitions[:0]
		for _, p := range topic.Partitions {
			if p.Offset >= 0 && view.Gone(p.Number) {
				if r.All {
					continue
				}
				p = group.FetchPartitionResult{Index: p.Index, Offset: -1, LeaderEpoch: -1}
			}
			kept = append(kept, p)
		}
		topic.Partitions = kept
	}
	if r.All {
		result.Topics = slices.DeleteFunc(result.Topics, func(t group.FetchTopicResult) bool { return len(t.Partitions) == 0 })
	}
	return result, nil
}
