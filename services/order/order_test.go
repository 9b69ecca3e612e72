package order_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/order"
)

var catalogue = order.Catalogue{Currency: "EUR", Prices: map[string]int64{"A": 1000, "B": 2500, "GOLD": 2e13}}

func lines(n int, line event.RequestedLine) []event.RequestedLine {
	list := make([]event.RequestedLine, n)
	for i := range list {
		list[i] = line
	}
	return list
}

func TestSubmitted(t *testing.T) {
	price := func(p int64) *int64 { return &p }
	base := event.OrderSubmitted{OrderID: "1", CustomerID: "c", Currency: "EUR", ShipTo: json.RawMessage(`{}`), PaymentMethod: "card"}
	placed := event.OrderPlaced{OrderID: "1", CustomerID: "c", Currency: "EUR", ShipTo: json.RawMessage(`{}`), PaymentMethod: "card"}
	for name, c := range map[string]struct {
		lines    []event.RequestedLine
		currency string
		order    order.Order
		want     event.Event // nil: nothing; a rejection is compared by its code
	}{
		"one line": {
			lines: []event.RequestedLine{{SKU: "A", Quantity: 2}},
			want:  with(placed, 2000, event.Line{SKU: "A", Quantity: 2, UnitPriceMinor: 1000}),
		},
		"two lines and the price the customer saw": {
			lines: []event.RequestedLine{{SKU: "A", Quantity: 2, UnitPriceMinor: price(1000)}, {SKU: "B", Quantity: 1}},
			want:  with(placed, 4500, event.Line{SKU: "A", Quantity: 2, UnitPriceMinor: 1000}, event.Line{SKU: "B", Quantity: 1, UnitPriceMinor: 2500}),
		},
		"placed before":       {lines: []event.RequestedLine{{SKU: "A", Quantity: 2}}, order: order.Order{Facts: order.Facts{Placed: true}}},
		"rejected before":     {lines: []event.RequestedLine{{SKU: "A", Quantity: 2}}, order: order.Order{Facts: order.Facts{Rejected: true}}},
		"no lines":            {want: event.OrderRejected{Code: order.CodeNoLines}},
		"too many lines":      {lines: lines(101, event.RequestedLine{SKU: "A", Quantity: 1}), want: event.OrderRejected{Code: order.CodeTooManyLines}},
		"no pieces":           {lines: []event.RequestedLine{{SKU: "A"}}, want: event.OrderRejected{Code: order.CodeQuantity}},
		"minus one piece":     {lines: []event.RequestedLine{{SKU: "A", Quantity: -1}}, want: event.OrderRejected{Code: order.CodeQuantity}},
		"too many pieces":     {lines: []event.RequestedLine{{SKU: "A", Quantity: 1001}}, want: event.OrderRejected{Code: order.CodeQuantity}},
		"unknown article":     {lines: []event.RequestedLine{{SKU: "Z", Quantity: 1}}, want: event.OrderRejected{Code: order.CodeUnknownSKU}},
		"another price":       {lines: []event.RequestedLine{{SKU: "A", Quantity: 1, UnitPriceMinor: price(999)}}, want: event.OrderRejected{Code: order.CodePrice}},
		"another currency":    {lines: []event.RequestedLine{{SKU: "A", Quantity: 1}}, currency: "USD", want: event.OrderRejected{Code: order.CodeCurrency}},
		"more than can be":    {lines: []event.RequestedLine{{SKU: "GOLD", Quantity: 1000}}, want: event.OrderRejected{Code: order.CodeTotal}},
		"custom by the front": {lines: []event.RequestedLine{{SKU: order.CustomSKU, Quantity: 1}}, want: event.OrderRejected{Code: order.CodeUnknownSKU}},
	} {
		t.Run(name, func(t *testing.T) {
			e := base
			e.Lines = c.lines
			if c.currency != "" {
				e.Currency = c.currency
			}
			got := order.Decide(catalogue, c.order, event.Recorded{Data: e})
			want := framework.Nothing()
			if c.want != nil {
				want = framework.Append(c.want)
			}
			if len(got.Events) == 1 {
				if r, ok := got.Events[0].(event.OrderRejected); ok {
					if r.Detail == "" || r.OrderID != "1" {
						t.Errorf("rejection %+v", r)
					}
					got = framework.Append(event.OrderRejected{Code: r.Code})
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func with(placed event.OrderPlaced, total int64, lines ...event.Line) event.Event {
	placed.TotalMinor, placed.Lines = total, lines
	return placed
}

func TestSubmittedWithAnImpossibleID(t *testing.T) {
	got := order.Decide(catalogue, order.Order{}, event.Recorded{Data: event.OrderSubmitted{OrderID: "a/b"}})
	if got.Aside == "" || len(got.Events) > 0 {
		t.Errorf("got %+v", got)
	}
}

// Each input becomes its fact, once.
func TestFacts(t *testing.T) {
	before := order.Order{Facts: order.Facts{Placed: true}, CustomerID: "c", TotalMinor: 2000}
	for _, c := range []struct {
		in   event.Recorded
		want event.Event
	}{
		{event.Recorded{Data: event.OrderCancel{OrderID: "1", Reason: "r"}}, event.OrderCancelRequested{OrderID: "1", Reason: "r"}},
		{event.Recorded{Data: event.PaymentCaptured{OrderID: "1", AmountMinor: 2000}}, event.OrderPaid{OrderID: "1", PaymentID: "1", AmountMinor: 2000}},
		{event.Recorded{Data: event.PaymentDeclined{OrderID: "1", Code: "x"}}, event.OrderDeclined{OrderID: "1", Code: "x"}},
		{event.Recorded{Data: event.PaymentRefunded{OrderID: "1", AmountMinor: 2000}}, event.OrderRefunded{OrderID: "1", AmountMinor: 2000}},
		{event.Recorded{Stream: "wh-1", Data: event.StockReserved{OrderID: "1"}}, event.OrderStockConfirmed{OrderID: "1", Warehouse: "wh-1"}},
		{event.Recorded{Stream: "wh-1", Data: event.StockRejected{OrderID: "1", Missing: []event.Shortage{{SKU: "A"}}}}, event.OrderStockRejected{OrderID: "1", Missing: []event.Shortage{{SKU: "A"}}}},
		{event.Recorded{Data: event.ShipmentDispatched{OrderID: "1", ShipmentID: "s", TrackingNo: "t"}}, event.OrderShipped{OrderID: "1", ShipmentID: "s", TrackingNo: "t", CustomerID: "c", TotalMinor: 2000}},
		{event.Recorded{Data: event.ShipmentCancelled{OrderID: "1", Reason: "r"}}, event.OrderCancelled{OrderID: "1", Reason: "r"}},
		{event.Recorded{Data: event.ShipmentCancelRefused{OrderID: "1"}}, event.OrderCancelRefused{OrderID: "1"}},
	} {
		if order.Stream(c.in) != "1" {
			t.Errorf("%s: stream %q", c.in.Data.EventType(), order.Stream(c.in))
		}
		got := order.Decide(catalogue, before, c.in)
		if d := cmp.Diff(framework.Append(c.want), got); d != "" {
			t.Errorf("%s: %s", c.in.Data.EventType(), d)
		}
		after, err := order.Fold(before, c.want)
		if err != nil {
			t.Fatal(err)
		}
		if again := order.Decide(catalogue, after, c.in); len(again.Events) > 0 {
			t.Errorf("%s happened twice: %+v", c.in.Data.EventType(), again.Events)
		}
		// Also when nothing is known of the order yet: any order of arrival.
		if early := order.Decide(catalogue, order.Order{}, c.in); len(early.Events) != 1 {
			t.Errorf("%s before order.placed: %+v", c.in.Data.EventType(), early)
		}
	}
	for _, other := range []event.Event{event.PaymentRequested{OrderID: "1"}, event.StockReceived{}, event.ShipmentPrepared{OrderID: "1"}, event.OrderPlaced{OrderID: "1"}} {
		if s := order.Stream(event.Recorded{Data: other}); s != "" {
			t.Errorf("%s concerns %q", other.EventType(), s)
		}
	}
	if _, err := order.Fold(before, event.StockReceived{}); err == nil {
		t.Error("an event of another service was folded")
	}
}

func TestIntake(t *testing.T) {
	foreign := func(value string) event.Recorded {
		return event.Recorded{Topic: event.OrderEvents, Foreign: true, ID: "place", Value: []byte(value)}
	}
	placed := func(id string, total int64, currency, customer string) event.Event {
		return event.OrderPlaced{OrderID: id, CustomerID: customer, TotalMinor: total, Currency: currency, Lines: []event.Line{{SKU: "CUSTOM", Quantity: 1, UnitPriceMinor: total}}}
	}
	for _, c := range []struct {
		value  string
		stream string
		want   event.Event
		aside  string
	}{
		// The article's producer, as JSON.stringify writes it: 129.00 becomes 129.
		{`{"orderId":"9827","total":129,"status":"CREATED"}`, "9827", placed("9827", 12900, "EUR", "foreign"), ""},
		{`{"orderId":"9827","total":129.00,"status":"CREATED"}`, "9827", placed("9827", 12900, "EUR", "foreign"), ""},
		{`{"orderId":9827,"total":"129.05"}`, "9827", placed("9827", 12905, "EUR", "foreign"), ""},
		{`{"orderId":"x","total":1e3,"currency":"JPY","customerId":"c","more":[1]}`, "x", placed("x", 1000, "JPY", "c"), ""},
		{``, "place", nil, "json"},
		{`{`, "place", nil, "json"},
		{`null`, "place", nil, "orderId"},
		{`"text"`, "place", nil, "json"},
		{`{} {}`, "place", nil, "more after"},
		{`{"total":1}`, "place", nil, "orderId"},
		{`{"orderId":null,"total":1}`, "place", nil, "orderId"},
		{`{"orderId":true,"total":1}`, "place", nil, "orderId"},
		{`{"orderId":9827.5,"total":1}`, "place", nil, "orderId"},
		{`{"orderId":"a b","total":1}`, "place", nil, "orderId"},
		{`{"orderId":"1"}`, "place", nil, "no total"},
		{`{"orderId":"1","total":0}`, "place", nil, "total is 0"},
		{`{"orderId":"1","total":-5}`, "place", nil, "total"},
		{`{"orderId":"1","total":1.005}`, "place", nil, "fractions"},
		{`{"orderId":"1","total":1e999}`, "place", nil, "total"},
		{`{"orderId":"1","total":[]}`, "place", nil, "json"},
		{`{"orderId":"1","total":1,"status":"PAID"}`, "place", nil, "status"},
		{`{"orderId":"1","total":1,"currency":"Euro"}`, "place", nil, "currency"},
	} {
		in := foreign(c.value)
		if s := order.Stream(in); s != c.stream {
			t.Errorf("%s: stream %q, wanted %q", c.value, s, c.stream)
		}
		got := order.Decide(catalogue, order.Order{}, in)
		if c.want != nil {
			if d := cmp.Diff(framework.Append(c.want), got); d != "" {
				t.Errorf("%s: %s", c.value, d)
			}
			continue
		}
		if len(got.Events) > 0 || !strings.Contains(got.Aside, c.aside) {
			t.Errorf("%s: got %+v, wanted it put aside for %q", c.value, got, c.aside)
		}
	}
}

func TestIntakeOfAnOrderThatIsThere(t *testing.T) {
	in := event.Recorded{Topic: event.OrderEvents, Foreign: true, Value: []byte(`{"orderId":"1","total":5}`)}
	there := order.Order{Facts: order.Facts{Placed: true}, TotalMinor: 500, Currency: "EUR"}
	if got := order.Decide(catalogue, there, in); len(got.Events) > 0 || got.Aside != "" {
		t.Errorf("the same order again: %+v", got)
	}
	there.TotalMinor = 501
	if got := order.Decide(catalogue, there, in); len(got.Events) > 0 || !strings.Contains(got.Aside, "another total") {
		t.Errorf("another total: %+v", got)
	}
}

func TestIntakeElsewhere(t *testing.T) {
	in := event.Recorded{Topic: event.OrderCommands, Foreign: true, ID: "place", Value: []byte(`{"orderId":"1","total":5}`)}
	if got := order.Decide(catalogue, order.Order{}, in); !strings.Contains(got.Aside, "only /services/gateway writes order-commands") {
		t.Errorf("got %+v", got)
	}
	in = event.Recorded{Topic: event.OrderEvents, Foreign: true, Type: "order.placed", Source: "/services/evil", Value: []byte(`{"orderId":"1","total":5}`)}
	if got := order.Decide(catalogue, order.Order{}, in); !strings.Contains(got.Aside, "/services/evil") {
		t.Errorf("got %+v", got)
	}
	in = event.Recorded{Topic: event.PaymentEvents, Foreign: true, Value: []byte(`{"orderId":"1","total":5}`)}
	if s := order.Stream(in); s != "" {
		t.Errorf("a stranger's record of another topic concerns %q", s)
	}
}

func FuzzIntake(f *testing.F) {
	for _, seed := range []string{`{"orderId":"9827","total":129.00,"status":"CREATED"}`, `{"orderId":1,"total":"1"}`, `{"orderId":"1","total":1e-9}`, `[`, `{"total":{"a":1}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		in := event.Recorded{Topic: event.OrderEvents, Foreign: true, ID: "place", Value: value}
		got := order.Decide(catalogue, order.Order{}, in)
		if (got.Aside == "") == (len(got.Events) == 0) {
			t.Fatalf("%q: neither taken nor put aside, or both: %+v", value, got)
		}
		if len(got.Events) > 0 {
			placed := got.Events[0].(event.OrderPlaced)
			if !event.IsOrderID(placed.OrderID) || placed.OrderID != order.Stream(in) || placed.TotalMinor < 1 || placed.TotalMinor > event.MaxMinor {
				t.Fatalf("%q became %+v", value, placed)
			}
		}
	})
}
