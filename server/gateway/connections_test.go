package gateway

import (
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A troubled listener fails a number of times before each connection it gives.
type troubled struct {
	net.Listener
	errs []error
}

func (l *troubled) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

// Running out of file descriptors for a while must not end the front for good.
func TestAcceptGoesOn(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		raw, err := e.pipes.Host("node").Listen("node:9645")
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(Config{Logger: e.server.logger}.withDefaults(), e.verbs)
		s.listen(&troubled{Listener: raw, errs: []error{syscall.EMFILE, &net.OpError{Op: "accept", Err: syscall.ENFILE}, syscall.ECONNABORTED}})
		served := make(chan error, 1)
		began := time.Now()
		go func() { served <- s.Serve() }()
		conn, err := e.pipes.Host("client").Dial(e.t.Context(), "node:9645")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("GET /health/live HTTP/1.1\r\nHost: n\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 15)
		if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
			t.Errorf("%q %v", answer, err)
		}
		if waited := time.Since(began); waited < 3*firstAcceptPause {
			t.Errorf("it went on after %s", waited)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestAcceptEndsWithABrokenListener(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		raw, err := e.pipes.Host("node").Listen("node:9645")
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("the listener broke")
		s := newServer(Config{Logger: e.server.logger}.withDefaults(), e.verbs)
		s.listen(&troubled{Listener: raw, errs: []error{broken}})
		if err := s.Serve(); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// elsewhere gives connections as if they came from another host.
type elsewhere struct {
	net.Listener
	mu   sync.Mutex // guards host
	host net.IP
}

func (l *elsewhere) at(host net.IP) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.host = host
}

func (l *elsewhere) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	return &foreign{Conn: conn, host: l.host}, err
}

type foreign struct {
	net.Conn
	host net.IP
}

func (c *foreign) RemoteAddr() net.Addr { return &net.TCPAddr{IP: c.host, Port: 1} }

func TestOneAddressHasItsLimit(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from := &elsewhere{Listener: raw, host: net.IPv4(192, 0, 2, 1)}
	s := newServer(Config{MaxConnectionsPerIP: 3}.withDefaults(), verbs{})
	s.listen(from)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	ask := func() (net.Conn, string) {
		conn, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		// A refused connection may be gone before the request is written.
		_, _ = conn.Write([]byte("GET /health/live HTTP/1.1\r\nHost: n\r\n\r\n"))
		answer := make([]byte, 4096)
		n, _ := conn.Read(answer)
		return conn, string(answer[:n])
	}
	for range 3 {
		conn, answer := ask()
		defer conn.Close()
		if !strings.HasPrefix(answer, "HTTP/1.1 200") || !strings.Contains(answer, "\r\nDate: ") {
			t.Errorf("%q", answer)
		}
	}
	conn, answer := ask()
	conn.Close()
	if !strings.HasPrefix(answer, "HTTP/1.1 429") || !strings.Contains(answer, "overloaded") {
		t.Errorf("the fourth: %q", answer)
	}
	from.at(net.IPv6loopback)
	for range 5 {
		conn, answer := ask()
		defer conn.Close()
		if !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Errorf("from this machine: %q", answer)
		}
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10)
		if err := b.take(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		took := make(chan error, 2)
		for range 2 {
			go func() { took <- b.take(t.Context(), 5) }()
		}
		synctest.Wait()
		if len(took) > 0 {
			t.Fatal("more was given than there is")
		}
		b.give(7)
		for range 2 {
			if err := <-took; err != nil {
				t.Fatal(err)
			}
		}
		if b.free != 0 {
			t.Errorf("%d are free", b.free)
		}
	})
}
