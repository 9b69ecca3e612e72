package event_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stela-db/stela/services/event"
)

// The bytes of every event are a contract with everybody who reads our topics.
func TestEventsOnTheWire(t *testing.T) {
	line := event.Line{SKU: "A", Quantity: 2, UnitPriceMinor: 1000}
	item := event.Item{SKU: "A", Quantity: 2}
	price := int64(1000)
	for _, c := range []struct {
		topic, kind string
		event       event.Event
		json        string
	}{
		{
			event.OrderCommands, "order.submitted",
			event.OrderSubmitted{OrderID: "1", CustomerID: "c", Lines: []event.RequestedLine{{SKU: "A", Quantity: 2, UnitPriceMinor: &price}, {SKU: "B", Quantity: 1}}, Currency: "EUR", ShipTo: json.RawMessage(`{"city":"Bonn"}`), PaymentMethod: "card", RequestHash: "h"},
			`{"orderId":"1","customerId":"c","lines":[{"sku":"A","qty":2,"unitPriceMinor":1000},{"sku":"B","qty":1}],"currency":"EUR","shipTo":{"city":"Bonn"},"paymentMethod":"card","requestHash":"h"}`,
		},
		{event.OrderCommands, "order.cancel", event.OrderCancel{OrderID: "1", Reason: "r", By: "b"}, `{"orderId":"1","reason":"r","by":"b"}`},
		{
			event.OrderEvents, "order.placed",
			event.OrderPlaced{OrderID: "1", CustomerID: "c", Lines: []event.Line{line}, TotalMinor: 2000, Currency: "EUR"},
			`{"orderId":"1","customerId":"c","lines":[{"sku":"A","qty":2,"unitPriceMinor":1000}],"totalMinor":2000,"currency":"EUR"}`,
		},
		{event.OrderEvents, "order.rejected", event.OrderRejected{OrderID: "1", Code: "x"}, `{"orderId":"1","code":"x"}`},
		{event.OrderEvents, "order.cancel_requested", event.OrderCancelRequested{OrderID: "1"}, `{"orderId":"1"}`},
		{event.OrderEvents, "order.paid", event.OrderPaid{OrderID: "1", PaymentID: "1", AmountMinor: 5}, `{"orderId":"1","paymentId":"1","amountMinor":5}`},
		{event.OrderEvents, "order.declined", event.OrderDeclined{OrderID: "1", Code: "x"}, `{"orderId":"1","code":"x"}`},
		{event.OrderEvents, "order.stock_confirmed", event.OrderStockConfirmed{OrderID: "1", Warehouse: "wh-1"}, `{"orderId":"1","warehouse":"wh-1"}`},
		{
			event.OrderEvents, "order.stock_rejected",
			event.OrderStockRejected{OrderID: "1", Missing: []event.Shortage{{SKU: "A", Wanted: 2, Available: 1}}},
			`{"orderId":"1","missing":[{"sku":"A","wanted":2,"available":1}]}`,
		},
		{
			event.OrderEvents, "order.shipped",
			event.OrderShipped{OrderID: "1", ShipmentID: "s", TrackingNo: "t", CustomerID: "c", TotalMinor: 5},
			`{"orderId":"1","shipmentId":"s","trackingNo":"t","customerId":"c","totalMinor":5}`,
		},
		{event.OrderEvents, "order.cancelled", event.OrderCancelled{OrderID: "1", Reason: "r"}, `{"orderId":"1","reason":"r"}`},
		{event.OrderEvents, "order.cancel_refused", event.OrderCancelRefused{OrderID: "1"}, `{"orderId":"1"}`},
		{event.OrderEvents, "order.refunded", event.OrderRefunded{OrderID: "1", AmountMinor: 5}, `{"orderId":"1","amountMinor":5}`},
		{
			event.PaymentEvents, "payment.requested",
			event.PaymentRequested{OrderID: "1", PaymentID: "1", AmountMinor: 5, Currency: "EUR", Method: "card", Lines: []event.Line{line}},
			`{"orderId":"1","paymentId":"1","amountMinor":5,"currency":"EUR","method":"card","lines":[{"sku":"A","qty":2,"unitPriceMinor":1000}]}`,
		},
		{
			event.PaymentEvents, "payment.captured",
			event.PaymentCaptured{OrderID: "1", AmountMinor: 5, PSPRef: "p", Lines: []event.Line{line}},
			`{"orderId":"1","amountMinor":5,"pspRef":"p","lines":[{"sku":"A","qty":2,"unitPriceMinor":1000}]}`,
		},
		{event.PaymentEvents, "payment.declined", event.PaymentDeclined{OrderID: "1", Code: "x"}, `{"orderId":"1","code":"x"}`},
		{event.PaymentEvents, "payment.refund_requested", event.PaymentRefundRequested{OrderID: "1", Reason: "r"}, `{"orderId":"1","reason":"r"}`},
		{event.PaymentEvents, "payment.refunded", event.PaymentRefunded{OrderID: "1", AmountMinor: 5, PSPRef: "p"}, `{"orderId":"1","amountMinor":5,"pspRef":"p"}`},
		{event.InventoryEvents, "stock.received", event.StockReceived{SKU: "A", Quantity: 2, Reference: "r"}, `{"sku":"A","qty":2,"ref":"r"}`},
		{event.InventoryEvents, "stock.adjusted", event.StockAdjusted{SKU: "A", Delta: -2, Reason: "r"}, `{"sku":"A","delta":-2,"reason":"r"}`},
		{event.InventoryEvents, "stock.reserved", event.StockReserved{OrderID: "1", Lines: []event.Item{item}}, `{"orderId":"1","lines":[{"sku":"A","qty":2}]}`},
		{
			event.InventoryEvents, "stock.rejected",
			event.StockRejected{OrderID: "1", Missing: []event.Shortage{{SKU: "A", Wanted: 2}}},
			`{"orderId":"1","missing":[{"sku":"A","wanted":2,"available":0}]}`,
		},
		{event.InventoryEvents, "stock.released", event.StockReleased{OrderID: "1", Lines: []event.Item{item}}, `{"orderId":"1","lines":[{"sku":"A","qty":2}]}`},
		{event.InventoryEvents, "stock.committed", event.StockCommitted{OrderID: "1", Lines: []event.Item{item}}, `{"orderId":"1","lines":[{"sku":"A","qty":2}]}`},
		{event.InventoryEvents, "stock.cancelled", event.StockCancelled{OrderID: "1"}, `{"orderId":"1"}`},
		{event.ShippingEvents, "shipment.prepared", event.ShipmentPrepared{OrderID: "1", ShipmentID: "s"}, `{"orderId":"1","shipmentId":"s"}`},
		{
			event.ShippingEvents, "shipment.dispatched",
			event.ShipmentDispatched{OrderID: "1", ShipmentID: "s", Carrier: "p", TrackingNo: "t"},
			`{"orderId":"1","shipmentId":"s","carrier":"p","trackingNo":"t"}`,
		},
		{event.ShippingEvents, "shipment.cancelled", event.ShipmentCancelled{OrderID: "1", Reason: "r"}, `{"orderId":"1","reason":"r"}`},
		{event.ShippingEvents, "shipment.cancel_refused", event.ShipmentCancelRefused{OrderID: "1"}, `{"orderId":"1"}`},
	} {
		t.Run(c.kind, func(t *testing.T) {
			if c.event.EventType() != c.kind {
				t.Errorf("type %s", c.event.EventType())
			}
			got, err := json.Marshal(c.event)
			if err != nil || string(got) != c.json {
				t.Errorf("got  %s, %v\nwant %s", got, err, c.json)
			}
			r := event.Recorded{Topic: c.topic}
			if err := r.Decode(headers(map[string]string{"ce_id": "i", "ce_type": c.kind, "ce_source": event.Source(event.Writer(c.topic)), "ce_time": "2026-11-22T10:00:00Z"}), got); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(r.Data)
			if err != nil || string(again) != c.json {
				t.Errorf("read and written again: %s, %v", again, err)
			}
		})
	}
}

func headers(of map[string]string) event.Headers {
	return func(name string) ([]byte, bool) {
		value, ok := of[name]
		return []byte(value), ok
	}
}

func TestDecode(t *testing.T) {
	whole := map[string]string{
		"ce_id": "i", "ce_type": "order.paid", "ce_source": "/services/order", "ce_time": "2026-11-22T10:00:00.5+01:00",
		"ce_correlationid": "co", "ce_causationid": "ca", "ce_traceparent": "tp",
	}
	with := func(name, value string) map[string]string {
		m := map[string]string{}
		maps.Copy(m, whole)
		m[name] = value
		return m
	}
	for name, c := range map[string]struct {
		headers map[string]string
		value   string
		foreign bool
		known   bool
		bad     bool
	}{
		"whole":                       {whole, `{"orderId":"1"}`, false, true, false},
		"unknown field":               {whole, `{"orderId":"1","new":1}`, false, true, false},
		"no headers":                  {nil, `{"orderId":"1"}`, true, false, false},
		"another source":              {with("ce_source", "/services/payment"), `{}`, true, false, false},
		"another source and no event": {with("ce_source", "x"), `no json`, true, false, false},
		"unknown type":                {with("ce_type", "order.sent_to_the_moon"), `{}`, false, false, false},
		"no id":                       {with("ce_id", ""), `{}`, false, false, true},
		"no type":                     {with("ce_type", ""), `{}`, false, false, true},
		"no time":                     {with("ce_time", ""), `{}`, false, false, true},
		"no json":                     {whole, `{`, false, false, true},
		"wrong json":                  {whole, `{"amountMinor":"five"}`, false, false, true},
		"a fraction":                  {whole, `{"amountMinor":1.5}`, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := event.Recorded{Topic: event.OrderEvents, Partition: 1, Offset: 7}
			err := r.Decode(headers(c.headers), []byte(c.value))
			if (err != nil) != c.bad || r.Foreign != c.foreign || (r.Data != nil) != c.known {
				t.Errorf("error %v, foreign %v, data %v", err, r.Foreign, r.Data)
			}
			if err != nil && (!errors.Is(err, event.ErrUnreadable) || !strings.Contains(err.Error(), "order-events partition 1 offset 7")) {
				t.Errorf("error %v", err)
			}
			if c.foreign && r.ID != event.ForeignID(event.OrderEvents, 1, 7) {
				t.Errorf("id %s", r.ID)
			}
			if c.known && (r.ID != "i" || r.Correlation != "co" || r.Causation != "ca" || r.TraceParent != "tp" ||
				!r.Time.Equal(time.Date(2026, 11, 22, 9, 0, 0, 5e8, time.UTC)) || r.Time.Location() != time.UTC) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// Ids are in logs that live for ever: what made one today must make the same one in years.
func TestIdentity(t *testing.T) {
	for want, got := range map[string]string{
		"1f6a7565-d72d-5fbf-9e0e-317c9e59f319": event.ID("order", "cause", 0),
	} {
		if got != want {
			t.Errorf("got %s, wanted %s", got, want)
		}
	}
	seen := map[string]string{}
	for name, id := range map[string]string{
		"order cause 0": event.ID("order", "cause", 0), "order cause 1": event.ID("order", "cause", 1),
		"payment cause 0": event.ID("payment", "cause", 0), "order cause1 0": event.ID("order", "cause1", 0),
		"step": event.StepID("payment", "payment.captured", "1"), "order id": event.OrderID("cause", "0"),
		"shifted": event.OrderID("caus", "e0"), "foreign": event.ForeignID("order-events", 1, 2), "foreign 12": event.ForeignID("order-events", 12, 0),
	} {
		if other, taken := seen[id]; taken {
			t.Errorf("%s and %s have the id %s", name, other, id)
		}
		seen[id] = name
	}
}

func TestIsOrderID(t *testing.T) {
	for id, want := range map[string]bool{
		"9827": true, "a.B-c_9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a/b": false, "ä": false, "1\n": false,
	} {
		if event.IsOrderID(id) != want {
			t.Errorf("%q: wanted %v", id, want)
		}
	}
}
