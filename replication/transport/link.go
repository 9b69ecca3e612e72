package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	writeTimeout = 5 * time.Second
	// linkSilence is after how long without a word, while somebody waits for one, a link counts as dead. It is much longer
	// than any answer takes: a slow answer is not a dead link.
	linkSilence = 20 * time.Second
	// unacknowledged is how long the system may try to deliver what was sent.
	unacknowledged = 5 * time.Second
)

// link is one connection that this node dialed: requests go out, answers come back.
type link struct {
	line    *line
	conn    net.Conn
	peer    Peer
	id      raft.ServerID
	limited bool          // one of the two belongs to no cluster yet
	cluster [16]byte      // that this node greeted with
	writing chan struct{} // a lock that time can pass under: who put something in writes
	done    chan struct{} // closed when the link is of no more use

	mu      sync.Mutex // guards all below
	pending map[uint64]finish
	next    uint64
	silent  time.Time // since when nothing was heard though somebody waited; zero when something was, or nobody did
	err     error     // why done
}

// finish takes the answer to a request, or the reason why there is none. It runs on
// the link's reading goroutine and must not block. The message is valid during the call.
type finish func(m *message, err error)

func newLink(l *line, conn net.Conn, peer Peer) *link {
	return &link{
		line: l, conn: conn, peer: peer, id: peer.ServerID(),
		writing: make(chan struct{}, 1), done: make(chan struct{}), pending: map[uint64]finish{},
	}
}

// fail ends the link; all requests under way end with err.
func (k *link) fail(err error) {
	k.mu.Lock()
	if k.err != nil {
		k.mu.Unlock()
		return
	}
	k.err = fmt.Errorf("node %d: %w: %w", k.peer.Node, ErrUnreachable, err)
	pending := k.pending
	k.pending = nil
	close(k.done)
	k.mu.Unlock()
	_ = k.conn.Close()
	for _, f := range pending {
		f(nil, k.err)
	}
}

func (k *link) isDone() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// read takes answers until the link breaks, and returns why it did.
func (k *link) read() error {
	stop := context.AfterFunc(k.line.endpoint.ctx, func() { k.fail(ErrClosed) })
	defer stop()
	r := newReader(k.conn, k.line.endpoint.config.Pool)
	for {
		m, err := r.next()
		if err == nil && !m.isAnswer() {
			err = fmt.Errorf("request of kind %d where answers belong: %w", m.kind, errProtocol)
		}
		if err != nil {
			if errors.Is(err, errProtocol) {
				k.line.endpoint.config.Logger.Warn("close a cluster connection", "node", k.peer.Node, "class", k.line.class, "error", err)
			}
			if errors.Is(err, io.EOF) {
				err = io.EOF
			}
			k.fail(err)
			return err
		}
		k.mu.Lock()
		f := k.pending[m.id]
		delete(k.pending, m.id)
		if k.silent = (time.Time{}); len(k.pending) > 0 {
			k.silent = time.Now()
		}
		k.mu.Unlock()
		if f != nil { // else it was given up
			if m.isError() {
				f(nil, &RemoteError{Node: k.peer.Node, Text: string(m.head)})
			} else {
				f(&m, nil)
			}
		}
		m.release()
	}
}

// register remembers who waits for an answer and returns the request's id.
func (k *link) register(f finish) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return 0, k.err
	}
	k.next++
	k.pending[k.next] = f
	if k.silent.IsZero() {
		k.silent = time.Now()
	}
	return k.next, nil
}

// forget gives a request up and reports whether it was still under way. It ends the link when that has been silent for too long.
func (k *link) forget(id uint64) bool {
	k.mu.Lock()
	_, ok := k.pending[id]
	delete(k.pending, id)
	silent := k.silent
	k.mu.Unlock()
	if ok && !silent.IsZero() && time.Since(silent) > linkSilence {
		k.fail(fmt.Errorf("not a word for %v: %w", linkSilence, ErrOverdue))
	}
	return ok
}

// write sends whole messages. An error means that the link has failed.
func (k *link) write(buffers net.Buffers) error {
	select {
	case k.writing <- struct{}{}:
	case <-k.done:
		return k.reason()
	}
	err := k.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = buffers.WriteTo(k.conn)
	}
	<-k.writing
	if err != nil {
		k.fail(err)
		return k.reason()
	}
	return nil
}

// reason returns why the link has failed, or nil.
func (k *link) reason() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// answer is what a waiting caller gets.
type answer struct {
	head []byte
	err  error
}

// ask sends a request without entries and waits for the answer's head, at most that long.
func (k *link) ask(h header, head []byte, atMost time.Duration, stop <-chan struct{}) ([]byte, error) {
	answers := make(chan answer, 1)
	id, err := k.register(func(m *message, err error) {
		if err != nil {
			answers <- answer{err: err}
			return
		}
		answers <- answer{head: append([]byte(nil), m.head...)}
	})
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerBytes+len(head))
	copy(b[headerBytes:], head)
	h.length, h.id = uint32(len(b)), id
	putHeader(b, h)
	if err := k.write(net.Buffers{b}); err != nil {
		k.forget(id)
		return nil, err
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.head, a.err
	case <-timer.C:
		k.forget(id)
		return nil, fmt.Errorf("node %d after %v: %w", k.peer.Node, atMost, ErrOverdue)
	case <-stop:
		k.forget(id)
		return nil, ErrClosed
	}
}
