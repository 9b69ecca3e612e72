package gateway

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// A listener survives what does not concern it: a process that is out of file
// descriptors for a while, a connection that was gone before it was taken. fasthttp
// would stop serving for good. It also knows its connections, so that they can be cut.
type listener struct {
	net.Listener
	logger *slog.Logger
	done   chan struct{} // closed by Close

	mu    sync.Mutex // guards conns, ended
	conns map[*conn]struct{}
	ended bool
}

// conn is one accepted connection.
type conn struct {
	net.Conn
	listener *listener
}

func newListener(raw net.Listener, logger *slog.Logger) *listener {
	return &listener{Listener: raw, logger: logger, done: make(chan struct{}), conns: map[*conn]struct{}{}}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	pause := firstAcceptPause
	for {
		raw, err := l.Listener.Accept()
		if err == nil {
			return l.add(raw), nil
		}
		select {
		case <-l.done:
			return nil, net.ErrClosed
		default:
		}
		if !passes(err) {
			return nil, err
		}
		l.logger.Warn("http connection not accepted", "error", err, "pause", pause)
		select {
		case <-l.done:
			return nil, net.ErrClosed
		case <-time.After(pause):
			pause = min(2*pause, lastAcceptPause)
		}
	}
}

// passes reports whether an error of Accept goes away by itself.
func passes(err error) bool {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func (l *listener) add(raw net.Conn) net.Conn {
	c := &conn{Conn: raw, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		raw.Close()
		return c
	}
	l.conns[c] = struct{}{}
	return c
}

// Close implements net.Listener; more than one call is harmless.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return nil
	default:
	}
	close(l.done)
	return l.Listener.Close()
}

// cut ends all connections, also those that are being accepted just now.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for c := range l.conns {
		c.Conn.Close()
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
