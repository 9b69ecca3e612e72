package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/psp"
	"github.com/stela-db/stela/services/query"
)

// place submits orders of all kinds at once and returns what should become of each.
func (s *shop) place(prefix string, count int) map[string][]string {
	s.t.Helper()
	wanted := map[string][]string{}
	var wait sync.WaitGroup
	for i := range count {
		id := fmt.Sprintf("%s-%d", prefix, i)
		order := gateway.NewOrder{OrderID: id, CustomerID: fmt.Sprintf("c%d", i%3), Lines: []gateway.NewLine{{SKU: "A", Quantity: 2}, {SKU: "B", Quantity: 1}}}
		switch {
		case i%7 == 3:
			order.PaymentMethod, wanted[id] = "declined:stolen_card", []string{query.Declined}
		case i%7 == 4:
			order.Lines[0].SKU, wanted[id] = "NOTHING", []string{query.Rejected}
		case i%7 == 5:
			order.Lines[0].SKU, wanted[id] = "SCARCE", []string{query.Shipped, query.Refunded}
		default:
			wanted[id] = []string{query.Shipped}
		}
		wait.Go(func() {
			if _, _, err := s.gateway.Submit(s.t.Context(), order, ""); err != nil {
				s.t.Errorf("submit %s: %v", id, err)
			}
		})
	}
	wait.Wait()
	return wanted
}

// settle waits until every order has come to the end that it should.
func (s *shop) settle(wanted map[string][]string) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for id, ends := range wanted {
		status := ""
		for time.Now().Before(deadline) && !query.IsFinal(status) {
			view, err := s.gateway.Order(s.t.Context(), id, gateway.Look{Until: query.Shipped, Wait: 5 * time.Second})
			if err != nil {
				s.t.Logf("order %s: %v", id, err)
				continue
			}
			status = view.Status
		}
		if !strings.Contains(strings.Join(ends, " "), status) || status == "" {
			s.t.Errorf("order %s is %q, wanted %v", id, status, ends)
		}
	}
}

// produce writes a record as any Kafka client would: no key, no headers.
func (s *shop) produce(value string) {
	s.t.Helper()
	k, err := kgo.NewClient(kgo.SeedBrokers(s.kafka(0)), kgo.AllowAutoTopicCreation())
	s.check(err)
	defer k.Close()
	s.check(k.ProduceSync(s.t.Context(), &kgo.Record{Topic: event.OrderEvents, Value: []byte(value)}).FirstErr())
}

// Orders of all kinds through all services, payment killed in the middle and its folder
// deleted; then every state anew from offset 0, through the protocol and from the segment
// files with nothing running.
func TestProcessOrders(t *testing.T) {
	s := newShop(t, 1)
	s.startNodes()
	s.up("gateway", "order", "inventory", "shipping", "query", "psp")
	s.up("payment")

	wanted := s.place("first", 35)
	s.produce(`{"orderId":"9827","total":129.00,"status":"CREATED"}`)
	s.produce(`{"orderId":"9828","total":"a lot"}`)
	s.produce(`no json at all`)
	wanted["9827"] = []string{query.Shipped}
	s.roles["payment"].Kill()
	s.check(os.RemoveAll(filepath.Join(s.data(), "payment")))
	maps.Copy(wanted, s.place("second", 14)) // accepted while payment is away
	delete(s.roles, "payment")
	s.up("payment")
	s.settle(wanted)
	s.checkMoney(wanted)
	s.checkTheArticlesOrder()
	s.checkIdempotency()
	s.settle(s.place("third", 7))
	s.quiet()

	live := s.digests()
	s.rebuild()
	s.rebuild("--switch=false")
	s.stopAll()
	before := s.folder(s.nodeData(0))
	s.rebuild("--from-disk", s.nodeData(0))
	if after := s.folder(s.nodeData(0)); after != before {
		t.Error("reading the node's folder changed it")
	}
	s.check(os.RemoveAll(filepath.Join(s.nodeData(0), "index")))
	s.rebuild("--from-disk", s.nodeData(0))

	s.check(os.RemoveAll(s.data()))
	_, problem, status := s.run("rebuild", "--all", "--verify", "--from-disk", s.nodeData(0))
	if status != 1 || !strings.Contains(problem, "there is nothing to compare with; without --verify") || strings.Count(problem, "\n") != 1 {
		t.Errorf("verified against nothing: status %d, %q", status, problem)
	}
	if _, err := os.Stat(filepath.Join(s.data(), "order")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a state was installed: %v", err)
	}
	var results []rebuildResult
	s.ask(&results, "rebuild", "--all", "--from-disk", s.nodeData(0))
	for _, r := range results {
		if r.State != "installed" {
			t.Errorf("after all folders were deleted: %+v", r)
		}
	}
	if rebuilt := s.digests(); !maps.Equal(live, rebuilt) {
		t.Errorf("live %v\nrebuilt from disk %v", live, rebuilt)
	}
}

// quiet waits until no service has anything left to do.
func (s *shop) quiet() {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		status, err := s.gateway.Status(s.t.Context())
		s.check(err)
		lag := int64(0)
		for _, service := range status.Services {
			if service.LagEvents != 0 {
				lag = service.LagEvents
			}
		}
		if lag == 0 && status.Status == "ok" {
			return
		}
		select {
		case <-deadline.C:
			s.t.Fatalf("not quiet: %+v", status)
		case <-ticker.C:
		}
	}
}

// checkMoney compares the provider's ledger with what the orders say.
func (s *shop) checkMoney(wanted map[string][]string) {
	s.t.Helper()
	calls := psp.NewClient(s.address("psp"), nil)
	ledger, err := calls.Ledger(s.t.Context(), "")
	s.check(err)
	entries := map[string]psp.Entry{}
	for _, e := range ledger.Entries {
		entries[e.Key] = e
	}
	scarce := 0
	for id := range wanted {
		view, err := s.gateway.Order(s.t.Context(), id, gateway.Look{})
		s.check(err)
		e := entries[id]
		net := e.AmountMinor - e.RefundedMinor
		switch {
		case view.Status == query.Shipped && (net != view.Total.Minor || view.Payment.Captured.Minor != net):
			s.t.Errorf("order %s of %d is shipped, the provider has %+v", id, view.Total.Minor, e)
		case view.Status != query.Shipped && net != 0:
			s.t.Errorf("order %s is %s, the provider keeps %+v", id, view.Status, e)
		}
		if view.Status == query.Shipped && len(view.Lines) > 0 && view.Lines[0].SKU == "SCARCE" {
			scarce++
		}
	}
	if scarce != 1 { // three pieces, orders of two
		s.t.Errorf("%d orders of what is scarce were shipped", scarce)
	}
}

// checkTheArticlesOrder looks at the order that came from outside, in every way.
func (s *shop) checkTheArticlesOrder() {
	s.t.Helper()
	var view query.View
	s.ask(&view, "get", "9827")
	if view.Status != query.Shipped || view.Total.Minor != 12900 || view.Total.Currency != "EUR" || view.Lines[0].SKU != "CUSTOM" {
		s.t.Errorf("the article's order: %+v", view)
	}
	var history []gateway.HistoryEvent
	s.ask(&history, "history", "9827")
	var types []string
	seen := map[string]bool{}
	for _, e := range history {
		types = append(types, e.Type)
		if e.Type != "order.placed" && !seen[e.Causation] {
			s.t.Errorf("%s comes before its cause", e.Type)
		}
		seen[e.ID] = true
	}
	for _, kind := range []string{"order.placed", "payment.requested", "payment.captured", "stock.reserved", "shipment.prepared", "shipment.dispatched", "stock.committed", "order.shipped"} {
		if !strings.Contains(strings.Join(types, " "), kind) {
			s.t.Errorf("history %v lacks %s", types, kind)
		}
	}
	s.ask(&view, "get", "9827", "--version", "1")
	if view.Status != query.Placed {
		s.t.Errorf("after its first event the order was %s", view.Status)
	}
	if _, problem, status := s.run("get", "9828"); status != 1 || !strings.Contains(problem, `there is no order "9828"`) || strings.Count(problem, "\n") != 1 {
		s.t.Errorf("an order that was put aside: status %d, %s", status, problem)
	}
	var services struct{ Services []struct{ Aside int } }
	s.ask(&services, "status")
	if services.Services[0].Aside != 2 {
		s.t.Errorf("%d records were put aside", services.Services[0].Aside)
	}
}

func (s *shop) checkIdempotency() {
	s.t.Helper()
	order := gateway.NewOrder{CustomerID: "c", Lines: []gateway.NewLine{{SKU: "A", Quantity: 1}}}
	first, token, err := s.gateway.Submit(s.t.Context(), order, "key")
	s.check(err)
	again, tokenAgain, err := s.gateway.Submit(s.t.Context(), order, "key")
	s.check(err)
	if again.OrderID != first.OrderID || tokenAgain != token {
		s.t.Errorf("the same request: %+v %s, %+v %s", first, token, again, tokenAgain)
	}
	if view, err := s.gateway.Order(s.t.Context(), first.OrderID, gateway.Look{Token: token}); err != nil || view.OrderID != first.OrderID {
		s.t.Errorf("read what was written: %+v, %v", view, err)
	}
	order.Lines[0].Quantity = 2
	if _, _, err := s.gateway.Submit(s.t.Context(), order, "key"); err == nil || !strings.Contains(err.Error(), "http 422") {
		s.t.Errorf("another body under the same key: %v", err)
	}
	order.OrderID = first.OrderID
	order.Lines[0].Quantity = 1
	if other, _, err := s.gateway.Submit(s.t.Context(), order, "another key"); err != nil || other.OrderID != first.OrderID {
		s.t.Errorf("the same order under another key: %+v, %v", other, err)
	}
	ref := "delivery"
	for n := range 2 {
		received, err := s.gateway.Receive(s.t.Context(), "A", 10, ref)
		if err != nil || received.Duplicate != (n == 1) {
			s.t.Errorf("receive %d: %+v, %v", n, received, err)
		}
	}
	if _, err := s.gateway.Receive(s.t.Context(), "A", 11, ref); err == nil || !strings.Contains(err.Error(), "http 422") {
		s.t.Errorf("another delivery under the same reference: %v", err)
	}
	s.settle(map[string][]string{first.OrderID: {query.Shipped}})
}

// folder sums up all files below a folder.
func (s *shop) folder(dir string) string {
	s.t.Helper()
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(hash, "%s %d %x\n", path, len(text), sha256.Sum256(text))
		return err
	})
	s.check(err)
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// Three nodes, the leader killed while orders come in; then the rebuild from the folder
// of each node that was stopped in order.
func TestProcessThreeNodes(t *testing.T) {
	s := newShop(t, 3)
	s.startNodes()
	s.up("gateway", "order", "payment", "inventory", "shipping", "query", "psp")
	wanted := s.place("before", 21)
	log, err := client.New(client.Config{Brokers: strings.Split(s.list(s.kafka), ","), HTTP: strings.Split(s.list(s.http), ",")})
	s.check(err)
	defer log.Close()
	leader := s.leader()
	s.nodes[leader].Kill()
	maps.Copy(wanted, s.place("after", 21))
	s.startNode(leader)
	s.ready(s.nodes[leader], "http://"+s.http(leader)+"/health/ready")
	s.settle(wanted)
	s.quiet()
	s.rebuild()
	s.stopAll()
	for node := range s.count {
		s.rebuild("--from-disk", s.nodeData(node))
	}
}

// leader returns the node that leads order-events.
func (s *shop) leader() int {
	s.t.Helper()
	k, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.list(s.kafka), ",")...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{event.OrderEvents: {0: kgo.NewOffset().AtStart()}}))
	s.check(err)
	defer k.Close()
	for {
		_, epoch, err := k.PartitionLeader(event.OrderEvents, 0)
		node, _, _ := k.PartitionLeader(event.OrderEvents, 0)
		if err == nil && epoch >= 0 && node >= 1 {
			return int(node) - 1
		}
		k.PollRecords(s.t.Context(), 1)
	}
}

// The article's snippet may run before any service was ever started.
func TestProcessArticleFirst(t *testing.T) {
	s := newShop(t, 1)
	s.startNodes()
	s.produce(`{"orderId":"9827","total":129.00,"status":"CREATED"}`)
	s.up("gateway", "order", "payment", "inventory", "shipping", "query", "psp")
	s.settle(map[string][]string{"9827": {query.Shipped}})
}

// A topic that can never be what the services need ends them with what to do about it.
func TestProcessPlainTopic(t *testing.T) {
	s := newShop(t, 1)
	s.startNodes()
	log, err := client.New(client.Config{Brokers: []string{s.kafka(0)}, HTTP: []string{s.http(0)}})
	s.check(err)
	defer log.Close()
	s.check(log.CreateTopics(t.Context(), client.Topic{Name: event.OrderEvents, Partitions: 1, Configs: map[string]string{"eventstore.enable": "false"}}))
	_, problem, status := s.run("up", "--log-level", "error")
	want := "shop: topic order-events exists and keeps no streams, which is decided when a topic is created; " +
		"if what is in it is not needed, delete it with 'stela topic delete order-events' and start again\n"
	if status != 1 || problem != want {
		t.Errorf("status %d, %q", status, problem)
	}
}

// What goes wrong is one line in lower case with the next step, and the right status.
func TestProcessErrors(t *testing.T) {
	s := newShop(t, 1)
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no gateway":          {[]string{"get", "1"}, 1, "connection refused; is it running?"},
		"no log":              {[]string{"up", "--role", "psp"}, 1, "start the log with 'stela serve'"},
		"nothing there":       {[]string{"digest"}, 1, "order neither runs nor has a state"},
		"unknown command":     {[]string{"sell"}, 2, `unknown command "sell"`},
		"unknown flag":        {[]string{"get", "1", "--nosuch"}, 2, "unknown flag: --nosuch"},
		"unknown role":        {[]string{"up", "--role", "cook"}, 2, `there is no role "cook"`},
		"unknown service":     {[]string{"rebuild", "gateway"}, 2, `"gateway" keeps no state`},
		"rebuild of nothing":  {[]string{"rebuild"}, 2, "name one service, or give --all"},
		"no article":          {[]string{"submit"}, 2, "give --sku"},
		"a bad price":         {[]string{"up", "--price", "A=1.005"}, 2, "fractions of the smallest coin"},
		"a bad time":          {[]string{"get", "1", "--at", "noon"}, 2, "is not a time"},
		"not a folder":        {[]string{"rebuild", "--all", "--from-disk", "/nowhere"}, 1, "/nowhere is not a folder"},
		"not a node's folder": {[]string{"rebuild", "--all", "--from-disk", s.dir}, 1, "not a node's data folder"},
		"output":              {[]string{"status", "-o", "xml"}, 2, `--output is "xml"`},
	} {
		out, problem, status := s.run(c.args...)
		if status != c.status || !strings.Contains(problem, c.want) || strings.Count(problem, "\n") != 1 || !strings.HasPrefix(problem, "shop: ") || out != "" {
			t.Errorf("%s: status %d, %q, stdout %q", name, status, problem, out)
		}
	}
}
