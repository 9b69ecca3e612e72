package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/server/broker"
)

const (
	streamPath = "/v1/topics/order-events/streams/9827"
	oneEvent   = `[{"specversion":"1.0","id":"e1","type":"order.placed","source":"/services/order","data":{"total":12900}}]`
)

func TestRoutes(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		for _, test := range []struct {
			method, target string
			status         int
			says           string
		}{
			{"GET", "/health/live", 200, `{"status":"live"}`},
			{"HEAD", "/health/live", 200, ""},
			{"GET", "/health/ready", 200, `{"status":"ready"}`},
			{"GET", "/metrics", 200, "stela_http_responses_total"},
			{"GET", "/openapi.yaml", 200, "openapi: 3.1.0"},
			{"POST", "/health/live", 405, "allowed here: GET, HEAD"},
			{"GET", "/", 404, "/openapi.yaml"},
			{"GET", "/health", 404, "no-route"},
			{"GET", "/health/live/", 404, "no-route"},
			{"GET", "/health//live", 404, "no-route"},
			{"GET", "/health/./live", 404, "no-route"},
			{"GET", "/v1/../health/live", 404, "no-route"},
			{"GET", "/health%2Flive", 404, "no-route"},
			{"GET", "/health/liv%65", 200, "live"}, // decoded once
			{"GET", "/health/liv%2565", 400, "encoded twice"},
			{"GET", "/v1/topics//streams/x", 404, "no-route"},
			{"GET", "/v1/topics/t/streams/", 404, "no-route"},
			{"GET", "/a/b/c/d/e/f/g/h/i", 400, "segments"},
			{"DELETE", streamPath, 405, "delete the topic"},
			{"PUT", streamPath, 405, "append with POST"},
			{"OPTIONS", streamPath, 405, "allowed here: GET, HEAD, POST"},
			{"POST", "/v1/topics/order-events/append", 404, "POST /v1/topics/{topic}/streams/{stream}"},
			{"GET", "/v1/topics/order-events/events", 404, "Kafka client"},
			{"GET", streamPath + "?form=3", 400, "there are only from, direction"},
			{"GET", streamPath + "?from=3&from=4", 400, "2 times"},
			{"GET", streamPath + "?from=-1", 400, "not a number from 0"},
			{"GET", streamPath + "?from=%zz", 400, "query"},
			{"GET", streamPath + "?limit=10001", 400, "1 to 10000"},
			{"GET", streamPath + "?limit=0", 400, "1 to 10000"},
			{"GET", streamPath + "?direction=up", 400, "forward or backward"},
			{"GET", streamPath + "?until=noon", 400, "rfc 3339"},
			{"GET", streamPath + "?minVersion=end", 400, "minVersion"},
			{"POST", streamPath + "?x=1", 400, "there are none here"},
		} {
			got := e.ask(test.method, test.target, "")
			if got.status != test.status || !strings.Contains(got.body, test.says) {
				t.Errorf("%s %s: %d %s, wanted %d with %q", test.method, test.target, got.status, got.body, test.status, test.says)
			}
			if got.status >= 400 && test.method != "HEAD" && got.header.Get("Content-Type") != contentProblem {
				t.Errorf("%s %s: content type %q", test.method, test.target, got.header.Get("Content-Type"))
			}
			if got.status == 405 && got.header.Get("Allow") == "" {
				t.Errorf("%s %s: no Allow", test.method, test.target)
			}
		}
	})
}

func TestNotReadySaysWhy(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.ready = func() error { return errors.New("shard 1 has no leader") }
		got := e.ask("GET", "/health/ready", "")
		if got.status != 503 || !strings.Contains(got.body, `"detail":"shard 1 has no leader"`) {
			t.Errorf("%d %s", got.status, got.body)
		}
		if live := e.ask("GET", "/health/live", ""); live.status != 200 {
			t.Errorf("live: %d", live.status)
		}
	})
}

func TestUnreadableRequests(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		for name, test := range map[string]struct{ say, wanted string }{
			"garbage":          {"\x00\x01\x02\x03\r\n\r\n", "400"},
			"kafka":            {"\x00\x00\x00\x10\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01a\r\n\r\n", "400"},
			"head too large":   {"GET / HTTP/1.1\r\nHost: n\r\nX: " + strings.Repeat("x", maxHeadBytes) + "\r\n\r\n", "431"},
			"two lengths":      {"POST " + streamPath + " HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
			"never ends":       {"GET / HTTP/1.1\r\nHost: n\r\n", "408"},
			"broken chunk":     {"POST " + streamPath + " HTTP/1.1\r\nHost: n\r\nContent-Type: " + contentBatch + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
			"body ends early":  {"POST " + streamPath + " HTTP/1.1\r\nHost: n\r\nContent-Type: " + contentBatch + "\r\nContent-Length: 100\r\n\r\n[", "408"},
			"body is too long": {"POST " + streamPath + " HTTP/1.1\r\nHost: n\r\nContent-Type: " + contentBatch + "\r\nContent-Length: 99999999\r\n\r\n" + strings.Repeat("[", 10_000), "413"},
		} {
			got := e.say(test.say)
			if !strings.HasPrefix(got, "HTTP/1.1 "+test.wanted) {
				t.Errorf("%s: %.200q, wanted %s", name, got, test.wanted)
			}
			if !strings.Contains(got, contentProblem) {
				t.Errorf("%s: no problem document: %.300q", name, got)
			}
		}
		if got := e.ask("GET", "/health/live", ""); got.status != 200 {
			t.Errorf("another client: %d", got.status)
		}
	})
}

func TestPanicEndsOneRequest(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.ready = func() error { panic("BUG: on purpose") }
		if got := e.ask("GET", "/health/ready", ""); got.status != 500 || strings.Contains(got.body, "on purpose") {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := e.ask("GET", "/metrics", ""); !strings.Contains(got.body, "stela_http_panics_total 1") {
			t.Error("the panic was not counted")
		}
		if !strings.Contains(e.logged.String(), "BUG: on purpose") {
			t.Error("the panic was not logged")
		}
	})
}

// A client that stops reading or writing costs its own connection and nothing else.
func TestSlowClients(t *testing.T) {
	inBubble(t, Config{MaxAnswerBytes: 3 << 20, MaxBytesInFlight: 4 << 20}, func(e *edge) {
		value := []byte(`"` + strings.Repeat("x", 3<<20) + `"`)
		e.verbs.read = func(context.Context, *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			return broker.StreamSlice{Events: []broker.StreamEvent{{Value: value}}, Head: 0}, nil
		}
		conn, err := e.dial(e.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		began := time.Now()
		if _, err := io.WriteString(conn, "GET "+streamPath+" HTTP/1.1\r\nHost: n\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the answer fills what the connection buffers
		if got := e.ask("GET", streamPath, ""); got.status != 503 || !strings.Contains(got.body, "overloaded") {
			t.Errorf("memory is taken: %d %.200s", got.status, got.body)
		}
		time.Sleep(e.server.config.WriteTimeout)
		synctest.Wait()
		if got := e.ask("GET", streamPath, ""); got.status != 200 {
			t.Errorf("after %s memory is still taken: %d %.200s", time.Since(began), got.status, got.body)
		}
	})
}

func TestCloseEndsWaits(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.read = func(ctx context.Context, _ *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			<-ctx.Done()
			return broker.StreamSlice{}, ctx.Err()
		}
		answered := make(chan reply, 1)
		go func() { answered <- e.ask("GET", streamPath+"?minVersion=7", "") }()
		synctest.Wait()
		began := time.Now()
		if err := e.server.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-answered; got.status != 503 {
			t.Errorf("%d %s", got.status, got.body)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("close took %s", took)
		}
	})
}

func TestCloseCutsWhatDoesNotEnd(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		conn, err := e.dial(e.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST "+streamPath+" HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n["); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		if err := e.server.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*e.server.config.CloseTimeout {
			t.Errorf("close took %s", took)
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	inBubble(t, Config{MaxConnections: 2}, func(e *edge) {
		for range 2 {
			conn, err := e.dial(e.t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		synctest.Wait()
		if got := e.say("GET /health/live HTTP/1.1\r\nHost: n\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503") {
			t.Errorf("%.100q", got)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		got := e.say(strings.Repeat("GET /health/live HTTP/1.1\r\nHost: n\r\n\r\n", 3) + "GET /health/live HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
		if n := strings.Count(got, `{"status":"live"}`); n != 4 {
			t.Errorf("%d answers: %s", n, got)
		}
	})
}

func TestMetricsCountRequests(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			return broker.AppendResult{}, fmt.Errorf("shard 1: %w", broker.ErrNotLeader)
		}
		e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch)
		e.ask("GET", "/nowhere", "")
		got := e.ask("GET", "/metrics", "").body
		for _, line := range []string{
			`stela_http_responses_total{route="stream_append",status="5xx"} 1`,
			`stela_http_request_latency_seconds_count{route="stream_append"} 1`,
			`stela_http_unrouted_requests_total 1`,
		} {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("no %s", line)
			}
		}
	})
}

func TestHTTPVersionsAndHead(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.read = func(_ context.Context, request *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			if string(request.Key) == "none" {
				return broker.StreamSlice{Head: -1}, nil
			}
			return broker.StreamSlice{Events: []broker.StreamEvent{{Version: 0, Value: []byte("1")}}, Head: 4}, nil
		}
		got := e.ask(http.MethodHead, streamPath, "")
		if got.status != 200 || got.header.Get("Stream-Version") != "4" || got.header.Get("Etag") != `"4"` || got.body != "" {
			t.Errorf("head: %+v", got)
		}
		if got := e.ask(http.MethodHead, "/v1/topics/order-events/streams/none", ""); got.status != 404 || got.body != "" {
			t.Errorf("head of nothing: %+v", got)
		}
		if got := e.say("GET " + streamPath + " HTTP/1.0\r\n\r\n"); !strings.Contains(got, `"data":1`) {
			t.Errorf("http/1.0: %s", got)
		}
	})
}
