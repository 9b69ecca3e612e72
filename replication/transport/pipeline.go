package transport

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// windowLength is how many messages of about splitBytes may be under way to one follower,
// small requests or parts of long ones: it bounds memory on both sides, and lets
// one sync of the follower serve many of them. It is less than consumerLength.
const windowLength = 16

var errPipelineBroken = errors.New("an earlier append was not taken")

// pipeline sends appends without waiting for their answers. When one of them fails
// it takes no more, so that raft falls back to single requests: raft's own transport
// blocks there for ever (reliability.md R3).
type pipeline struct {
	shard  *Shard
	link   *link
	id     raft.ServerID
	window *window
	ready  chan raft.AppendFuture // answered; holds a whole window and more
	broken chan struct{}          // closed when one failed, or by Close
	once   sync.Once
}

// AppendEntriesPipeline implements raft.Transport.
func (s *Shard) AppendEntriesPipeline(id raft.ServerID, _ raft.ServerAddress) (raft.AppendPipeline, error) {
	k, err := s.link(id, classBulk, 0)
	if err != nil {
		return nil, err
	}
	broken := make(chan struct{})
	return &pipeline{
		shard: s, link: k, id: id, broken: broken,
		window: newWindow(s, k, broken),
		ready:  make(chan raft.AppendFuture, 4*windowLength),
	}, nil
}

// window bounds the messages that are under way to one follower over one link.
type window struct {
	shard  *Shard
	link   *link
	broken <-chan struct{} // closed when no more are wanted; nil: never
	places chan struct{}   // one per message under way
	moved  chan struct{}   // of one place: a message was answered
}

func newWindow(s *Shard, k *link, broken <-chan struct{}) *window {
	return &window{shard: s, link: k, broken: broken, places: make(chan struct{}, windowLength), moved: make(chan struct{}, 1)}
}

// enter waits for a place. A link that gives none for too long is ended.
func (w *window) enter() error {
	select {
	case w.places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(appendTimeout)
	defer timer.Stop()
	select {
	case w.places <- struct{}{}:
		return nil
	case <-w.broken:
		return errPipelineBroken
	case <-w.shard.stopped:
		return ErrClosed
	case <-timer.C:
		err := fmt.Errorf("append to node %d after %v: %w", w.link.peer.Node, appendTimeout, ErrOverdue)
		w.link.fail(err)
		return err
	}
}

// leaving makes done give the place back first.
func (w *window) leaving(done finish) finish {
	return func(m *message, err error) {
		<-w.places
		select {
		case w.moved <- struct{}{}:
		default:
		}
		done(m, err)
	}
}

func (p *pipeline) stop() { p.once.Do(func() { close(p.broken) }) }

// AppendEntries implements raft.AppendPipeline. It waits while the window is full.
func (p *pipeline) AppendEntries(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	select {
	case <-p.broken:
		return nil, errPipelineBroken
	default:
	}
	f := &appendFuture{start: time.Now(), request: request, response: response}
	p.shard.send(p.window, request, func(m *message, err error) { p.settle(f, m, err) })
	return f, nil
}

// settle runs on the link's reading goroutine. An append without an answer is not
// handed to raft, which would take it for a sign of life.
func (p *pipeline) settle(f *appendFuture, m *message, err error) {
	if err == nil {
		err = parseAppendReply(m.head, f.response)
	}
	if err != nil {
		p.stop()
		return
	}
	if f.response.Success {
		p.shard.matched(p.id, f.request)
	} else {
		p.stop()
	}
	select {
	case p.ready <- f:
	default: // raft has stopped taking answers
		p.stop()
	}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.ready }

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.stop()
	return nil
}

// appendFuture implements raft.AppendFuture; it is handed out when there is an answer.
type appendFuture struct {
	start    time.Time
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
}

func (f *appendFuture) Error() error                          { return nil }
func (f *appendFuture) Start() time.Time                      { return f.start }
func (f *appendFuture) Request() *raft.AppendEntriesRequest   { return f.request }
func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.response }
