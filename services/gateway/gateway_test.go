package gateway

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/query"
)

func types(events []event.Recorded) string {
	var list []string
	for _, e := range events {
		list = append(list, e.Type)
	}
	return strings.Join(list, " ")
}

// Causes come before effects although the clocks of the services differ.
func TestCausal(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	story := []event.Recorded{
		{Type: "submitted", ID: "s", Causation: "s", Topic: event.OrderCommands, Stream: "1", Time: at(10)},
		{Type: "placed", ID: "pl", Causation: "s", Topic: event.OrderEvents, Stream: "1", Time: at(20)},
		{Type: "requested", ID: "rq", Causation: "pl", Topic: event.PaymentEvents, Stream: "1", Time: at(5)}, // a clock that is behind
		{Type: "captured", ID: "ca", Causation: "rq", Topic: event.PaymentEvents, Stream: "1", Version: 1, Time: at(6)},
		{Type: "paid", ID: "pa", Causation: "ca", Topic: event.OrderEvents, Stream: "1", Version: 1, Time: at(30)},
		{Type: "reserved", ID: "re", Causation: "ca", Topic: event.InventoryEvents, Stream: "wh", Version: 7, Time: at(40)},
		{Type: "committed", ID: "co", Causation: "elsewhere", Topic: event.InventoryEvents, Stream: "wh", Version: 9, Time: at(1)},
	}
	want := types(story)
	rapid.Check(t, func(rt *rapid.T) {
		if got := types(causal(rapid.Permutation(slices.Clone(story)).Draw(rt, "order"))); got != want {
			rt.Fatalf("got %s\nwanted %s", got, want)
		}
	})
}

func TestCausalInACircle(t *testing.T) {
	events := []event.Recorded{
		{Type: "b", ID: "b", Causation: "a", Topic: "t", Stream: "1", Time: time.UnixMilli(2)},
		{Type: "a", ID: "a", Causation: "b", Topic: "t", Stream: "2", Time: time.UnixMilli(1)},
	}
	if got := types(causal(events)); got != "a b" {
		t.Error(got)
	}
}

func TestTravelTo(t *testing.T) {
	for _, c := range []struct {
		at, version string
		bad         bool
	}{
		{"2026-11-22T10:00:00Z", "", false},
		{"2026-11-22T10:00:00.5+01:00", "", false},
		{"", "0", false},
		{"", "17", false},
		{"noon", "", true},
		{"", "-1", true},
		{"", "x", true},
		{"2026-11-22T10:00:00Z", "1", true},
	} {
		if _, _, err := travelTo(c.at, c.version); (err != nil) != c.bad {
			t.Errorf("at %q version %q: %v", c.at, c.version, err)
		}
	}
}

func TestTraceParent(t *testing.T) {
	good := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for text, want := range map[string]string{good: good, "": "", "short": "", strings.Repeat("x", 200): "", good[:54] + "\n": ""} {
		if got := traceParent(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// What was seen of the order service's lag does not outlive the service.
func TestLagIsForgotten(t *testing.T) {
	now := time.UnixMilli(0)
	services := []Service{{Name: event.Query, Address: "h:1"}, {Name: event.Inventory, Address: "h:2"}, {Name: event.Order, Address: "h:3"}}
	g, err := New(Config{Services: services, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	g.lag, g.seen = 61, now
	if now = now.Add(lagMaxAge); g.behind() != 61 {
		t.Errorf("behind by %v", g.behind())
	}
	if now = now.Add(time.Second); g.behind() != 0 {
		t.Errorf("behind by %v, long after it was seen", g.behind())
	}
}

func TestConfigNeedsServices(t *testing.T) {
	if _, err := New(Config{Services: []Service{{Name: event.Query, Address: "127.0.0.1:1"}}}); err == nil || !strings.Contains(err.Error(), "no address for inventory") {
		t.Errorf("got %v", err)
	}
}

// The contract names every route, and nothing else.
func TestContract(t *testing.T) {
	var document struct {
		Paths      map[string]map[string]yaml.Node
		Components struct {
			Schemas map[string]struct{ Enum []string }
		}
	}
	if err := yaml.NewDecoder(bytes.NewReader(contract)).Decode(&document); err != nil {
		t.Fatal(err)
	}
	promised := map[string][]string{}
	for path, methods := range document.Paths {
		for method, node := range methods {
			if method == "parameters" {
				continue
			}
			var operation struct{ Tags []string }
			if err := node.Decode(&operation); err != nil {
				t.Fatal(err)
			}
			for _, tag := range operation.Tags {
				promised[tag] = append(promised[tag], strings.ToUpper(method)+" "+path)
			}
		}
	}
	services := []Service{{Name: event.Query, Address: "h:1"}, {Name: event.Inventory, Address: "h:2"}, {Name: event.Order, Address: "h:3"}}
	g, err := New(Config{Services: services})
	if err != nil {
		t.Fatal(err)
	}
	for tag, routes := range map[string][]string{
		"shop":       g.web.Routes(),
		"operations": framework.New(framework.Definition{Name: "x"}, framework.Config{}).Routes(),
	} {
		slices.Sort(routes)
		slices.Sort(promised[tag])
		if !slices.Equal(routes, promised[tag]) {
			t.Errorf("%s: served\n%s\npromised\n%s", tag, strings.Join(routes, "\n"), strings.Join(promised[tag], "\n"))
		}
	}
	if !slices.Equal(document.Components.Schemas["OrderStatus"].Enum, query.Statuses()) {
		t.Errorf("statuses %v", document.Components.Schemas["OrderStatus"].Enum)
	}
}
