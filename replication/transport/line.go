package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/stela-db/stela/internal/network"
)

const (
	dialTimeout  = time.Second
	firstRedial  = 20 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// line keeps one connection to one peer up, and makes it again whenever it breaks.
type line struct {
	endpoint *Endpoint
	remote   *remote
	class    class
	again    chan struct{} // of one place: try now

	mu   sync.Mutex    // guards all below
	link *link         // nil while it is down
	up   chan struct{} // closed while it is up
	down chan struct{} // closed while it is down
	peer Peer          // who answered last
	err  error         // why it is down
}

func newLine(e *Endpoint, r *remote, c class) *line {
	l := &line{endpoint: e, remote: r, class: c, again: make(chan struct{}, 1), peer: Peer{Node: r.node}}
	l.up, l.down = make(chan struct{}), make(chan struct{})
	close(l.down)
	return l
}

func (l *line) current() *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link
}

func (l *line) status() PeerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return PeerStatus{Peer: l.peer, Address: l.remote.address, Connected: l.link != nil, Err: l.err}
}

// wait returns the link as soon as there is one, at most after the given time or
// until stop is closed; a nil stop never is. open says that a link will do which
// carries open calls only.
func (l *line) wait(atMost time.Duration, open bool, stop <-chan struct{}) (*link, error) {
	link, next := l.usable(open)
	if link != nil {
		return link, nil
	}
	if atMost <= 0 {
		return nil, l.unreachable()
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for link == nil {
		select {
		case <-next:
			link, next = l.usable(open)
		case <-timer.C:
			return nil, l.unreachable()
		case <-stop:
			return nil, ErrClosed
		case <-l.endpoint.ctx.Done():
			return nil, ErrClosed
		}
	}
	return link, nil
}

// unreachable says that there is no link, and why if that is known.
func (l *line) unreachable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return fmt.Errorf("node %d: %w: %w", l.remote.node, ErrUnreachable, l.err)
	}
	return fmt.Errorf("node %d: %w", l.remote.node, ErrUnreachable)
}

// usable returns the link if it will do, or a channel that is closed when there may be another one.
func (l *line) usable(open bool) (*link, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.link == nil:
		return nil, l.up
	case l.link.limited && !open, l.link.isDone():
		return nil, l.down
	}
	return l.link, nil
}

func (l *line) nudge() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// renew ends the present link, if any, so that another is made.
func (l *line) renew() {
	if link := l.current(); link != nil && (link.limited || l.endpoint.ctx.Err() != nil) {
		link.fail(ErrClosed)
	}
	l.nudge()
}

// keep dials, serves the link until it breaks, and dials again, until the endpoint is closed.
func (l *line) keep() {
	pause := firstRedial
	wasUp := false
	for l.endpoint.ctx.Err() == nil {
		link, err := l.dial()
		if err == nil {
			l.set(link, nil)
			if link.limited && l.endpoint.hello(0, 0).cluster != link.cluster {
				link.fail(ErrClosed) // a cluster was formed meanwhile
			}
			if l.class == classControl && l.endpoint.config.Connected != nil {
				l.endpoint.config.Connected(link.peer)
			}
			err = link.read()
			l.set(nil, err)
			pause, wasUp = firstRedial, !link.limited
			continue
		}
		l.report(err)
		if wasUp && l.class == classControl && errors.Is(err, syscall.ECONNREFUSED) && l.endpoint.config.Gone != nil {
			l.endpoint.config.Gone(l.remote.node)
		}
		wasUp = false
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.again:
		case <-l.endpoint.ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, longestPause)
	}
}

func (l *line) set(link *link, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case link != nil:
		l.peer = link.peer
		l.down = make(chan struct{})
		close(l.up)
	case l.link != nil:
		l.up = make(chan struct{})
		close(l.down)
	}
	l.link, l.err = link, err
}

// report logs why there is no connection, once for each reason.
func (l *line) report(err error) {
	l.mu.Lock()
	same := l.err != nil && l.err.Error() == err.Error()
	l.err = err
	l.mu.Unlock()
	if same || l.endpoint.ctx.Err() != nil {
		return
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		if tell := l.endpoint.config.Stranger; refused.reason == otherCluster && tell != nil {
			tell(l.remote.node, refused.Cluster)
		}
		l.endpoint.config.Logger.Warn("no cluster connection", "node", l.remote.node, "address", l.remote.address, "error", err)
		return
	}
	l.endpoint.config.Logger.Debug("no cluster connection", "node", l.remote.node, "address", l.remote.address, "error", err)
}

func (l *line) dial() (*link, error) {
	ctx, cancel := context.WithTimeout(l.endpoint.ctx, dialTimeout)
	defer cancel()
	conn, err := l.endpoint.config.Network.Dial(ctx, l.remote.address)
	if err != nil {
		return nil, err
	}
	if err := network.LimitSilence(conn, unacknowledged); err != nil {
		_ = conn.Close()
		return nil, err
	}
	// Closing the endpoint ends a handshake too.
	stop := context.AfterFunc(l.endpoint.ctx, func() { _ = conn.Close() })
	self := l.endpoint.hello(l.remote.node, l.class)
	peer, limited, err := greet(conn, self)
	if !stop() || err != nil {
		_ = conn.Close()
		if err == nil {
			err = ErrClosed
		}
		return nil, err
	}
	link := newLink(l, conn, peer.peer())
	link.limited, link.cluster = limited, self.cluster
	return link, nil
}
