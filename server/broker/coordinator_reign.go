package broker

import (
	"context"
	"errors"
	"sync"

	"github.com/stela-db/stela/server/group"
)

// A reign is one uninterrupted time as the coordinator of a shard. Answers go out in the order in which they were
// decided, each when all records that were decided before it, its own included, are committed. So no answer
// tells of anything that may still come to nothing, and none is held up for longer than what it may depend on.
type reign struct {
	mu      sync.Mutex // guards all
	rounds  []*round   // not answered yet, in order
	callers map[uint64]chan group.Answer
	failed  bool
	pending int           // proposals whose outcome is not known
	idle    chan struct{} // made by drained; closed when pending is 0
}

// A round is what one decision led to.
type round struct {
	answers []group.Answer
	pending int // its proposals whose outcome is not known
}

func newReign() *reign { return &reign{callers: map[uint64]chan group.Answer{}} }

// expect says who waits for the answer of a token. The channel has room for it. It returns false when
// the reign has failed, which whoever decides may not know yet: nothing will be answered any more.
func (r *reign) expect(token uint64, answer chan group.Answer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed {
		return false
	}
	r.callers[token] = answer
	return true
}

// forget says that nobody waits for a token any more.
func (r *reign) forget(token uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.callers, token)
}

// wait takes answers that depend on so many proposals, and on those before. It returns nil when the reign has
// failed: then nothing is to be proposed any more.
func (r *reign) wait(answers []group.Answer, proposals int) *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed {
		return nil
	}
	waiting := &round{answers: answers, pending: proposals}
	r.pending += proposals
	r.rounds = append(r.rounds, waiting)
	r.release()
	return waiting
}

// settle notes the outcome of one proposal. It returns true once: when the reign has just failed.
func (r *reign) settle(waiting *round, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting.pending--
	r.pending--
	if r.pending == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
	if err == nil {
		r.release()
		return false
	}
	if r.failed {
		return false
	}
	r.abort(commitError(err))
	return true
}

// commitError is what a client is told whose records were not taken: to come again, here or elsewhere.
func commitError(err error) error {
	if errors.Is(err, ErrNotLeader) {
		return ErrNotCoordinator
	}
	return ErrCoordinatorNotAvailable
}

// release gives the answers that wait for nothing any more. The caller holds mu.
func (r *reign) release() {
	if r.failed {
		return
	}
	done := 0
	for done < len(r.rounds) && r.rounds[done].pending == 0 {
		for _, a := range r.rounds[done].answers {
			if caller := r.callers[a.Token]; caller != nil {
				caller <- a
				delete(r.callers, a.Token)
			}
		}
		done++
	}
	if done == len(r.rounds) {
		r.rounds = nil
	} else {
		r.rounds = r.rounds[done:]
	}
}

// fail gives everybody who still waits an error.
func (r *reign) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed {
		r.abort(err)
	}
}

func (r *reign) abort(err error) {
	r.failed = true
	r.rounds = nil
	for token, caller := range r.callers {
		caller <- group.Answer{Token: token, Err: err}
		delete(r.callers, token)
	}
}

// drained waits until the outcome of every proposal is known.
func (r *reign) drained(ctx context.Context) error {
	r.mu.Lock()
	if r.pending == 0 {
		r.mu.Unlock()
		return nil
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
