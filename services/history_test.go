package services_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/web"
)

// The read model tells where an order's events lie once it has come to a cut, and not before.
func TestPositionsWaitForACut(t *testing.T) {
	s := start(t, startLog(t), vfs.NewMem(), event.Query)
	c := web.NewClient(s.address(event.Query), nil)
	defer c.Close()
	for cut, status := range map[string]int{"": 200, "inventory-events:0": 200, "inventory-events:1000000": 503, "nonsense": 400} {
		answer, err := c.Do(t.Context(), web.Call{Path: "/v1/orders/9827/positions?cut=" + cut})
		if answer.Status != status {
			t.Errorf("cut %q: status %d, %v", cut, answer.Status, err)
		}
	}
}

// A history asks for the warehouse's events up to the end of the log, and says when they are missing.
func TestHistoryTellsWhatIsMissing(t *testing.T) {
	log, err := client.New(startLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.CreateTopics(t.Context(), services.Topics()...); err != nil {
		t.Fatal(err)
	}
	record := client.Event{ID: "i", Type: "stock.reserved", Source: "/services/inventory", Data: []byte(`{}`)}
	for topic, stream := range map[string]string{event.InventoryEvents: "wh-1", event.OrderEvents: "9827"} {
		if _, err := log.Stream(topic, stream).Append(t.Context(), client.ExpectNone, record); err != nil {
			t.Fatal(err)
		}
	}
	var current atomic.Bool
	view := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("cut") != "inventory-events:1":
			t.Errorf("asked for %s", r.URL)
		case !current.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte(`[{"topic":"inventory-events","stream":"wh-1","version":0}]`))
		}
	}))
	defer view.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		Client: log, Listen: func(string) (net.Listener, error) { return listener, nil },
		Services: []gateway.Service{
			{Name: event.Query, Address: strings.TrimPrefix(view.URL, "http://")}, {Name: event.Inventory, Address: "127.0.0.1:1"}, {Name: event.Order, Address: "127.0.0.1:1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	calls := gateway.NewClient(listener.Addr().String(), nil)
	defer calls.Close()
	if list, warning, err := calls.History(t.Context(), "9827"); err != nil || len(list) != 1 || !strings.Contains(warning, "missing") {
		t.Errorf("while the view is behind: %d events, %q, %v", len(list), warning, err)
	}
	current.Store(true)
	if list, warning, err := calls.History(t.Context(), "9827"); err != nil || len(list) != 2 || warning != "" {
		t.Errorf("when it has caught up: %d events, %q, %v", len(list), warning, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
