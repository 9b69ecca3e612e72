package gateway

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// FuzzAppendJSON feeds what a client may send. Nothing may panic; whatever is accepted
// must come out again as the same event when it is read and appended anew.
func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte(oneEvent))
	f.Add([]byte(` [ {"specversion":"1.0","id":"\u0041","type":"t","source":"s","data_base64":"AAEC","n":-1.5e3,"t":true,"u":null} ] `))
	f.Add([]byte(`[{"specversion":"1.0","id":"a","type":"t","source":"s","datacontenttype":"text/plain","data":"\ud83d\ude00\n"},{}]`))
	f.Add([]byte(`[{"specversion":"1.0","id":"a","type":"t","source":"s","data":[[[{"x":"]}\\\""}]]]}]`))
	f.Add([]byte(`[[[[[[[[`))
	f.Add([]byte(`[{"a":"\`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 64<<10 {
			return
		}
		events, err := parseEvents(body, false)
		if err != nil {
			return
		}
		again := []byte{'['}
		for i := range events {
			stored := broker.StreamEvent{
				Version: int64(i), Headers: append([]record.Header{{Key: []byte("ce_id"), Value: []byte(events[i].ID)}}, events[i].Headers...),
				Value: events[i].Value,
			}
			if i > 0 {
				again = append(again, ',')
			}
			again = appendEvent(again, "t", &stored)
		}
		again = append(again, ']')
		if !json.Valid(again) {
			t.Fatalf("not json: %s", again)
		}
		read, err := parseEvents(again, false)
		if err != nil {
			// Base64 and escapes may make a text longer than its limit, and a value that was text may be JSON of any depth.
			if strings.Contains(err.Error(), "limit") || strings.Contains(err.Error(), "deeper") || strings.Contains(err.Error(), "number at byte") {
				return
			}
			t.Fatalf("%v in what was read: %s", err, again)
		}
		for i := range events {
			a, b := events[i], read[i]
			if a.ID != b.ID || !bytes.Equal(a.Value, b.Value) || (a.Value == nil) != (b.Value == nil) {
				t.Fatalf("event %d: %q %q became %q %q", i, a.ID, a.Value, b.ID, b.Value)
			}
			for _, header := range a.Headers {
				if !slices.ContainsFunc(b.Headers, func(h record.Header) bool {
					return bytes.Equal(h.Key, header.Key) && bytes.Equal(h.Value, header.Value)
				}) {
					t.Fatalf("event %d lost header %s: %q", i, header.Key, header.Value)
				}
			}
		}
	})
}

// FuzzPath feeds paths: what is accepted was decoded exactly once.
func FuzzPath(f *testing.F) {
	f.Add("/v1/topics/t/streams/a%2Fb")
	f.Add("/%25%2541")
	f.Add("//..%00")
	f.Fuzz(func(t *testing.T, path string) {
		segments, err := splitPath([]byte(path))
		if err != nil {
			return
		}
		if len(segments) != strings.Count(path, "/") {
			t.Fatalf("%q has segments %q", path, segments)
		}
		for _, segment := range segments {
			if isEncoded(segment) {
				t.Fatalf("%q still holds %q", path, segment)
			}
		}
	})
}

// The walkers agree with encoding/json on every JSON text.
func FuzzJSONWalk(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,{"b":"c\"]"}],"d":true , "e" : -1.5e10}`))
	f.Add([]byte(`[ "a" , null,{},[] ]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if checkJSON(text) != nil {
			return
		}
		switch text[skipSpace(text, 0)] {
		case '[':
			var want []json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			i := 0
			for element := range elements(text) {
				if i >= len(want) || !bytes.Equal(element, want[i]) {
					t.Fatalf("element %d is %q of %q", i, element, text)
				}
				i++
			}
			if i != len(want) {
				t.Fatalf("%d elements, wanted %d, of %q", i, len(want), text)
			}
		case '{':
			var want map[string]json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			got := map[string][]byte{}
			for quoted, value := range members(text) {
				name, err := unquote(quoted)
				if err != nil {
					t.Fatal(err)
				}
				got[name] = value
			}
			for name, value := range want {
				if !bytes.Equal(got[name], value) {
					t.Fatalf("member %q is %q, wanted %q", name, got[name], value)
				}
			}
		}
	})
}

func TestAppendString(t *testing.T) {
	for _, text := range []string{"", "a\"b\\c", "\x00\x1f\x7f\t\r\n", "grüße ☃ 😀", "<script>&"} {
		var back string
		if err := json.Unmarshal(appendString(nil, text), &back); err != nil || back != text {
			t.Errorf("%q became %q, %v", text, back, err)
		}
	}
	if quoted := appendString(nil, "a\xffb"); !utf8.Valid(quoted) {
		t.Errorf("%q", quoted)
	}
}
