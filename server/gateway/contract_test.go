package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stela-db/stela/server/broker"
)

// A document is openapi.yaml as far as these tests read it.
type document struct {
	root map[string]any
	t    *testing.T
}

func readContract(t *testing.T) *document {
	t.Helper()
	d := &document{t: t}
	if err := yaml.Unmarshal(contract, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at returns what a path of keys leads to, following references; nil when it leads nowhere.
func (d *document) at(from any, keys ...string) any {
	for _, key := range keys {
		object, ok := d.resolve(from).(map[string]any)
		if !ok {
			return nil
		}
		from = object[key]
	}
	return d.resolve(from)
}

func (d *document) resolve(from any) any {
	for {
		object, ok := from.(map[string]any)
		if !ok {
			return from
		}
		reference, ok := object["$ref"].(string)
		if !ok {
			return from
		}
		from = d.root
		for key := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
			object, ok := from.(map[string]any)
			if !ok || object[key] == nil {
				d.t.Fatalf("openapi.yaml: %s leads nowhere", reference)
			}
			from = object[key]
		}
	}
}

// check says in what a value does not fit a schema.
func (d *document) check(where string, schema, value any) error {
	object, ok := d.resolve(schema).(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no schema", where)
	}
	var errs []error
	for _, part := range asList(object["allOf"]) {
		errs = append(errs, d.check(where, part, value))
	}
	if ways := asList(object["anyOf"]); ways != nil && !slices.ContainsFunc(ways, func(part any) bool { return d.check(where, part, value) == nil }) {
		errs = append(errs, fmt.Errorf("%s: %v fits none", where, value))
	}
	if wanted, ok := object["type"]; ok {
		kinds := asList(wanted)
		if kinds == nil {
			kinds = []any{wanted}
		}
		if !slices.ContainsFunc(kinds, func(kind any) bool { return isKind(kind.(string), value) }) {
			return fmt.Errorf("%s: %v is not a %v", where, value, wanted)
		}
	}
	if wanted, ok := object["const"]; ok && wanted != value {
		errs = append(errs, fmt.Errorf("%s: %v, wanted %v", where, value, wanted))
	}
	if list := asList(object["enum"]); list != nil && !slices.Contains(list, value) {
		errs = append(errs, fmt.Errorf("%s: %v is not one of %v", where, value, list))
	}
	if least, ok := object["minimum"].(int); ok && value.(float64) < float64(least) {
		errs = append(errs, fmt.Errorf("%s: %v is below %d", where, value, least))
	}
	for _, name := range asList(object["required"]) {
		if members, ok := value.(map[string]any); !ok || members[name.(string)] == nil {
			errs = append(errs, fmt.Errorf("%s: no %v", where, name))
		}
	}
	if members, ok := value.(map[string]any); ok {
		for name, member := range members {
			part := d.at(object, "properties", name)
			if part == nil {
				part = object["additionalProperties"]
			}
			if part != nil {
				errs = append(errs, d.check(where+"."+name, part, member))
			}
		}
	}
	if items, ok := object["items"]; ok {
		for i, item := range value.([]any) {
			errs = append(errs, d.check(where+"["+strconv.Itoa(i)+"]", items, item))
		}
	}
	return errors.Join(errs...)
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}

func isKind(kind string, value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return kind == "object"
	case []any:
		return kind == "array"
	case string:
		return kind == "string"
	case bool:
		return kind == "boolean"
	case float64:
		return kind == "number" || kind == "integer" && value == float64(int64(value))
	}
	return kind == "null"
}

// checkReply checks an answer against what the contract says about it.
func (d *document) checkReply(path, method string, got reply) {
	d.t.Helper()
	response := d.at(d.root, "paths", path, method, "responses", strconv.Itoa(got.status))
	if response == nil {
		d.t.Errorf("%s %s: status %d is not in the contract", method, path, got.status)
		return
	}
	media, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	schema := d.at(response, "content", media, "schema")
	if schema == nil {
		d.t.Errorf("%s %s %d: content type %q is not in the contract", method, path, got.status, media)
		return
	}
	if headers, ok := d.at(response, "headers").(map[string]any); ok {
		for name := range headers {
			if name != "Link" && got.header.Get(name) == "" && !(name == "ETag" && got.header.Get("Stream-Version") == "-1") {
				d.t.Errorf("%s %s %d: no header %s", method, path, got.status, name)
			}
		}
	}
	if !strings.HasSuffix(media, "json") {
		return
	}
	var value any
	if err := json.Unmarshal([]byte(got.body), &value); err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
		return
	}
	if err := d.check("answer", schema, value); err != nil {
		d.t.Errorf("%s %s %d: %v", method, path, got.status, err)
	}
}

// The contract has the routes of the table, and no others.
func TestContractHasTheRoutes(t *testing.T) {
	d := readContract(t)
	s := newServer(Config{}.withDefaults(), verbs{})
	wanted := []string{"HEAD /v1/topics/{topic}/streams/{stream}"}
	for _, route := range s.routes {
		if route.handle != nil {
			wanted = append(wanted, route.method+" /"+strings.Join(route.path, "/"))
		}
	}
	var got []string
	for path, methods := range d.at(d.root, "paths").(map[string]any) {
		for method := range methods.(map[string]any) {
			if method != "parameters" {
				got = append(got, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(wanted)
	slices.Sort(got)
	if !slices.Equal(wanted, got) {
		t.Errorf("the contract has\n%s\nthe table\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

// The contract lists the types of problems that there are, and no others.
func TestContractHasTheProblems(t *testing.T) {
	d := readContract(t)
	var listed []string
	for _, name := range asList(d.at(d.root, "components", "schemas", "Problem", "properties", "type", "enum")) {
		listed = append(listed, strings.TrimPrefix(name.(string), problemPrefix))
	}
	found := map[string]bool{"bad-request": true, "overloaded": true}
	for _, m := range mappings() {
		found[m.name] = true
	}
	call := regexp.MustCompile(`refuse\([^"]*?, "([a-z-]+)"`)
	for _, file := range sourcesOf(t) {
		for _, match := range call.FindAllStringSubmatch(file, -1) {
			found[match[1]] = true
		}
	}
	for name := range found {
		if !slices.Contains(listed, name) {
			t.Errorf("openapi.yaml does not list %s", name)
		}
	}
	for _, name := range listed {
		if !found[name] {
			t.Errorf("openapi.yaml lists %s, which is nowhere answered", name)
		}
	}
}

// Every answer of the door fits the contract.
func TestAnswersFitTheContract(t *testing.T) {
	d := readContract(t)
	const path = "/v1/topics/{topic}/streams/{stream}"
	inBubble(t, Config{}, func(e *edge) {
		var failure error
		e.verbs.append = func(context.Context, *broker.AppendRequest) (broker.AppendResult, error) {
			return broker.AppendResult{FirstVersion: 1, LastVersion: 2}, failure
		}
		post := func(header ...string) reply {
			return e.ask("POST", streamPath, oneEvent, append(header, "Content-Type", contentBatch)...)
		}
		d.checkReply(path, "post", post())
		d.checkReply(path, "post", post("Expected-Version", "x"))
		d.checkReply(path, "post", e.ask("POST", streamPath, oneEvent, "Content-Type", "text/plain"))
		unseen := []broker.StreamEvent{{Version: 5, Value: []byte(`{"a":1}`)}, {Version: 6}}
		for _, err := range []error{
			broker.ErrTimedOut, broker.ErrNotLeader, broker.ErrUnknownTopicOrPartition, broker.ErrNotEventStore,
			broker.ErrMessageTooLarge, broker.ErrInvalidRecord,
			&broker.ConflictError{Expected: broker.ExpectNone, Actual: 6, Unseen: unseen},
			&broker.ConflictError{Expected: 3, Actual: -1},
		} {
			failure = err
			got := post()
			if errors.Is(err, broker.ErrNotEventStore) {
				got.header.Set("Stream-Version", "-1") // there is none to tell
			}
			d.checkReply(path, "post", got)
		}
		failure = &broker.ConflictError{Expected: 3, Actual: 5}
		d.checkReply(path, "post", post("If-Match", `"3"`))

		for _, stream := range []int64{0, 3} {
			e.verbs.read = aStream(stream, 100, 10)
			d.checkReply(path, "get", e.ask("GET", streamPath, ""))
		}
		d.checkReply(path, "get", e.ask("GET", streamPath+"?from=x", ""))
		d.checkReply(path, "get", e.ask("GET", streamPath, "", "Accept", "text/event-stream"))
		e.verbs.read = func(context.Context, *broker.ReadStreamRequest) (broker.StreamSlice, error) {
			return broker.StreamSlice{}, broker.ErrLeaderNotAvailable
		}
		d.checkReply(path, "get", e.ask("GET", streamPath, ""))
		for _, target := range []string{"/health/live", "/health/ready", "/metrics", "/openapi.yaml"} {
			d.checkReply(target, "get", e.ask("GET", target, ""))
		}
		e.verbs.ready = func() error { return errors.New("no leader") }
		d.checkReply("/health/ready", "get", e.ask("GET", "/health/ready", ""))
	})
}
