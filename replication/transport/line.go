package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
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

	mu   sync.Mutex // guards all below
	link *link      // nil while it is down
	up   chan struct{}
	peer Peer // who answered last
	err  error
}

func newLine(e *Endpoint, r *remote, c class) *line {
	return &line{endpoint: e, remote: r, class: c, again: make(chan struct{}, 1), up: make(chan struct{}), peer: Peer{Node: r.node}}
}

// current returns the link, or nil and a channel that is closed when one is up.
func (l *line) current() (*link, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link, l.up
}

func (l *line) status() PeerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return PeerStatus{Peer: l.peer, Address: l.remote.address, Connected: l.link != nil, Err: l.err}
}

// wait returns the link as soon as there is one, at most after the given time or
// until stop is closed. A nil stop never is.
func (l *line) wait(atMost time.Duration, stop <-chan struct{}) (*link, error) {
	link, up := l.current()
	if link != nil {
		return link, nil
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for link == nil {
		select {
		case <-up:
			link, up = l.current()
		case <-timer.C:
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.err != nil {
				return nil, fmt.Errorf("node %d: %w: %w", l.remote.node, ErrUnreachable, l.err)
			}
			return nil, fmt.Errorf("node %d: %w", l.remote.node, ErrUnreachable)
		case <-stop:
			return nil, ErrClosed
		case <-l.endpoint.ctx.Done():
			return nil, ErrClosed
		}
	}
	return link, nil
}

func (l *line) nudge() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// renew ends the present link, if any, so that another is made.
func (l *line) renew() {
	if link, _ := l.current(); link != nil && (link.limited || l.endpoint.ctx.Err() != nil) {
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
			if l.class == classControl && !link.limited && l.endpoint.config.Connected != nil {
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
		close(l.up)
	case l.link != nil:
		l.up = make(chan struct{})
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
	var refused *RefusedError
	if errors.As(err, &refused) {
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
