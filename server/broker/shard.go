package broker

import (
	"sync"
	"sync/atomic"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// A shard is this node's replica of one data shard: sequencer (while leading), state machine, coordinator.
type shard struct {
	id          record.Shard
	broker      *Broker
	group       *replication.Group
	coordinator *coordinator
	machine     *machine

	mu         sync.Mutex // guards the fields up to fetchers
	work       sync.Cond  // the sequencer waits: items were queued, or the role changed
	room       sync.Cond  // producers wait: unanswered fell, or the role changed
	leading    bool
	term       record.Term
	reign      uint64 // counts the times that the sequencer had to begin anew
	broken     bool   // a proposal of this reign was not taken: those after it are void
	closed     bool
	queue      []item
	unanswered int64 // bytes of items that were not answered yet
	underway   int   // proposals that are not settled
	fetchers   map[*waiter]struct{}

	pipeline  pipeline
	confirmer confirmer
}

// A pipeline leads from a shard's sequencer to its answerer.
type pipeline struct {
	settled   atomic.Uint64  // the newest proposal whose outcome is known
	proposals chan *proposal // in order
	spare     sync.Pool      // of *proposal
	running   sync.WaitGroup // all goroutines of the shard
}

// proposalsUnderway bounds the proposals between sequencer and answerer. Bytes are
// bounded by Settings.UnansweredBytes, which is reached first by all but tiny entries.
const proposalsUnderway = 1024

// An item is one thing that a shard's sequencer orders: a batch, or notes.
type item struct {
	// of a batch
	state    *partitionState
	batch    record.Batch
	frame    *frame.Frame
	streams  *streamBatch // nil when no record belongs to a stream
	receiver ProduceReceiver
	result   ProduceResult

	// of notes
	notes []byte
	noted func(error)

	bytes int64 // counted in unanswered
}

// answer gives the item's outcome: err is that of its proposal.
func (it *item) answer(err error) {
	if it.noted != nil {
		it.noted(err)
		return
	}
	switch {
	case err == nil && it.result.Err == nil:
		start, _, loadErr := it.state.bounds()
		if loadErr != nil {
			start = -1
		}
		it.result.LogStartOffset = start
	case err == nil:
		it.result.BaseOffset = -1
	case it.result.Err != nil: // refused because of what was promised to others, which came to nothing; surely not stored
		it.result = ProduceResult{Err: ErrNotLeader, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1}
	default:
		it.result = ProduceResult{Err: err, BaseOffset: -1, LogStartOffset: -1, LogAppendTime: -1}
	}
	it.receiver.Done(it.result)
}

// drop refuses an item that was not handed to Raft.
func (it *item) drop(err error) {
	if it.frame != nil {
		it.frame.Release()
		it.frame = nil
	}
	it.result.Err = nil
	it.answer(err)
}

func newShard(b *Broker, id record.Shard) *shard {
	s := &shard{
		id: id, broker: b, group: b.config.Replication.Group(id),
		fetchers: map[*waiter]struct{}{},
	}
	s.pipeline.proposals = make(chan *proposal, proposalsUnderway)
	s.work.L, s.room.L = &s.mu, &s.mu
	s.pipeline.spare.New = func() any { return new(proposal) }
	s.machine = newMachine(s)
	s.coordinator = newCoordinator(s)
	return s
}

// start loads what the index holds and begins to order. close ends it.
func (s *shard) start() error {
	if err := s.machine.load(); err != nil {
		return err
	}
	s.pipeline.running.Go(func() { // ends at close
		defer close(s.pipeline.proposals)
		newSequencer(s).run()
	})
	s.pipeline.running.Go(s.answerAll) // ends after the sequencer, when the last proposal is settled
	return nil
}

// close refuses what is queued, waits for what is under way and ends the goroutines.
func (s *shard) close() {
	s.coordinator.close()
	s.mu.Lock()
	s.closed = true
	s.changedRole()
	s.mu.Unlock()
	s.pipeline.running.Wait()
}

func (s *shard) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// changedRole wakes all who wait for something that depends on leading or closed. The caller holds mu.
func (s *shard) changedRole() {
	s.work.Broadcast()
	s.room.Broadcast()
	for w := range s.fetchers {
		w.wake()
	}
}

// lead is called when this node leads and everything before its term is applied.
func (s *shard) lead(term record.Term) {
	s.mu.Lock()
	s.leading, s.term, s.broken = true, term, false
	s.reign++
	s.changedRole()
	s.mu.Unlock()
	s.coordinator.lead(term)
	s.broker.cleaner.kick()
}

// follow is called when lead is over.
func (s *shard) follow() {
	s.mu.Lock()
	s.leading = false
	s.changedRole()
	s.mu.Unlock()
	s.coordinator.follow()
}

// enqueue hands items to the sequencer, in order, and takes them over. It blocks while too much is unanswered.
func (s *shard) enqueue(items []item) {
	var bytes int64
	for i := range items {
		bytes += items[i].bytes
	}
	limit := s.broker.config.Settings.UnansweredBytes
	s.mu.Lock()
	for s.unanswered > limit && s.leading && !s.closed {
		s.room.Wait()
	}
	if !s.leading || s.closed {
		s.mu.Unlock()
		for i := range items {
			items[i].drop(ErrNotLeader)
		}
		return
	}
	s.unanswered += bytes
	s.queue = append(s.queue, items...)
	s.work.Signal()
	s.mu.Unlock()
}

// propose puts notes (made with record.AppendNote) into one entry of the shard, all or none. done is called once, from
// any goroutine, and must not block: nil when they are committed and replayed here, ErrNotLeader when it is certain that they are
// not and never will be, ErrTimedOut when nobody knows. Calls of one goroutine keep their order.
func (s *shard) propose(notes []byte, done func(error)) {
	s.mu.Lock()
	if !s.leading || s.closed {
		s.mu.Unlock()
		done(ErrNotLeader)
		return
	}
	bytes := int64(len(notes))
	s.unanswered += bytes
	s.queue = append(s.queue, item{notes: notes, noted: done, bytes: bytes})
	s.work.Signal()
	s.mu.Unlock()
}

// settle gives back the room of answered items.
func (s *shard) settle(bytes int64, proposals int) {
	s.mu.Lock()
	was := s.unanswered
	s.unanswered -= bytes
	s.underway -= proposals
	if limit := s.broker.config.Settings.UnansweredBytes; was > limit && s.unanswered <= limit {
		s.room.Broadcast()
	}
	if s.underway == 0 && s.broken {
		s.work.Signal()
	}
	s.mu.Unlock()
}
