package replication

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

// Proposal is an entry on its way.
type Proposal struct {
	frame  *frame.Frame // referenced until raft is done with it
	future raft.ApplyFuture
	once   sync.Once
	done   chan struct{} // closed when index and err are set
	index  record.Index
	err    error
}

// Wait waits for the outcome. Nil: the entry at the index is committed and applied on
// this node. ErrNotLeader: it is not and will not be applied anywhere. ErrUnknownOutcome:
// it may be, now or later. Any other error is the state machine's answer to it.
func (p *Proposal) Wait() (record.Index, error) {
	<-p.done
	return p.index, p.err
}

func (p *Proposal) finish(index uint64, err error) {
	p.once.Do(func() {
		p.index, p.err = record.Index(index), err
		close(p.done)
	})
}

// proposals are those that raft has not answered yet. Successes are told by the state
// machine's goroutine, failures by raft's future.
type proposals struct {
	settling chan *Proposal // in order of Propose

	mu      sync.Mutex // guards waiting
	waiting map[*byte]*Proposal
}

// settlingLength is how many proposals may be under way before Propose waits.
const settlingLength = 1024

func newProposals() *proposals {
	return &proposals{settling: make(chan *Proposal, settlingLength), waiting: map[*byte]*Proposal{}}
}

func (ps *proposals) add(p *Proposal) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.waiting[&p.frame.Bytes()[0]] = p
}

// settled is told by the state machine's goroutine what became of an entry. Only the
// leader's own entries have their bytes here.
func (ps *proposals) settled(l *raft.Log, err error) {
	if l.Type != raft.LogCommand || len(l.Data) == 0 {
		return
	}
	ps.mu.Lock()
	p := ps.waiting[&l.Data[0]]
	ps.mu.Unlock()
	if p != nil {
		p.finish(l.Index, outcome(err))
	}
}

// outcome makes what a proposer is told of what the state machine answered.
func outcome(err error) error {
	if errors.Is(err, ErrSkipped) {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return err
}

// failed makes what a proposer is told of an error of raft. Only these three mean
// that the entry was not appended; with all others it may still be committed.
func failed(err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// settle waits for raft's answers, until the instance is closed and none is left.
func (in *instance) settle() {
	for p := range in.proposals.settling {
		err := p.future.Error()
		if err != nil {
			p.finish(0, failed(err))
		} else {
			answer, _ := p.future.Response().(error)
			p.finish(p.future.Index(), outcome(answer))
		}
		in.watchTransfer(err)
		in.proposals.mu.Lock()
		delete(in.proposals.waiting, &p.frame.Bytes()[0])
		in.proposals.mu.Unlock()
		p.frame.Release()
		in.end()
	}
}

// Propose hands an entry of log/record, which is all of f's bytes, to raft and takes
// over one reference of f. It blocks until raft's main loop took the entry, that is
// until the entries before it are queued for the disk. term is what Lead told. An error means that
// the entry was not appended.
func (g *Group) Propose(f *frame.Frame, term record.Term) (*Proposal, error) {
	if _, err := record.TailOf(f.Bytes()); err != nil {
		f.Release()
		return nil, fmt.Errorf("propose to shard %d: %w", g.number, err)
	}
	// What the log refuses once raft has taken it ends the node.
	if n, limit := len(f.Bytes()), min(transport.MaxEntry, g.node.config.Log.LargestEntry()); n > limit {
		f.Release()
		return nil, fmt.Errorf("propose %d bytes to shard %d, limit %d: %w", n, g.number, limit, record.ErrTooLarge)
	}
	in := g.current()
	if in == nil || in.local.Load() != uint64(term) || !in.begin() {
		f.Release()
		return nil, fmt.Errorf("shard %d in term %d: %w", g.number, term, ErrNotLeader)
	}
	p := &Proposal{frame: f, done: make(chan struct{})}
	in.proposals.add(p)
	p.future = in.raft.ApplyLog(raft.Log{Data: f.Bytes(), Extensions: f.Tag()}, 0)
	in.proposals.settling <- p
	return p, nil
}
