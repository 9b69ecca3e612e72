package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/client"
)

// door answers with a script, one step per request, the last one for ever.
type door struct {
	t        *testing.T
	server   *httptest.Server
	requests atomic.Int64
	mu       sync.Mutex // guards bodies while the server runs
	bodies   []string   // of requests; read after the client returned
	steps    []func(http.ResponseWriter, *http.Request)
}

func newDoor(t *testing.T, steps ...func(http.ResponseWriter, *http.Request)) *door {
	d := &door{t: t, steps: steps}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := d.requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		d.mu.Lock()
		d.bodies = append(d.bodies, string(body))
		d.mu.Unlock()
		d.steps[min(int(n), len(d.steps))-1](w, r)
	}))
	t.Cleanup(d.server.Close)
	return d
}

func (d *door) address() string { return strings.TrimPrefix(d.server.URL, "http://") }

func open(t *testing.T, doors ...*door) *client.Client {
	config := client.Config{}
	for _, d := range doors {
		config.HTTP = append(config.HTTP, d.address())
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

var one = client.Event{
	ID: "i", Type: "order.paid", Source: "/s", Subject: "9827", Time: time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC),
	Extensions: []client.Attribute{{Name: "correlationid", Value: `a"b`}}, Data: []byte(`{"a":1.50}`),
}

const appended = `{"firstVersion":3,"lastVersion":4,"partition":2,"firstOffset":17}`

func TestAppend(t *testing.T) {
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.EscapedPath() != "/v1/topics/order-events/streams/a%2Fb%20c" ||
			r.Header.Get("Expected-Version") != "2" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
			t.Errorf("got %s %s %v", r.Method, r.URL.EscapedPath(), r.Header)
		}
		answer(http.StatusCreated, appended)(w, r)
	}, answer(http.StatusOK, appended))
	stream := open(t, d).Stream("order-events", "a/b c")
	got, err := stream.Append(t.Context(), 2, one, client.Event{ID: "j", Type: "t", Source: "s", ContentType: "text/plain", Data: []byte("\xff\x00")})
	want := client.Appended{FirstVersion: 3, LastVersion: 4, Partition: 2, FirstOffset: 17}
	if err != nil || got != want || got.LastOffset() != 18 {
		t.Errorf("got %+v, %v", got, err)
	}
	wantBody := `[{"specversion":"1.0","id":"i","type":"order.paid","source":"/s","subject":"9827","time":"2026-11-22T10:00:00.000000005Z",` +
		`"datacontenttype":"application/json","correlationid":"a\"b","data":{"a":1.50}},` +
		`{"specversion":"1.0","id":"j","type":"t","source":"s","datacontenttype":"text/plain","data_base64":"/wA="}]`
	if d.bodies[0] != wantBody {
		t.Errorf("sent %s", d.bodies[0])
	}
	if got, err = stream.Append(t.Context(), 2, one); err != nil || !got.Duplicate {
		t.Errorf("the same again: %+v, %v", got, err)
	}
}

// While nobody leads, and when nobody knows what became of it, the same events are sent
// again, to the next node.
func TestAppendIsRepeated(t *testing.T) {
	dead := newDoor(t)
	dead.server.Close()
	first := newDoor(t, answer(http.StatusServiceUnavailable, `{"title":"no leader"}`), answer(http.StatusGatewayTimeout, ``))
	second := newDoor(t, answer(http.StatusServiceUnavailable, ``), func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}, answer(http.StatusCreated, appended))
	got, err := open(t, dead, first, second).Stream("t", "k").Append(t.Context(), client.ExpectNone, one)
	if err != nil || got.FirstOffset != 17 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, body := range append(first.bodies, second.bodies...) {
		if body != first.bodies[0] {
			t.Errorf("another body was sent: %s", body)
		}
	}
	if len(first.bodies) < 2 || len(second.bodies) != 3 {
		t.Errorf("%d and %d requests", len(first.bodies), len(second.bodies))
	}
}

// A node that has too many connections may have room again soon.
func TestTooManyConnectionsPass(t *testing.T) {
	d := newDoor(t, answer(http.StatusTooManyRequests, `{"title":"too much is going on"}`), answer(http.StatusCreated, appended))
	if got, err := open(t, d).Stream("t", "k").Append(t.Context(), client.ExpectNone, one); err != nil || d.requests.Load() != 2 {
		t.Errorf("got %+v, %v after %d requests", got, err, d.requests.Load())
	}
}

// However many append at once, a client stays below what a node takes from one address.
func TestConnectionsAreBounded(t *testing.T) {
	var connections atomic.Int64
	d := newDoor(t, answer(http.StatusCreated, appended))
	dialer := &net.Dialer{}
	c, err := client.New(client.Config{HTTP: []string{d.address()}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		connections.Add(1)
		return dialer.DialContext(ctx, network, address)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var appends sync.WaitGroup
	for range 300 {
		appends.Go(func() {
			if _, err := c.Stream("t", "k").Append(t.Context(), client.ExpectNone, one); err != nil {
				t.Error(err)
			}
		})
	}
	appends.Wait()
	if n := connections.Load(); n > 64 {
		t.Errorf("%d connections", n)
	}
}

func TestAppendGivesUpWithItsContext(t *testing.T) {
	d := newDoor(t, answer(http.StatusServiceUnavailable, `{"title":"no leader","detail":"nobody there"}`))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := open(t, d).Stream("t", "k").Append(ctx, client.ExpectAny, one)
	var refused *client.StatusError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &refused) || !strings.Contains(err.Error(), "no leader: nobody there") {
		t.Errorf("got %v", err)
	}
}

func TestConflict(t *testing.T) {
	d := newDoor(t, answer(http.StatusConflict, `{"type":"urn:stela:problem:version-conflict","actual":4,"events":[
		{"specversion":"1.0","id":"x","type":"t","source":"s","sequence":"4","offset":"9","data":{"b": 2},"correlationid":"c","datacontenttype":"application/json"}]}`))
	_, err := open(t, d).Stream("order-events", "k").Append(t.Context(), 3, one)
	var conflict *client.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("got %v", err)
	}
	want := &client.ConflictError{Topic: "order-events", Key: "k", Expected: 3, Actual: 4, Unseen: []client.Event{{
		ID: "x", Type: "t", Source: "s", ContentType: "application/json", Version: 4, Offset: 9,
		Extensions: []client.Attribute{{Name: "correlationid", Value: "c"}}, Data: []byte(`{"b": 2}`),
	}}}
	if diff := cmp.Diff(want, conflict); diff != "" {
		t.Error(diff)
	}
	if want := `append to order-events stream "k": expected version 3, it is at 4`; err.Error() != want {
		t.Errorf("got %q", err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
		sent   int64
	}{
		"not an event store": {http.StatusConflict, `{"type":"urn:stela:problem:not-event-store","title":"the topic keeps no streams"}`, "http 409: the topic keeps no streams", 1},
		"bad request":        {http.StatusBadRequest, `not json`, "http 400: Bad Request", 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, answer(c.status, c.body))
			_, err := open(t, d).Stream("t", "k").Append(t.Context(), 3, one)
			if err == nil || !strings.HasSuffix(err.Error(), c.want) || d.requests.Load() != c.sent {
				t.Errorf("got %v after %d requests", err, d.requests.Load())
			}
		})
	}
}

func TestAppendChecksEvents(t *testing.T) {
	stream := open(t, newDoor(t, answer(http.StatusCreated, appended))).Stream("t", "k")
	for name, e := range map[string]client.Event{
		"no id":          {Type: "t", Source: "s", Data: []byte(`1`)},
		"no json":        {ID: "i", Type: "t", Source: "s", Data: []byte(`{`)},
		"no data":        {ID: "i", Type: "t", Source: "s"},
		"reserved":       {ID: "i", Type: "t", Source: "s", Data: []byte(`1`), Extensions: []client.Attribute{{Name: "id", Value: "x"}}},
		"capital letter": {ID: "i", Type: "t", Source: "s", Data: []byte(`1`), Extensions: []client.Attribute{{Name: "traceParent", Value: "x"}}},
	} {
		if _, err := stream.Append(t.Context(), client.ExpectAny, e); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	if _, err := stream.Append(t.Context(), client.ExpectAny); err == nil {
		t.Error("no events: was taken")
	}
}

func TestRead(t *testing.T) {
	events := []map[string]any{}
	for i := range 3 {
		events = append(events, map[string]any{"specversion": "1.0", "id": string(rune('a' + i)), "type": "t", "source": "s", "sequence": i, "data": map[string]int{"n": i}})
	}
	body, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	var query string
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		w.Header().Set("Stream-Version", "7")
		answer(http.StatusOK, string(body))(w, r)
	})
	got, head, err := open(t, d).Stream("t", "k").Read(t.Context(), client.ReadRequest{
		From: 5, Backward: true, Limit: 3, Until: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), MinVersion: new(int64(6)),
	})
	if err != nil || head != 7 || len(got) != 3 || got[2].Version != 2 || string(got[2].Data) != `{"n":2}` {
		t.Errorf("got %+v, head %d, %v", got, head, err)
	}
	if query != "direction=backward&from=5&limit=3&minVersion=6&until=2026-11-22T10%3A00%3A00Z" {
		t.Errorf("query %s", query)
	}
}

// A read goes where the answers say that they go on.
func TestReadFollowsLinks(t *testing.T) {
	part := func(target, link string, version int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RequestURI() != target {
				t.Errorf("asked for %s, wanted %s", r.URL.RequestURI(), target)
			}
			if link != "" {
				w.Header().Set("Link", "<"+link+`>; rel="next"`)
			}
			w.Header().Set("Stream-Version", "7")
			answer(http.StatusOK, fmt.Sprintf(`[{"specversion":"1.0","id":"i","type":"t","source":"s","sequence":"%d","data":1}]`, version))(w, r)
		}
	}
	const path = "/v1/topics/t/streams/a%2Fb"
	first, second := path+"?direction=backward&from=end&limit=2", path+"?direction=backward&from=6&limit=1"
	d := newDoor(t, part(first, second, 7), part(second, "", 6))
	events, head, err := open(t, d).Stream("t", "a/b").Read(t.Context(), client.ReadRequest{Backward: true, FromEnd: true, Limit: 2})
	if err != nil || head != 7 || len(events) != 2 || events[0].Version != 7 || events[1].Version != 6 {
		t.Errorf("got %+v, head %d, %v", events, head, err)
	}
}

func TestReadOfNothing(t *testing.T) {
	d := newDoor(t, answer(http.StatusNotFound, `{"type":"urn:stela:problem:unknown-topic"}`), answer(http.StatusNotFound, `{"type":"urn:stela:problem:no-stream"}`))
	stream := open(t, d).Stream("t", "k")
	if _, head, err := stream.Read(t.Context(), client.ReadRequest{}); !errors.Is(err, client.ErrNoStream) || head != -1 {
		t.Errorf("head %d, %v", head, err)
	}
	if d.requests.Load() != 2 {
		t.Error("a topic that one node did not know yet was not asked for again")
	}
}

// A topic that nobody knows is an error, once it had time to come to every node.
func TestUnknownTopic(t *testing.T) {
	d := newDoor(t, answer(http.StatusNotFound, `{"type":"urn:stela:problem:unknown-topic","title":"no such topic","detail":"t"}`))
	c := open(t, d)
	began := time.Now()
	_, err := c.Stream("t", "k").Append(t.Context(), 3, one)
	if err == nil || !strings.HasSuffix(err.Error(), "http 404: no such topic: t") || d.requests.Load() < 3 {
		t.Errorf("got %v after %d requests", err, d.requests.Load())
	}
	if waited := time.Since(began); waited > 15*time.Second {
		t.Errorf("it took %v", waited)
	}
}

func TestConfig(t *testing.T) {
	for _, bad := range []client.Config{{Brokers: []string{"nowhere"}}, {HTTP: []string{"http://x:1/"}}} {
		if _, err := client.New(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestCut(t *testing.T) {
	cut := client.Cut{}
	cut.Set("b", 2, 7)
	cut.Set("a", 0, 3)
	if cut.String() != "a:3 b:0,0,7" || cut.Events() != 10 || cut.Offset("b", 2) != 7 || cut.Offset("b", 3) != 0 || cut.Offset("c", 0) != 0 {
		t.Errorf("got %s", cut)
	}
	again, err := client.ParseCut(cut.String())
	if err != nil || !again.Covers(cut) || !cut.Covers(again) {
		t.Errorf("got %v, %v", again, err)
	}
	again.Set("b", 0, 1)
	if cut.Covers(again) || !again.Covers(cut) || cut.Clone().Covers(again) {
		t.Error("covers")
	}
	for _, bad := range []string{"a", "a:", "a:x", "a:-1", ":1"} {
		if _, err := client.ParseCut(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if empty, err := client.ParseCut(""); err != nil || len(empty) != 0 {
		t.Errorf("got %v, %v", empty, err)
	}
}
