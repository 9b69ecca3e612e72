package transport

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// pipelineWindow is how many appends to one follower may be under way.
const pipelineWindow = 8

var errPipelineBroken = errors.New("an earlier append was not taken")

// pipeline sends appends without waiting for their answers. When one of them fails
// it takes no more, so that raft falls back to single requests: raft's own transport
// blocks there for ever (reliability.md R3).
type pipeline struct {
	shard  *Shard
	link   *link
	id     raft.ServerID
	window chan struct{}          // one place per append under way
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
	return &pipeline{
		shard: s, link: k, id: id,
		window: make(chan struct{}, pipelineWindow),
		ready:  make(chan raft.AppendFuture, 4*pipelineWindow),
		broken: make(chan struct{}),
	}, nil
}

func (p *pipeline) stop() { p.once.Do(func() { close(p.broken) }) }

// AppendEntries implements raft.AppendPipeline. It waits while the window is full.
func (p *pipeline) AppendEntries(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	select {
	case <-p.broken:
		return nil, errPipelineBroken
	default:
	}
	select {
	case p.window <- struct{}{}:
	default:
		timer := time.NewTimer(appendTimeout)
		defer timer.Stop()
		select {
		case p.window <- struct{}{}:
		case <-p.broken:
			return nil, errPipelineBroken
		case <-p.shard.stopped:
			return nil, ErrClosed
		case <-timer.C:
			err := fmt.Errorf("append to node %d after %v: %w", p.link.peer.Node, appendTimeout, ErrOverdue)
			p.link.fail(err)
			return nil, err
		}
	}
	f := &appendFuture{start: time.Now(), request: request, response: response}
	p.shard.send(p.link, request, func(m *message, err error) { p.settle(f, m, err) })
	return f, nil
}

// settle runs on the link's reading goroutine. An append without an answer is not
// handed to raft, which would take it for a sign of life.
func (p *pipeline) settle(f *appendFuture, m *message, err error) {
	<-p.window
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
