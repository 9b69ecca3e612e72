package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// pipeBufferBytes is what a connection holds that was sent and not yet read, like a socket's buffers.
const pipeBufferBytes = 1 << 20

// Pipes is a network in memory between named hosts, for simulations in virtual
// time: connections are buffered, keep order, carry deadlines and break as TCP's do.
// A blocked link delays what is sent over it until it is unblocked, as a network
// that loses packets does; a crashed host's connections end and its ports refuse.
//
// All methods may be called from any goroutine. Nothing runs in the background.
type Pipes struct {
	mu        sync.Mutex // guards all below
	listeners map[string]*pipeListener
	conns     map[*pipeConn]struct{}
	blocked   map[[2]string]bool // from, to
	latency   time.Duration
	nextPort  int
	changed   chan struct{} // closed and renewed when blocked changes
}

// NewPipes returns a network without hosts; they appear as they listen and dial.
func NewPipes() *Pipes {
	return &Pipes{
		listeners: map[string]*pipeListener{},
		conns:     map[*pipeConn]struct{}{},
		blocked:   map[[2]string]bool{},
		nextPort:  40000,
		changed:   make(chan struct{}),
	}
}

// Host returns the network as the named host sees it. Listen addresses must name that host or no host.
func (p *Pipes) Host(name string) Network {
	return Network{
		Listen: func(address string) (net.Listener, error) { return p.listen(name, address) },
		Dial:   func(ctx context.Context, address string) (net.Conn, error) { return p.dial(ctx, name, address) },
	}
}

// SetLatency makes everything that is sent from now on arrive that much later.
func (p *Pipes) SetLatency(latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = latency
}

// Block stops the flow from one host to another, one way. Unblock lets it go on.
func (p *Pipes) Block(from, to string) { p.setBlocked(from, to, true) }

// Unblock undoes Block; what was held back arrives.
func (p *Pipes) Unblock(from, to string) { p.setBlocked(from, to, false) }

// Heal undoes every Block.
func (p *Pipes) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.blocked)
	close(p.changed)
	p.changed = make(chan struct{})
}

// Crash ends all of a host's connections and listeners at once.
func (p *Pipes) Crash(host string) {
	p.mu.Lock()
	var conns []*pipeConn
	for c := range p.conns {
		if c.local.host == host || c.remote.host == host {
			conns = append(conns, c)
		}
	}
	for address, l := range p.listeners {
		if l.address.host == host {
			delete(p.listeners, address)
			l.end()
		}
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.in.fail(syscall.ECONNRESET)
		c.out.fail(syscall.ECONNRESET)
		p.forget(c)
	}
}

func (p *Pipes) setBlocked(from, to string, blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked[[2]string{from, to}] = blocked
	close(p.changed)
	p.changed = make(chan struct{})
}

// link tells whether the way is blocked, and a channel that closes when that may change.
func (p *Pipes) link(from, to string) (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocked[[2]string{from, to}], p.changed
}

func (p *Pipes) forget(c *pipeConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Pipes) listen(host, address string) (net.Listener, error) {
	at, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if at == "" {
		at = host
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if number == 0 {
		p.nextPort++
		number = p.nextPort
	}
	bound := pipeAddress{at, number}
	if p.listeners[bound.String()] != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, syscall.EADDRINUSE)
	}
	l := &pipeListener{pipes: p, address: bound, accepted: make(chan *pipeConn, 128), done: make(chan struct{})}
	p.listeners[bound.String()] = l
	return l, nil
}

func (p *Pipes) dial(ctx context.Context, from, address string) (net.Conn, error) {
	to, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	for { // a SYN or its answer that is held back
		there, changed := p.link(from, to)
		back, _ := p.link(to, from)
		if !there && !back {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to %s: %w", address, os.ErrDeadlineExceeded)
		}
	}
	p.mu.Lock()
	l := p.listeners[address]
	if l == nil {
		p.mu.Unlock()
		return nil, fmt.Errorf("connect to %s: %w", address, syscall.ECONNREFUSED)
	}
	p.nextPort++
	local := pipeAddress{from, p.nextPort}
	there, back := newHalf(p, from, to), newHalf(p, to, from)
	near := &pipeConn{pipes: p, local: local, remote: l.address, in: back, out: there}
	far := &pipeConn{pipes: p, local: l.address, remote: local, in: there, out: back}
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.mu.Unlock()
	select {
	case l.accepted <- far:
		return near, nil
	case <-l.done:
		return nil, fmt.Errorf("connect to %s: %w", address, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", address, os.ErrDeadlineExceeded)
	}
}

type pipeAddress struct {
	host string
	port int
}

func (a pipeAddress) Network() string { return "pipe" }
func (a pipeAddress) String() string  { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

type pipeListener struct {
	pipes    *Pipes
	address  pipeAddress
	accepted chan *pipeConn
	once     sync.Once
	done     chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) end() { l.once.Do(func() { close(l.done) }) }

func (l *pipeListener) Close() error {
	l.pipes.mu.Lock()
	if l.pipes.listeners[l.address.String()] == l {
		delete(l.pipes.listeners, l.address.String())
	}
	l.pipes.mu.Unlock()
	l.end()
	for {
		select {
		case c := <-l.accepted:
			_ = c.Close()
		default:
			return nil
		}
	}
}

func (l *pipeListener) Addr() net.Addr { return l.address }

type pipeConn struct {
	pipes         *Pipes
	local, remote pipeAddress
	in, out       *half
}

func (c *pipeConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *pipeConn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *pipeConn) LocalAddr() net.Addr         { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr        { return c.remote }

func (c *pipeConn) Close() error {
	c.pipes.forget(c)
	c.out.end()
	c.in.fail(net.ErrClosed)
	return nil
}

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	c.out.setWriteDeadline(t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setWriteDeadline(t)
	return nil
}

// half is one direction of a connection.
type half struct {
	pipes    *Pipes
	from, to string

	mu            sync.Mutex // guards all below
	chunks        []chunk
	size          int
	ended         bool  // the writer closed: the rest may be read, then EOF
	broken        error // both sides see it at once
	readDeadline  time.Time
	writeDeadline time.Time
	changed       chan struct{} // closed and renewed at each change
}

type chunk struct {
	bytes []byte
	at    time.Time // when it arrives
}

func newHalf(p *Pipes, from, to string) *half {
	return &half{pipes: p, from: from, to: to, changed: make(chan struct{})}
}

func (h *half) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.notify()
}

func (h *half) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken == nil {
		h.broken = err
	}
	h.notify()
}

func (h *half) setReadDeadline(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readDeadline = t
	h.notify()
}

func (h *half) setWriteDeadline(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writeDeadline = t
	h.notify()
}

// wait unlocks, waits for a change of this half or of the network, or for the earlier of the two times, and locks again.
func (h *half) wait(network <-chan struct{}, until ...time.Time) {
	changed := h.changed
	var first time.Time
	for _, t := range until {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	h.mu.Unlock()
	defer h.mu.Lock()
	var due <-chan time.Time
	if !first.IsZero() {
		timer := time.NewTimer(max(0, time.Until(first)))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-changed:
	case <-network:
	case <-due:
	}
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (h *half) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		blocked, network := h.pipes.link(h.from, h.to)
		var due time.Time
		switch {
		case h.broken != nil:
			return 0, h.broken
		case passed(h.readDeadline):
			return 0, os.ErrDeadlineExceeded
		case blocked:
		case len(h.chunks) > 0:
			if c := &h.chunks[0]; !time.Now().Before(c.at) {
				n := copy(b, c.bytes)
				c.bytes = c.bytes[n:]
				h.size -= n
				if len(c.bytes) == 0 {
					h.chunks = h.chunks[1:]
				}
				h.notify()
				return n, nil
			}
			due = h.chunks[0].at
		case h.ended:
			return 0, io.EOF
		}
		h.wait(network, h.readDeadline, due)
	}
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for len(b) > 0 {
		switch {
		case errors.Is(h.broken, net.ErrClosed) && h.size < pipeBufferBytes:
			// The reader closed. As with TCP the writer is not told at once: it finds the end when it reads.
			h.size += len(b)
			return written + len(b), nil
		case h.broken != nil:
			return written, syscall.EPIPE
		case h.ended:
			return written, net.ErrClosed
		case passed(h.writeDeadline):
			return written, os.ErrDeadlineExceeded
		case h.size < pipeBufferBytes:
			n := min(len(b), pipeBufferBytes-h.size)
			h.pipes.mu.Lock()
			at := time.Now().Add(h.pipes.latency)
			h.pipes.mu.Unlock()
			h.chunks = append(h.chunks, chunk{append([]byte(nil), b[:n]...), at})
			h.size += n
			written += n
			b = b[n:]
			h.notify()
			continue
		}
		h.wait(nil, h.writeDeadline)
	}
	return written, nil
}
