package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

func header(key, value string) record.Header {
	return record.Header{Key: []byte(key), Value: []byte(value)}
}

func TestAppendReachesTheBroker(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		var got *broker.AppendRequest
		e.verbs.append = func(_ context.Context, request *broker.AppendRequest) (broker.AppendResult, error) {
			got = request
			return broker.AppendResult{FirstVersion: 4, LastVersion: 5, Partition: 3, FirstOffset: 77}, nil
		}
		body := ` [ {"specversion":"1.0","id":"e1","type":"order.placed","source":"/s","subject":"9/8",
			"time":"2026-11-22T10:00:00.123456Z","correlationid":"c","attempt":3,"test":true,"unset":null,
			"sequence":"12","offset":"99","data": {"total" : 1.50, "n":[1,2,{"x":"]}"}]} } ,
			{"id":"e2","specversion":"1.0","type":"t","source":"/s","datacontenttype":"text/plain","data":"gr\u00fc\u00dfe"},
			{"id":"e3","specversion":"1.0","type":"t","source":"/s","datacontenttype":"image/png","data_base64":"AAEC"},
			{"id":"e4","specversion":"1.0","type":"t","source":"/s"} ] `
		answer := e.ask("POST", "/v1/topics/order-events/streams/a%2Fb%20c+d", body, "Content-Type", contentBatch+"; charset=utf-8", "Expected-Version", "3")
		if answer.status != 201 || answer.body != `{"firstVersion":4,"lastVersion":5,"partition":3,"firstOffset":77}`+"\n" || answer.header.Get("Stream-Version") != "5" {
			t.Errorf("%+v", answer)
		}
		at, _ := time.Parse(time.RFC3339Nano, "2026-11-22T10:00:00.123456Z")
		want := &broker.AppendRequest{Topic: "order-events", Key: []byte("a/b c+d"), Expected: 3, Events: []broker.Event{
			{
				ID: "e1", Time: at, Value: []byte(`{"total" : 1.50, "n":[1,2,{"x":"]}"}]}`),
				Headers: []record.Header{
					header("ce_specversion", "1.0"), header("ce_type", "order.placed"), header("ce_source", "/s"), header("ce_subject", "9/8"),
					header("ce_time", "2026-11-22T10:00:00.123456Z"), header("ce_correlationid", "c"), header("ce_attempt", "3"),
					header("ce_test", "true"), header("content-type", "application/json"),
				},
			},
			{ID: "e2", Value: []byte("grüße"), Headers: []record.Header{
				header("ce_specversion", "1.0"), header("ce_type", "t"), header("ce_source", "/s"), header("content-type", "text/plain"),
			}},
			{ID: "e3", Value: []byte{0, 1, 2}, Headers: []record.Header{
				header("ce_specversion", "1.0"), header("ce_type", "t"), header("ce_source", "/s"), header("content-type", "image/png"),
			}},
			{ID: "e4", Headers: []record.Header{
				header("ce_specversion", "1.0"), header("ce_type", "t"), header("ce_source", "/s"), header("content-type", "application/json"),
			}},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAppendConditions(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		var got broker.Expected
		e.verbs.append = func(_ context.Context, request *broker.AppendRequest) (broker.AppendResult, error) {
			got = request.Expected
			return broker.AppendResult{Duplicate: true}, nil
		}
		for _, test := range []struct {
			header []string
			want   broker.Expected
			status int
		}{
			{nil, broker.ExpectAny, 200},
			{[]string{"Expected-Version", "any"}, broker.ExpectAny, 200},
			{[]string{"Expected-Version", "none"}, broker.ExpectNone, 200},
			{[]string{"Expected-Version", "exists"}, broker.ExpectExists, 200},
			{[]string{"Expected-Version", "0"}, 0, 200},
			{[]string{"expected-version", "9223372036854775807"}, 1<<63 - 1, 200},
			{[]string{"If-Match", `"7"`}, 7, 200},
			{[]string{"If-Match", "*"}, broker.ExpectExists, 200},
			{[]string{"If-None-Match", "*"}, broker.ExpectNone, 200},
			{[]string{"Expected-Version", "9223372036854775808"}, 0, 400},
			{[]string{"Expected-Version", "-1"}, 0, 400},
			{[]string{"Expected-Version", "+1"}, 0, 400},
			{[]string{"Expected-Version", "None"}, 0, 400},
			{[]string{"Expected-Version", ""}, 0, 400},
			{[]string{"If-Match", "7"}, 0, 400},
			{[]string{"If-Match", `W/"7"`}, 0, 400},
			{[]string{"If-None-Match", `"7"`}, 0, 400},
			{[]string{"If-Match", `"7"`, "Expected-Version", "7"}, 0, 400},
			{[]string{"Expected-Version", "7", "Expected-Version", "8"}, 0, 400},
		} {
			got = -99
			answer := e.ask("POST", streamPath, oneEvent, append([]string{"Content-Type", contentBatch}, test.header...)...)
			if answer.status != test.status || test.status == 200 && got != test.want {
				t.Errorf("%v: %d %d %s, wanted %d %d", test.header, answer.status, got, answer.body, test.status, test.want)
			}
		}
	})
}

// What a conflict tells of counts as an answer; without room for it the version is told alone.
func TestConflictsWithinTheBudget(t *testing.T) {
	inBubble(t, Config{MaxAnswerBytes: 1 << 20, MaxBytesInFlight: 3 << 20}, func(e *edge) {
		unseen := []broker.StreamEvent{{Version: 4, Value: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)}}
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			return broker.AppendResult{}, &broker.ConflictError{Expected: 3, Actual: 4, Unseen: unseen}
		}
		conn, err := e.dial(e.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: n\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", streamPath, contentBatch, len(oneEvent), oneEvent); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the answer fills what the connection buffers
		got := e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch)
		if got.status != 409 || !strings.Contains(got.body, `"actual":4,"events":[]`) {
			t.Errorf("without room: %d %.300s", got.status, got.body)
		}
		conn.Close()
		time.Sleep(e.server.config.WriteTimeout)
		synctest.Wait()
		got = e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch)
		if got.status != 409 || len(got.body) < 1<<20 {
			t.Errorf("with room again: %d %.300s", got.status, got.body)
		}
		synctest.Wait()
		if free := e.server.answers.free; free != int64(e.server.config.MaxBytesInFlight) {
			t.Errorf("%d bytes are free", free)
		}
	})
}

func TestAppendConflict(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			unseen := []broker.StreamEvent{{
				Version: 4, Partition: 1, Offset: 10, Timestamp: 1000, Value: []byte(`{"a":1}`),
				Headers: []record.Header{header("ce_id", "x"), header("ce_type", "t"), header("ce_source", "/s"), header("content-type", "application/json")},
			}, {
				Version: 5, Partition: 1, Offset: 12, Timestamp: 2000, Value: []byte("\xff\x00"), Headers: []record.Header{header("trace", "1")},
			}}
			return broker.AppendResult{}, fmt.Errorf("append: %w", &broker.ConflictError{Expected: 3, Actual: 5, Unseen: unseen})
		}
		got := e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch, "Expected-Version", "3")
		var body map[string]any
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"type": "urn:stela:problem:version-conflict", "title": "the stream is not at the expected version", "status": 409.0,
			"detail": "append: expected version 3, the stream is at 5: version conflict",
			"stream": "9827", "expected": "3", "actual": 5.0,
			"events": []any{
				map[string]any{
					"specversion": "1.0", "id": "x", "type": "t", "source": "/s", "time": "1970-01-01T00:00:01Z", "sequence": "4",
					"offset": "10", "datacontenttype": "application/json", "data": map[string]any{"a": 1.0},
				},
				map[string]any{
					"specversion": "1.0", "id": "order-events/1/12", "type": "record", "source": "/topics/order-events",
					"time": "1970-01-01T00:00:02Z", "sequence": "5", "offset": "12", "data_base64": "/wA=",
				},
			},
		}
		if diff := cmp.Diff(want, body); diff != "" || got.status != 409 || got.header.Get("Stream-Version") != "5" {
			t.Errorf("%d %v\n%s", got.status, got.header, diff)
		}
		if got := e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch, "If-Match", `"3"`); got.status != 412 || !strings.Contains(got.body, `"status":412`) {
			t.Errorf("if-match: %d %s", got.status, got.body)
		}
	})
}

func TestAppendRefusals(t *testing.T) {
	inBubble(t, Config{MaxBodyBytes: 1 << 20}, func(e *edge) {
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			t.Error("it reached the broker")
			return broker.AppendResult{}, errors.New("unexpected")
		}
		event := func(more string) string {
			return `[{"specversion":"1.0","id":"e1","type":"t","source":"s"` + more + `}]`
		}
		many := strings.TrimSuffix(strings.Repeat(`{"specversion":"1.0","id":"e","type":"t","source":"s"},`, broker.MaxAppendEvents+1), ",")
		for i := range broker.MaxAppendEvents + 1 {
			many = strings.Replace(many, `"id":"e"`, fmt.Sprintf(`"id":"e%d"`, i), 1)
		}
		for name, test := range map[string]struct {
			content, body string
			status        int
			says          string
		}{
			"no content type":     {"", oneEvent, 415, "wanted application/cloudevents-batch+json"},
			"form":                {"text/plain", oneEvent, 415, "text/plain"},
			"empty":               {contentBatch, "", 400, "not json"},
			"no events":           {contentBatch, "[]", 400, "at least one event"},
			"not an array":        {contentBatch, "{}", 400, "must be a json array"},
			"not an object":       {contentBatch, "[1]", 400, "event 0 is not a json object"},
			"array as one":        {contentEvent, oneEvent, 400, "one event"},
			"broken":              {contentBatch, `[{"specversion":"1.0"`, 400, "not json"},
			"two values":          {contentBatch, oneEvent + oneEvent, 400, "not json"},
			"not utf-8":           {contentBatch, event(`,"data":"` + "\xff" + `"`), 400, "utf-8"},
			"too deep":            {contentBatch, event(`,"data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70)), 400, "deeper than 64"},
			"long number":         {contentBatch, event(`,"data":` + strings.Repeat("1", 65)), 400, "more than 64 characters"},
			"long exponent":       {contentBatch, event(`,"data":1e` + strings.Repeat("1", 65)), 400, "more than 64 characters"},
			"too large":           {contentBatch, event(`,"data":"` + strings.Repeat("x", 1<<20) + `"`), 413, "limit 1048576"},
			"too many":            {contentBatch, "[" + many + "]", 400, "more than 1000 events"},
			"no id":               {contentBatch, `[{"specversion":"1.0","type":"t","source":"s"}]`, 400, "attribute id is missing"},
			"null id":             {contentBatch, `[{"specversion":"1.0","id":null,"type":"t","source":"s"}]`, 400, "attribute id is missing"},
			"no type":             {contentBatch, `[{"specversion":"1.0","id":"e","source":"s"}]`, 400, "attribute type is missing"},
			"other version":       {contentBatch, `[{"specversion":"0.3","id":"e","type":"t","source":"s"}]`, 400, "wanted 1.0"},
			"same ids":            {contentBatch, strings.TrimSuffix(event(""), "]") + "," + event("")[1:], 400, "event 1 has the id of event 0"},
			"long id":             {contentBatch, `[{"specversion":"1.0","id":"` + strings.Repeat("e", 513) + `","type":"t","source":"s"}]`, 400, "attribute id has 513 bytes"},
			"long attribute":      {contentBatch, event(`,"x":"` + strings.Repeat("e", 5000) + `"`), 400, "attribute x has 5000 bytes"},
			"bad name":            {contentBatch, event(`,"Trace-ID":"1"`), 400, "lower-case letters and digits"},
			"structured":          {contentBatch, event(`,"x":{}`), 400, "a string, a number or a boolean"},
			"twice":               {contentBatch, event(`,"id":"e2"`), 400, "attribute id is given twice"},
			"escaped twice":       {contentBatch, event(`,"i\u0064":"e2"`), 400, "attribute id is given twice"},
			"data twice":          {contentBatch, event(`,"data":1,"data":2`), 400, "data is given twice"},
			"both data":           {contentBatch, event(`,"data":1,"data_base64":"AA=="`), 400, "exclude each other"},
			"bad base64":          {contentBatch, event(`,"data_base64":"A"`), 400, "data_base64"},
			"base64 of a number":  {contentBatch, event(`,"data_base64":1`), 400, "must be a string"},
			"text that is not":    {contentBatch, event(`,"datacontenttype":"text/plain","data":{}`), 400, "must be a string"},
			"bad time":            {contentBatch, event(`,"time":"yesterday"`), 400, "rfc 3339"},
			"too many attributes": {contentBatch, event(attributes(70)), 400, "more than 64 attributes"},
		} {
			var header []string
			if test.content != "" {
				header = []string{"Content-Type", test.content}
			}
			got := e.ask("POST", streamPath, test.body, header...)
			if got.status != test.status || !strings.Contains(got.body, test.says) {
				t.Errorf("%s: %d %s, wanted %d with %q", name, got.status, got.body, test.status, test.says)
			}
		}
		if got := e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch, "Content-Encoding", "gzip"); got.status != 415 {
			t.Errorf("compressed: %d", got.status)
		}
		if got := e.ask("POST", "/v1/topics/t/streams/"+strings.Repeat("k", broker.MaxKeyBytes+1), oneEvent, "Content-Type", contentBatch); got.status != 400 {
			t.Errorf("long key: %d", got.status)
		}
	})
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":"x"`, i)
	}
	return b.String()
}

func TestAppendInChunks(t *testing.T) {
	inBubble(t, Config{MaxBodyBytes: 4096}, func(e *edge) {
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			return broker.AppendResult{}, nil
		}
		head := "POST " + streamPath + " HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Type: " + contentBatch + "\r\nTransfer-Encoding: chunked\r\n\r\n"
		chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
		if got := e.say(head + chunk(oneEvent[:20]) + chunk(oneEvent[20:]) + "0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 201") {
			t.Errorf("%.300s", got)
		}
		if got := e.say(head + strings.Repeat(chunk(strings.Repeat("x", 500)), 20) + "0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 413") {
			t.Errorf("%.300s", got)
		}
		if got := e.say(strings.Replace(head, "Transfer-Encoding: chunked", fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d", len(oneEvent)), 1) + oneEvent); !strings.Contains(got, "HTTP/1.1 201") {
			t.Errorf("expect: %.300s", got)
		}
		for _, memory := range []*budget{e.server.memory, e.server.answers} {
			if memory.free != int64(e.server.config.MaxBytesInFlight) {
				t.Errorf("%d bytes of memory are free of %d", memory.free, e.server.config.MaxBytesInFlight)
			}
		}
	})
}

// An append whose time ends may have been proposed: it is not a plain refusal.
func TestAppendOutOfTime(t *testing.T) {
	inBubble(t, Config{}, func(e *edge) {
		e.verbs.append = func(ctx context.Context, _ *broker.AppendRequest) (broker.AppendResult, error) {
			<-ctx.Done()
			return broker.AppendResult{}, ctx.Err()
		}
		got := e.ask("POST", streamPath, oneEvent, "Content-Type", contentBatch)
		if got.status != 504 || !strings.Contains(got.body, "outcome-unknown") || got.header.Get("Retry-After") != "1" {
			t.Errorf("%d %v %s", got.status, got.header, got.body)
		}
	})
}
