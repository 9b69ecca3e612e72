package web_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stela-db/stela/services/web"
)

// watched tells which deadlines the server sets for writing.
type watched struct {
	net.Listener
	deadlines chan time.Time
}

func (l *watched) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &watchedConn{Conn: conn, deadlines: l.deadlines}, err
}

type watchedConn struct {
	net.Conn
	deadlines chan time.Time
}

func (c *watchedConn) SetWriteDeadline(at time.Time) error {
	select {
	case c.deadlines <- at:
	default:
	}
	return c.Conn.SetWriteDeadline(at)
}

// A client that does not read its answer holds a connection for 30 s and no longer.
func TestAnswersHaveADeadline(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &watched{Listener: raw, deadlines: make(chan time.Time, 1)}
	s := web.NewServer("test", nil)
	s.Handle(http.MethodGet, "/", func(r *web.Request) error { return r.JSON(http.StatusOK, "x") })
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	began := time.Now()
	c := web.NewClient(raw.Addr().String(), nil)
	if _, err := c.Do(t.Context(), web.Call{Path: "/"}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	select {
	case at := <-listener.deadlines:
		if left := at.Sub(began); left < 30*time.Second || left > time.Minute {
			t.Errorf("an answer may take %s", left)
		}
	default:
		t.Error("an answer may take for ever")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(s.Close(ctx), <-served); err != nil {
		t.Error(err)
	}
}
