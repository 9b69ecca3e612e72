package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/server/broker"
)

// An edge is a gateway on a network in memory, in virtual time, whose broker answers what the test wants.
type edge struct {
	t      *testing.T
	server *Server
	pipes  *network.Pipes
	client *http.Client
	served chan error
	logged *syncBuffer

	verbs verbs // set before the first request
}

// A syncBuffer is written by the server and read by the test.
type syncBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// inBubble runs a test against a gateway in virtual time. When it returns, the gateway
// is closed and everything it started has ended, or the bubble reports a deadlock.
func inBubble(t *testing.T, config Config, test func(*edge)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := &edge{t: t, pipes: network.NewPipes(), served: make(chan error, 1), logged: &syncBuffer{}}
		e.verbs = verbs{
			ready: func() error { return nil },
			append: func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
				return broker.AppendResult{}, errors.New("unexpected append")
			},
			read: func(context.Context, *broker.ReadStreamRequest) (broker.StreamSlice, error) {
				return broker.StreamSlice{}, errors.New("unexpected read")
			},
		}
		config.Metrics = metrics.NewRegistry()
		config.Logger = slog.New(slog.NewTextHandler(e.logged, nil))
		e.server = newServer(config.withDefaults(), verbs{
			ready: func() error { return e.verbs.ready() },
			append: func(ctx context.Context, request *broker.AppendRequest) (broker.AppendResult, error) {
				return e.verbs.append(ctx, request)
			},
			read: func(ctx context.Context, request *broker.ReadStreamRequest) (broker.StreamSlice, error) {
				return e.verbs.read(ctx, request)
			},
		})
		raw, err := e.pipes.Host("node").Listen("node:9644")
		if err != nil {
			t.Fatal(err)
		}
		e.server.listen(raw)
		go func() { e.served <- e.server.Serve() }()
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) }}
		e.client = &http.Client{Transport: transport}
		test(e)
		transport.CloseIdleConnections()
		if err := e.server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-e.served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func (e *edge) dial(ctx context.Context) (net.Conn, error) {
	return e.pipes.Host("client").Dial(ctx, "node:9644")
}

// reply is an HTTP answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; header is names and values in turn.
func (e *edge) ask(method, target, body string, header ...string) reply {
	e.t.Helper()
	request, err := http.NewRequestWithContext(e.t.Context(), method, "http://node"+target, bytes.NewReader([]byte(body)))
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := e.client.Do(request)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, target, err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

// say writes raw bytes and returns all that comes back until the server closes.
func (e *edge) say(text string) string {
	e.t.Helper()
	conn, err := e.dial(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		e.t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		e.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		e.t.Logf("read answer: %v", err)
	}
	return string(answer)
}
