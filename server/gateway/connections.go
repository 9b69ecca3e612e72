package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/internal/metrics"
)

const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
	// refusalTimeout bounds the writing of the answer to a connection that is one too many.
	refusalTimeout = time.Second
)

// connections accepts, limits and ends the connections of a listener.
//
// fasthttp could accept by itself, but its accept loop ends for good when the process
// is out of file descriptors for a moment, its pool of goroutines wakes up every ten
// seconds and outlives Close by as long, and Shutdown polls.
type connections struct {
	listener net.Listener
	serve    func(net.Conn) error // until the connection is to be closed
	logger   *slog.Logger
	limit    int // of all
	limitIP  int // of one address but loopback

	open, refused *metrics.Counter // accepted and served; closed at once
	closed        *metrics.Counter // of those that were served

	running sync.WaitGroup // goroutines of connections, ended by Close
	done    chan struct{}  // closed when Close begins

	mu    sync.Mutex     // guards all below
	conns map[*conn]bool // whether it is idle: between requests or before the first
	perIP map[netip.Addr]int
	ended bool
}

// conn is one accepted connection.
type conn struct {
	net.Conn
	ip netip.Addr // invalid for loopback, and on networks without addresses
}

// accept serves connections until close; then it returns nil. Another error means that the listener broke.
func (c *connections) accept() error {
	pause := firstAcceptPause
	for {
		raw, err := c.listener.Accept()
		if err == nil {
			pause = firstAcceptPause
			c.add(raw)
			continue
		}
		select {
		case <-c.done:
			return nil
		default:
		}
		if !passes(err) {
			return err
		}
		c.logger.Warn("http connection not accepted", "error", err, "pause", pause)
		select {
		case <-c.done:
			return nil
		case <-time.After(pause):
			pause = min(2*pause, lastAcceptPause)
		}
	}
}

// passes reports whether an error of Accept goes away by itself.
func passes(err error) bool {
	for _, passing := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// add serves a connection on a goroutine of its own, or refuses it.
func (c *connections) add(raw net.Conn) {
	added := &conn{Conn: raw}
	if address, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		added.ip = counted(address.AddrPort().Addr())
	}
	c.mu.Lock()
	status := 0
	switch {
	case c.ended:
		status = fasthttp.StatusServiceUnavailable
	case len(c.conns) >= c.limit:
		status = fasthttp.StatusServiceUnavailable
	case added.ip.IsValid() && c.perIP[added.ip] >= c.limitIP:
		status = fasthttp.StatusTooManyRequests
	default:
		c.conns[added] = true
		c.perIP[added.ip]++
		c.running.Add(1)
	}
	c.mu.Unlock()
	if status != 0 {
		c.refused.Add(1)
		refuseConn(raw, status)
		return
	}
	c.open.Add(1)
	go c.run(added) // ends with the connection, at the latest in close
}

// counted returns the address whose connections are counted together, or the invalid one when
// there is no limit for it: who is on this machine has other ways to exhaust it. The rule is
// that of Kafka's listeners.
func counted(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.IsLoopback() { // the zone says on which of our interfaces
		return netip.Addr{}
	}
	return ip
}

func (c *connections) run(served *conn) {
	defer c.running.Done()
	if err := c.serve(served); err != nil {
		c.logger.Debug("http connection ended", "peer", served.RemoteAddr().String(), "error", err)
	}
	c.closed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, served)
	if c.perIP[served.ip]--; c.perIP[served.ip] <= 0 {
		delete(c.perIP, served.ip)
	}
}

// refuseConn says why before it hangs up.
func refuseConn(raw net.Conn, status int) {
	defer raw.Close()
	if err := raw.SetWriteDeadline(time.Now().Add(refusalTimeout)); err != nil {
		return
	}
	p := overloaded("the node has as many connections as it may have")
	p.status = status
	body := p.body()
	// Whoever does not read it is refused all the same.
	_, _ = fmt.Fprintf(raw, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		status, fasthttp.StatusMessage(status), time.Now().UTC().Format(http.TimeFormat), contentProblem, len(body), body)
}

// state is told by fasthttp what becomes of a connection.
func (c *connections) state(which net.Conn, state fasthttp.ConnState) {
	served, ok := which.(*conn)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.conns[served]; !there {
		return
	}
	c.conns[served] = state != fasthttp.StateActive
	if c.ended && state == fasthttp.StateIdle {
		served.Conn.Close()
	}
}

// close stops accepting, ends idle connections at once and others when their answer is
// written, at the latest after patience. It returns when all goroutines have ended, or
// an error after twice that time.
func (c *connections) close(patience time.Duration) error {
	close(c.done)
	err := c.listener.Close()
	c.hangUp(true)
	ended := make(chan struct{})
	go func() { c.running.Wait(); close(ended) }() // ends with the last connection
	for range 2 {
		select {
		case <-ended:
			return err
		case <-time.After(patience):
			c.hangUp(false)
		}
	}
	return errors.Join(err, errors.New("http requests did not end when their connections were cut"))
}

// hangUp closes the idle connections, or all.
func (c *connections) hangUp(idleOnly bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for served, idle := range c.conns {
		if idle || !idleOnly {
			served.Conn.Close()
		}
	}
}
