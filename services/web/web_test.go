package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stela-db/stela/services/web"
)

// serve starts a server on a free port and returns its address and a way to close it.
func serve(t *testing.T, routes func(*web.Server)) (address string, closeServer func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := web.NewServer("test", nil)
	routes(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	return listener.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Close(ctx), <-served); err != nil {
			t.Error(err)
		}
	}
}

func TestRoutes(t *testing.T) {
	address, closeServer := serve(t, func(s *web.Server) {
		s.Handle(http.MethodGet, "/v1/things/{name}", func(r *web.Request) error {
			return r.JSON(http.StatusOK, map[string]string{"name": r.Name("name"), "q": r.Query("q"), "h": r.Header("X-H")})
		})
		s.Handle(http.MethodPost, "/v1/things/{name}/parts", func(r *web.Request) error {
			r.SetHeader("Location", "/there")
			r.Bytes(http.StatusCreated, "text/plain", append([]byte("got "), r.Body()...))
			return nil
		})
		s.Handle(http.MethodGet, "/refused", func(*web.Request) error { return web.Refuse(http.StatusTooManyRequests, "not %d", 7).Later(3) })
		s.Handle(http.MethodGet, "/broken", func(*web.Request) error { return errors.New("secret cause") })
		s.Handle(http.MethodGet, "/panics", func(*web.Request) error { panic("secret cause") })
		s.Handle(http.MethodGet, "/number", func(r *web.Request) error {
			n, err := r.QueryInt("n", 5, 1, 10)
			if err != nil {
				return err
			}
			return r.JSON(http.StatusOK, n)
		})
	})
	defer closeServer()
	c := web.NewClient(address, nil)
	defer c.Close()
	for _, test := range []struct {
		call   web.Call
		status int
		body   string
	}{
		{web.Call{Path: "/v1/things/a%2Fb?q=x%20y", Headers: map[string]string{"X-H": "h"}}, 200, `{"h":"h","name":"a/b","q":"x y"}`},
		{web.Call{Path: "/v1/things/%zz"}, 400, `Bad Request`},
		{web.Call{Method: http.MethodPost, Path: "/v1/things/a/parts", Body: []byte("parts")}, 201, `got parts`},
		{web.Call{Method: http.MethodDelete, Path: "/v1/things/a"}, 405, `DELETE is not among the methods`},
		{web.Call{Path: "/v1/things"}, 404, `nothing is served at /v1/things`},
		{web.Call{Path: "/refused"}, 429, `"detail":"not 7"`},
		{web.Call{Path: "/broken"}, 500, `internal error`},
		{web.Call{Path: "/panics"}, 500, `internal error`},
		{web.Call{Path: "/number?n=7"}, 200, `7`},
		{web.Call{Path: "/number"}, 200, `5`},
		{web.Call{Path: "/number?n=11"}, 400, `wanted a whole number from 1 to 10`},
		{web.Call{Path: "/number?n=x"}, 400, `wanted a whole number from 1 to 10`},
	} {
		answer, err := c.Do(t.Context(), test.call)
		var problem *web.Problem
		if (test.status >= 400) != errors.As(err, &problem) {
			t.Errorf("%s: error %v", test.call.Path, err)
		}
		if answer.Status != test.status || !strings.Contains(string(answer.Body), test.body) || strings.Contains(string(answer.Body), "secret") {
			t.Errorf("%s: status %d, %s", test.call.Path, answer.Status, answer.Body)
		}
		if test.status >= 400 && answer.Headers["Content-Type"] != "application/problem+json" {
			t.Errorf("%s: content type %s", test.call.Path, answer.Headers["Content-Type"])
		}
		if test.status == 429 && answer.Headers["Retry-After"] != "3" {
			t.Errorf("headers %v", answer.Headers)
		}
	}
}

func TestLimits(t *testing.T) {
	address, closeServer := serve(t, func(s *web.Server) {
		s.Handle(http.MethodPost, "/", func(r *web.Request) error { return r.JSON(http.StatusOK, len(r.Body())) })
	})
	defer closeServer()
	c := web.NewClient(address, nil)
	defer c.Close()
	if answer, err := c.Do(t.Context(), web.Call{Method: http.MethodPost, Path: "/", Body: make([]byte, 1<<20)}); err != nil || string(answer.Body) != "1048576\n" {
		t.Errorf("a megabyte: %v, %s", err, answer.Body)
	}
	raw := func(request string) string {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, request)
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.TrimSpace(line)
	}
	for name, test := range map[string][2]string{
		"a body that is too large":  {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n", "HTTP/1.1 413"},
		"garbage":                   {"\x00\x01\x02\x03\r\n\r\n", "HTTP/1.1 400"},
		"headers that are too long": {"GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 20<<10) + "\r\n\r\n", "HTTP/1.1 4"},
	} {
		if got := raw(test[0]); !strings.HasPrefix(got, test[1]) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestCloseEndsThoseWhoWait(t *testing.T) {
	waiting := make(chan bool)
	address, closeServer := serve(t, func(s *web.Server) {
		s.Handle(http.MethodGet, "/", func(r *web.Request) error {
			close(waiting)
			<-r.Context().Done()
			return web.Refuse(http.StatusServiceUnavailable, "closing")
		})
	})
	c := web.NewClient(address, nil)
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(context.Background(), web.Call{Path: "/"})
		done <- err
	}()
	<-waiting
	closeServer()
	var problem *web.Problem
	if err := <-done; !errors.As(err, &problem) || problem.Detail != "closing" {
		t.Errorf("got %v", err)
	}
}

func TestClientGivesUp(t *testing.T) {
	address, closeServer := serve(t, func(s *web.Server) {
		s.Handle(http.MethodGet, "/", func(r *web.Request) error {
			<-r.Context().Done()
			return nil
		})
	})
	c := web.NewClient(address, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, web.Call{Path: "/"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	closeServer()
	c.Close()
	if _, err := web.NewClient(address, nil).Do(t.Context(), web.Call{Path: "/"}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("get / of %s", address)) {
		t.Errorf("nobody there: %v", err)
	}
}

// A role that cannot begin ends the others when they have hardly begun: a server that was closed must not serve then.
func TestCloseBeforeServe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := web.NewServer("test", nil)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(listener); err != nil {
		t.Error(err)
	}
	if connection, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		connection.Close()
		t.Error("a closed server still listens")
	}
}
