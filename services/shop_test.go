package services_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/internal/process"
	"github.com/stela-db/stela/server"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

const patience = 60 * time.Second

// A live shop is a node and services in this process, on memory.
type liveShop struct {
	t      *testing.T
	log    client.Config
	fs     *vfs.MemFS
	base   string
	cancel context.CancelFunc
	done   chan error
	calls  *gateway.Client
}

func startLog(t *testing.T) client.Config {
	t.Helper()
	node, err := server.New(server.Config{Data: "data", Storage: vfs.NewMem(), Kafka: []server.Listener{{Bind: "127.0.0.1:0"}}, HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return client.Config{Brokers: []string{node.Addresses().Kafka["PLAINTEXT"]}, HTTP: []string{node.Addresses().HTTP}}
}

// start starts roles, all if none is named, on ports of their own.
func start(t *testing.T, log client.Config, fs *vfs.MemFS, roles ...string) *liveShop {
	t.Helper()
	port, err := process.FreePorts("127.0.0.1", 41000, len(services.Roles()))
	if err != nil {
		t.Fatal(err)
	}
	s := &liveShop{t: t, log: log, fs: fs, base: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), done: make(chan error, 1)}
	s.run(roles...)
	s.calls = gateway.NewClient(s.base, nil)
	t.Cleanup(s.stop)
	return s
}

func (s *liveShop) run(roles ...string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		s.done <- services.Run(ctx, services.Config{Client: s.log, Data: "shop", FS: s.fs, Address: s.base, Roles: roles})
	}()
	started := roles
	if len(started) == 0 {
		started = services.Roles()
	}
	for _, role := range started {
		s.until("ready: "+role, func() bool {
			_, err := web.NewClient(s.address(role), nil).Do(s.t.Context(), web.Call{Path: "/readyz"})
			return err == nil
		})
	}
}

func (s *liveShop) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	s.calls.Close()
	if err := <-s.done; err != nil {
		s.t.Error(err)
	}
}

func (s *liveShop) address(role string) string {
	address, err := services.AddressOf(s.base, role)
	if err != nil {
		s.t.Fatal(err)
	}
	return address
}

// until asks again and again.
func (s *liveShop) until(what string, ask func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ask() {
		select {
		case err := <-s.done:
			s.t.Fatalf("%s: the services ended: %v", what, err)
		case <-deadline.C:
			s.t.Fatal(what)
		case <-ticker.C:
		}
	}
}

// order places orders at once and waits until all are shipped.
func (s *liveShop) order(prefix string, count int) {
	s.t.Helper()
	var wait sync.WaitGroup
	for i := range count {
		wait.Go(func() {
			id := fmt.Sprintf("%s-%d", prefix, i)
			_, token, err := s.calls.Submit(s.t.Context(), gateway.NewOrder{OrderID: id, CustomerID: "c", Lines: []gateway.NewLine{{SKU: "A", Quantity: 1}}}, "")
			if err != nil {
				s.t.Error(err)
				return
			}
			view, err := s.calls.Order(s.t.Context(), id, gateway.Look{Token: token, Until: query.Shipped, Wait: query.MaxWait})
			if err != nil || view.Status != query.Shipped {
				s.t.Errorf("order %s: %s, %v", id, view.Status, err)
			}
		})
	}
	wait.Wait()
}

func TestShop(t *testing.T) {
	log := startLog(t)
	s := start(t, log, vfs.NewMem())
	// A second instance of services that decide, as after a restart somewhere else that was one too many.
	twin := start(t, log, vfs.NewMem(), event.Order, event.Inventory, event.Shipping)
	s.order("first", 40)
	s.checkStreams("first", 40)
	twin.stop()

	for _, role := range services.Stateful() {
		s.rebuild(role, true)
	}
	s.order("second", 5)
	s.stop()
	s.run() // goes on from its checkpoints
	s.calls = gateway.NewClient(s.base, nil)
	s.order("third", 5)
	for _, role := range services.Stateful() {
		s.rebuild(role, false)
	}
	s.checkAPI()
}

// checkStreams reads the orders' streams: each step happened once.
func (s *liveShop) checkStreams(prefix string, count int) {
	s.t.Helper()
	log, err := client.New(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	for i := range count {
		id := fmt.Sprintf("%s-%d", prefix, i)
		for topic, want := range map[string]int{event.OrderEvents: 4, event.PaymentEvents: 2, event.ShippingEvents: 2} {
			var events []client.Event
			s.until(fmt.Sprintf("%s of %s", topic, id), func() bool {
				events, err = log.Stream(topic, id).All(s.t.Context())
				return err == nil && len(events) >= want
			})
			seen := map[string]bool{}
			for _, e := range events {
				if seen[e.Type] {
					s.t.Errorf("%s: %s happened twice", id, e.Type)
				}
				seen[e.Type] = true
			}
			if len(events) != want {
				s.t.Errorf("%s: %d events in %s", id, len(events), topic)
			}
		}
	}
}

// rebuild has a service rebuild itself and wants the same digest, before and after it took over.
func (s *liveShop) rebuild(role string, install bool) {
	s.t.Helper()
	c := framework.NewClient(s.address(role), nil)
	before, err := c.Digest(s.t.Context(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.StartRebuild(s.t.Context(), install); err != nil {
		s.t.Fatal(err)
	}
	var report framework.RebuildReport
	s.until("rebuild of "+role, func() bool {
		report, err = c.Rebuild(s.t.Context())
		return err == nil && report.State != framework.RebuildRunning
	})
	if _, err := s.fs.Stat("shop/" + role + "/state.next"); install && err == nil {
		s.t.Errorf("%s: said to be switched before it is", role)
	}
	want := map[bool]string{true: framework.RebuildSwitched, false: framework.RebuildVerified}[install]
	if report.State != want || report.DigestLive != report.DigestRebuilt || report.Events == 0 {
		s.t.Errorf("rebuild of %s: %+v", role, report)
	}
	s.until("digest of "+role, func() bool {
		after, err := c.Digest(s.t.Context(), before.Cut)
		var moved *web.Problem
		if errors.As(err, &moved) && moved.Status == http.StatusConflict {
			return true // events came in meanwhile
		}
		if err == nil && after != before {
			s.t.Errorf("%s: before %+v, after %+v", role, before, after)
		}
		return err == nil
	})
}

// checkAPI asks the gateway for what its other tests do not.
func (s *liveShop) checkAPI() {
	s.t.Helper()
	c := web.NewClient(s.base, nil)
	defer c.Close()
	get := func(path string, into any) {
		s.t.Helper()
		if _, err := c.Do(s.t.Context(), web.Call{Path: path, Into: into}); err != nil {
			s.t.Errorf("%s: %v", path, err)
		}
	}
	ids := map[string]bool{}
	for cursor, pages := "", 0; ; pages++ {
		var page query.Page
		get("/v1/orders?limit=20&status=SHIPPED&customerId=c&cursor="+cursor, &page)
		for _, o := range page.Orders {
			if ids[o.OrderID] || o.Status != query.Shipped {
				s.t.Errorf("order %s is listed twice, or is %s", o.OrderID, o.Status)
			}
			ids[o.OrderID] = true
		}
		if cursor = page.Next; cursor == "" || pages > 10 {
			break
		}
	}
	if len(ids) != 50 {
		s.t.Errorf("%d orders are listed", len(ids))
	}
	var stock query.StockView
	get("/v1/stock/A", &stock)
	if stock.Available+stock.Reserved+stock.Committed != 100_000 || stock.Committed+stock.Reserved != 50 {
		s.t.Errorf("stock %+v", stock)
	}
	for path, status := range map[string]int{
		"/v1/orders/nobody": 404, "/v1/orders/nobody/events": 404, "/v1/stock/NOTHING": 404, "/v1/orders?status=LOST": 400, "/v1/orders?limit=0": 400,
		"/v1/orders?cursor=x": 400, "/v1/orders/first-0?until=LOST": 400, "/v1/orders/first-0?wait=99": 400, "/v1/orders/first-0?at=noon": 400,
		"/v1/orders/first-0?version=99": 404, "/v1/orders/first-0?at=2001-01-01T00:00:00Z": 404, "/nothing": 404,
	} {
		answer, err := c.Do(s.t.Context(), web.Call{Path: path})
		if answer.Status != status {
			s.t.Errorf("%s: status %d, %v", path, answer.Status, err)
		}
	}
	if answer, _ := c.Do(s.t.Context(), web.Call{Path: "/v1/orders/first-0", Headers: map[string]string{"Consistency-Token": "nonsense"}}); answer.Status != 400 {
		s.t.Errorf("a token of somebody else: %d", answer.Status)
	}
	far := query.FormatToken(query.Token{Topic: event.OrderCommands, Offset: 1 << 40})
	if answer, _ := c.Do(s.t.Context(), web.Call{Path: "/v1/orders/first-0?wait=0", Headers: map[string]string{"Consistency-Token": far}}); answer.Status != 503 || answer.Headers["Retry-After"] == "" {
		s.t.Errorf("a token of the future: %d", answer.Status)
	}
	s.checkOperations()
	s.checkSubmissions(c)
}

// checkOperations wants every role in the status, with numbers of its own.
func (s *liveShop) checkOperations() {
	s.t.Helper()
	status, err := s.calls.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	told := map[string]string{event.Gateway: "ready"} // it answers
	for _, service := range status.Services {
		told[service.Service] = service.State
	}
	for _, role := range services.Roles() {
		if told[role] != "ready" {
			s.t.Errorf("the status of %s is %q", role, told[role])
		}
		c := web.NewClient(s.address(role), nil)
		answer, err := c.Do(s.t.Context(), web.Call{Path: "/metrics"})
		for _, want := range []string{`shop_ready{service="` + role + `"} 1`, `shop_http_answers_total{service="` + role + `",class="2xx"} `} {
			if err != nil || !strings.Contains(string(answer.Body), want) {
				s.t.Errorf("metrics of %s: no %s in %s, %v", role, want, answer.Body, err)
			}
		}
		c.Close()
	}
}

// checkSubmissions sends requests that cannot be, and one that waits.
func (s *liveShop) checkSubmissions(c *web.Client) {
	s.t.Helper()
	submit := func(body, prefer string) web.Answer {
		call := web.Call{Method: http.MethodPost, Path: "/v1/orders", Body: []byte(body), Headers: map[string]string{"Idempotency-Key": "k"}}
		if prefer != "" {
			call.Headers["Prefer"] = prefer
		}
		answer, _ := c.Do(s.t.Context(), call)
		return answer
	}
	line := `"lines":[{"sku":"A","quantity":1}]`
	for body, want := range map[string]string{
		`{`:                  "body",
		`[]`:                 "body",
		`{` + line + `}`:     "customerId",
		`{"customerId":"c"}`: "lines",
		`{"customerId":"c",` + line + `,"orderId":"a b"}`:                                                "orderId",
		`{"customerId":"c",` + line + `,"currency":"euro"}`:                                              "currency",
		`{"customerId":"c",` + line + `,"shipTo":"home"}`:                                                "shipTo",
		`{"customerId":"c","lines":[{"sku":"A","quantity":1.5}]}`:                                        "body",
		`{"customerId":"c","lines":[{"sku":"A","quantity":0}]}`:                                          "quantity",
		`{"customerId":"c","lines":[{"sku":"","quantity":1}]}`:                                           "sku",
		`{"customerId":"c","lines":[{"sku":"A","quantity":1,"unitPrice":{"minor":1,"currency":"USD"}}]}`: "unitPrice",
		`{"customerId":"` + strings.Repeat("c", 200) + `",` + line + `}`:                                 "customerId",
	} {
		if answer := submit(body, ""); answer.Status != 400 || !strings.Contains(string(answer.Body), want) {
			s.t.Errorf("%.60s: status %d, %s", body, answer.Status, answer.Body)
		}
	}
	answer := submit(`{"customerId":"waits",`+line+`}`, "wait=20")
	var view query.View
	if err := json.Unmarshal(answer.Body, &view); err != nil || answer.Status != 201 || view.Status != query.Shipped || answer.Headers["Location"] != "/v1/orders/"+view.OrderID {
		s.t.Errorf("status %d, %v, %s", answer.Status, err, answer.Body)
	}
	if answer := submit(`{"customerId":"c",`+line+`}`, "wait=soon"); answer.Status != 400 {
		s.t.Errorf("wait=soon: %d", answer.Status)
	}
}

// A state that is ahead of the log belongs to another log: that is said, nothing is done.
func TestStateOfAnotherLog(t *testing.T) {
	fs := vfs.NewMem()
	s := start(t, startLog(t), fs, event.Shipping)
	s.stop()
	database, err := state.Open(state.Config{FS: fs, Dir: "shop/" + event.Shipping})
	if err != nil {
		t.Fatal(err)
	}
	tx := database.Begin()
	tx.SetFolded(event.ShippingEvents, 2, 17)
	if err := errors.Join(tx.Commit(), database.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = services.Run(ctx, services.Config{Client: s.log, Data: "shop", FS: fs, Address: s.base, Roles: []string{event.Shipping}})
	if err == nil || !strings.Contains(err.Error(), "belongs to another cluster") {
		t.Errorf("got %v", err)
	}
}
