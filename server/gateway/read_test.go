package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/server/broker"
)

// aStream answers reads from a stream of n events, in pages of at most page, as the broker does.
func aStream(n int64, page int, valueBytes int) func(context.Context, *broker.ReadStreamRequest) (broker.StreamSlice, error) {
	return func(_ context.Context, r *broker.ReadStreamRequest) (broker.StreamSlice, error) {
		slice := broker.StreamSlice{Head: n - 1}
		version, step := r.From, int64(1)
		if r.Backward {
			step = -1
			if version < 0 || version >= n {
				version = n - 1
			}
		}
		for ; version >= 0 && version < n && len(slice.Events) < min(r.Limit, page); version += step {
			slice.Events = append(slice.Events, broker.StreamEvent{
				Version: version, Offset: 10, Value: []byte(`"` + strings.Repeat("x", valueBytes) + `"`),
			})
		}
		return slice, nil
	}
}

func versions(t *testing.T, body string) []int64 {
	t.Helper()
	var events []struct {
		Sequence string `json:"sequence"`
	}
	if err := json.Unmarshal([]byte(body), &events); err != nil {
		t.Fatalf("%v in %.200s", err, body)
	}
	list := make([]int64, 0, len(events))
	for _, event := range events {
		version, err := strconv.ParseInt(event.Sequence, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, version)
	}
	return list
}

func TestRead(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		for _, test := range []struct {
			query       string
			stream      int64
			first, last int64
			count       int
		}{
			{"", 1000, 0, 99, 100},
			{"?limit=1000", 1000, 0, 999, 1000},
			{"?limit=10000", 1000, 0, 999, 1000},
			{"?from=998", 1000, 998, 999, 2},
			{"?from=1000", 1000, 0, 0, 0},
			{"?from=end", 1000, 0, 0, 0},
			{"?from=0&limit=1", 1000, 0, 0, 1},
			{"?direction=backward", 1000, 999, 900, 100},
			{"?direction=backward&from=end&limit=3", 1000, 999, 997, 3},
			{"?direction=backward&from=5&limit=10", 1000, 5, 0, 6},
			{"?direction=backward&limit=777", 1000, 999, 223, 777},
			{"?from=300&limit=512", 1000, 300, 811, 512},
		} {
			for _, page := range []int{1, 7, 256, 10000} {
				e.verbs.read = aStream(test.stream, page, 1)
				got := e.ask("GET", streamPath+test.query, "")
				list := versions(t, got.body)
				if got.status != 200 || len(list) != test.count || got.header.Get("Stream-Version") != fmt.Sprint(test.stream-1) {
					t.Errorf("%s by %d: %d, %d events, version %s", test.query, page, got.status, len(list), got.header.Get("Stream-Version"))
				} else if test.count > 0 && (list[0] != test.first || list[len(list)-1] != test.last) {
					t.Errorf("%s by %d: from %d to %d", test.query, page, list[0], list[len(list)-1])
				}
				if link := got.header.Get("Link"); link != "" {
					t.Errorf("%s by %d: link %s", test.query, page, link)
				}
			}
		}
		e.verbs.read = aStream(0, 10, 1)
		if got := e.ask("GET", streamPath, ""); got.status != 404 || !strings.Contains(got.body, "no-stream") {
			t.Errorf("empty stream: %d %s", got.status, got.body)
		}
		if got := e.ask("GET", streamPath, "", "Accept", "text/event-stream"); got.status != 406 || !strings.Contains(got.body, "minVersion") {
			t.Errorf("event stream: %d %s", got.status, got.body)
		}
	})
}

// An answer that would be too large ends early and says where it goes on.
func TestReadLargeStream(t *testing.T) {
	for _, direction := range []string{"forward", "backward"} {
		inBubble(t, Config{MaxAnswerBytes: 10_000}, func(e *edge) {
			e.verbs.read = aStream(100, 1000, 1000)
			var all []int64
			target, requests := streamPath+"?limit=90&direction="+direction, 0
			for target != "" {
				got := e.ask("GET", target, "")
				if requests++; got.status != 200 || len(got.body) > 13_000 {
					t.Fatalf("%d with %d bytes", got.status, len(got.body))
				}
				all = append(all, versions(t, got.body)...)
				link := got.header.Get("Link")
				target = ""
				if link != "" {
					target = link[1:strings.Index(link, ">")]
					if _, err := url.Parse(target); err != nil {
						t.Fatal(err)
					}
				}
			}
			if len(all) != 90 || requests < 9 {
				t.Errorf("%d events in %d requests", len(all), requests)
			}
			for i, version := range all {
				want := int64(i)
				if direction == "backward" {
					want = int64(99 - i)
				}
				if version != want {
					t.Fatalf("event %d has version %d, wanted %d", i, version, want)
				}
			}
		})
	}
}

func TestReadWaitsForVersion(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.read = func(ctx context.Context, r *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			if r.MinVersion != 7 {
				t.Errorf("asked for version %d", r.MinVersion)
			}
			<-ctx.Done()
			return broker.StreamSlice{}, ctx.Err()
		}
		began := time.Now()
		got := e.ask("GET", streamPath+"?minVersion=7", "")
		if got.status != 503 || !strings.Contains(got.body, "version-not-reached") || got.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", got.status, got.body)
		}
		if took := time.Since(began); took != e.server.config.RequestTimeout {
			t.Errorf("it took %s", took)
		}
	})
}

// 504 says that an append may have been done; a read is never answered so.
func TestReadOutOfTime(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.read = func(context.Context, *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			return broker.StreamSlice{}, fmt.Errorf("looking: %w", broker.ErrTimedOut)
		}
		if got := e.ask("GET", streamPath, ""); got.status != 503 || !strings.Contains(got.body, "no-leader") {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := e.ask("GET", streamPath+"?minVersion=7", ""); got.status != 503 || !strings.Contains(got.body, "version-not-reached") {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

func TestReadUntil(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		var got broker.ReadStreamRequest
		e.verbs.read = func(_ context.Context, r *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			got = *r
			return broker.StreamSlice{Head: 3}, nil
		}
		e.ask("GET", "/v1/topics/t/streams/k%00%ff?until=2026-11-22T10%3A00%3A00.5%2B01%3A00", "")
		if !got.Until.Equal(time.Date(2026, 11, 22, 9, 0, 0, 5e8, time.UTC)) || string(got.Key) != "k\x00\xff" {
			t.Errorf("%+v", got)
		}
	})
}

// Readers that wait for a version, as many as may be, hold nothing that an append or another read needs.
func TestWaitingReadersHoldNoMemory(t *testing.T) {
	inBubble(t, Config{MaxAnswerBytes: 4 << 20, MaxBytesInFlight: 64 << 20}, func(e *edge) {
		reached := make(chan struct{})
		e.verbs.read = func(ctx context.Context, r *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			if r.MinVersion < 0 {
				return aStream(8, 10, 1)(ctx, r)
			}
			select {
			case <-reached:
				return aStream(8, 10, 1)(ctx, r)
			case <-ctx.Done():
				return broker.StreamSlice{}, ctx.Err()
			}
		}
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			return broker.AppendResult{}, nil
		}
		answers := make(chan reply, 20)
		for range cap(answers) {
			go func() { answers <- e.ask("GET", streamPath+"?minVersion=7&from=7", "") }()
		}
		synctest.Wait()
		if free := e.server.answers.free; free != int64(e.server.config.MaxBytesInFlight) {
			t.Errorf("%d bytes are left for answers", free)
		}
		began := time.Now()
		if got := e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch); got.status != 201 || time.Since(began) > time.Second {
			t.Errorf("append: %d after %s: %s", got.status, time.Since(began), got.body)
		}
		if got := e.ask("GET", streamPath, ""); got.status != 200 || time.Since(began) > time.Second {
			t.Errorf("read: %d after %s: %s", got.status, time.Since(began), got.body)
		}
		close(reached)
		for range cap(answers) {
			if got := <-answers; got.status != 200 || len(versions(t, got.body)) != 1 {
				t.Errorf("a reader that waited: %d %s", got.status, got.body)
			}
		}
	})
}

// What is held for answers that nobody takes is no part of what bodies need.
func TestSlowReadersDoNotStopAppends(t *testing.T) {
	inBubble(t, Config{MaxAnswerBytes: 3 << 20, MaxBytesInFlight: 4 << 20}, func(e *edge) {
		e.verbs.read = aStream(1, 1, 3<<20)
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			return broker.AppendResult{}, nil
		}
		conn, err := e.dial(e.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET "+streamPath+" HTTP/1.1\r\nHost: n\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the answer fills what the connection buffers
		body := "[" + strings.Repeat(" ", 2<<20) + oneEvent[1:]
		if got := e.ask("POST", streamPath, body, "Content-Type", contentBatch); got.status != 201 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}
