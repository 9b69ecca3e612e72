package query_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/state"
)

func TestStatus(t *testing.T) {
	order := event.Recorded{Topic: event.OrderEvents, Data: event.OrderPlaced{OrderID: "1"}}
	submitted := event.Recorded{Topic: event.OrderCommands, Data: event.OrderSubmitted{OrderID: "1"}}
	rejected := event.Recorded{Topic: event.OrderEvents, Data: event.OrderRejected{OrderID: "1"}}
	payment := func(data event.Event) event.Recorded { return event.Recorded{Topic: event.PaymentEvents, Data: data} }
	stock := func(data event.Event) event.Recorded { return event.Recorded{Topic: event.InventoryEvents, Data: data} }
	shipment := func(data event.Event) event.Recorded {
		return event.Recorded{Topic: event.ShippingEvents, Data: data}
	}
	requested, captured := payment(event.PaymentRequested{}), payment(event.PaymentCaptured{})
	refund, refunded := payment(event.PaymentRefundRequested{}), payment(event.PaymentRefunded{})
	for name, c := range map[string]struct {
		want   string
		events []event.Recorded
	}{
		"nothing":                         {query.Submitted, nil},
		"submitted":                       {query.Submitted, []event.Recorded{submitted}},
		"rejected":                        {query.Rejected, []event.Recorded{submitted, rejected}},
		"placed":                          {query.Placed, []event.Recorded{submitted, order}},
		"requested":                       {query.AwaitingPayment, []event.Recorded{order, requested}},
		"declined":                        {query.Declined, []event.Recorded{order, requested, payment(event.PaymentDeclined{})}},
		"paid":                            {query.Paid, []event.Recorded{order, requested, captured}},
		"prepared":                        {query.Paid, []event.Recorded{order, requested, captured, shipment(event.ShipmentPrepared{})}},
		"reserved":                        {query.Confirmed, []event.Recorded{order, requested, captured, stock(event.StockReserved{})}},
		"shipped":                         {query.Shipped, []event.Recorded{order, requested, captured, stock(event.StockReserved{}), shipment(event.ShipmentDispatched{})}},
		"shipped and committed":           {query.Shipped, []event.Recorded{order, requested, captured, stock(event.StockReserved{}), shipment(event.ShipmentDispatched{}), stock(event.StockCommitted{})}},
		"dispatched, read before payment": {query.Shipped, []event.Recorded{order, shipment(event.ShipmentDispatched{}), requested}},
		"stock rejected":                  {query.Cancelling, []event.Recorded{order, requested, captured, stock(event.StockRejected{})}},
		"refund asked":                    {query.Cancelling, []event.Recorded{order, requested, captured, stock(event.StockRejected{}), refund}},
		"cancelled, refund open":          {query.Cancelling, []event.Recorded{order, requested, captured, refund, shipment(event.ShipmentCancelled{})}},
		"refunded":                        {query.Refunded, []event.Recorded{order, requested, captured, refund, refunded, shipment(event.ShipmentCancelled{})}},
		"cancelled before it was charged": {query.Cancelled, []event.Recorded{order, requested, refund, refunded, shipment(event.ShipmentCancelled{})}},
	} {
		t.Run(name, func(t *testing.T) {
			var d query.Document
			for _, e := range c.events {
				d.Apply(e)
			}
			if got := d.Status(); got != c.want {
				t.Errorf("got %s, wanted %s", got, c.want)
			}
		})
	}
}

// The digest does not depend on how the topics are mixed, only on the order within each.
func TestFoldInAnyInterleaving(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	tick := func() time.Time { at = at.Add(time.Second); return at }
	history := map[string][]event.Recorded{}
	add := func(topic, stream string, data event.Event) {
		version := int64(0)
		for _, e := range history[topic] {
			if e.Stream == stream {
				version++
			}
		}
		history[topic] = append(history[topic], event.Recorded{Topic: topic, Stream: stream, Version: version, Time: tick(), Type: data.EventType(), Data: data})
	}
	add(event.InventoryEvents, "wh-1", event.StockReceived{SKU: "A", Quantity: 2, Reference: "r"})
	for _, id := range []string{"1", "2", "3"} {
		if id != "3" { // the third came from outside
			add(event.OrderCommands, id, event.OrderSubmitted{OrderID: id, CustomerID: "c" + id, Currency: "EUR"})
		}
		add(event.OrderEvents, id, event.OrderPlaced{OrderID: id, CustomerID: "c" + id, TotalMinor: 5, Currency: "EUR"})
		add(event.PaymentEvents, id, event.PaymentRequested{OrderID: id, AmountMinor: 5})
		add(event.PaymentEvents, id, event.PaymentCaptured{OrderID: id, AmountMinor: 5})
		if id == "2" {
			add(event.InventoryEvents, "wh-1", event.StockRejected{OrderID: id})
			add(event.ShippingEvents, id, event.ShipmentCancelled{OrderID: id})
			add(event.PaymentEvents, id, event.PaymentRefundRequested{OrderID: id})
			add(event.PaymentEvents, id, event.PaymentRefunded{OrderID: id, AmountMinor: 5})
			continue
		}
		add(event.InventoryEvents, "wh-1", event.StockReserved{OrderID: id, Lines: []event.Item{{SKU: "A", Quantity: 1}}})
		add(event.ShippingEvents, id, event.ShipmentDispatched{OrderID: id})
		add(event.InventoryEvents, "wh-1", event.StockCommitted{OrderID: id, Lines: []event.Item{{SKU: "A", Quantity: 1}}})
		add(event.OrderEvents, id, event.OrderShipped{OrderID: id})
	}
	first := ""
	rapid.Check(t, func(rt *rapid.T) {
		database, err := state.Open(state.Config{FS: vfs.NewMem(), Dir: "query"})
		if err != nil {
			rt.Fatal(err)
		}
		defer database.Close()
		left := map[string][]event.Recorded{}
		var topics []string
		for _, topic := range event.Topics() {
			left[topic.Name] = history[topic.Name]
			topics = append(topics, topic.Name)
		}
		for len(topics) > 0 {
			i := rapid.IntRange(0, len(topics)-1).Draw(rt, "topic")
			if len(left[topics[i]]) == 0 {
				topics = append(topics[:i], topics[i+1:]...)
				continue
			}
			tx := database.Begin()
			if err := query.Fold(tx, left[topics[i]][0]); err != nil {
				rt.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				rt.Fatal(err)
			}
			left[topics[i]] = left[topics[i]][1:]
		}
		tx := database.Begin()
		defer tx.Discard()
		digest, err := tx.Digest()
		if err != nil {
			rt.Fatal(err)
		}
		if first == "" {
			first = digest.String()
		}
		if digest.String() != first {
			rt.Fatalf("digest %s, before %s", digest, first)
		}
	})
}

func TestView(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var d query.Document
	for _, e := range []event.Recorded{
		{Topic: event.OrderCommands, Time: at, Data: event.OrderSubmitted{CustomerID: "c", Currency: "EUR", Lines: []event.RequestedLine{{SKU: "A", Quantity: 2}}}},
		{Topic: event.OrderEvents, Time: at, Data: event.OrderPlaced{CustomerID: "c", Currency: "EUR", TotalMinor: 2000, Lines: []event.Line{{SKU: "A", Quantity: 2, UnitPriceMinor: 1000}}}},
		{Topic: event.PaymentEvents, Time: at, Data: event.PaymentRequested{AmountMinor: 2000}},
	} {
		d.Apply(e)
	}
	v := d.View("1", at.Add(time.Second))
	if v.Status != query.AwaitingPayment || v.Degraded || v.Total == nil || v.Total.Minor != 2000 || v.Lines[0].UnitPrice.Minor != 1000 || v.Version != 0 {
		t.Errorf("got %+v", v)
	}
	if v = d.View("1", at.Add(time.Minute)); !v.Degraded {
		t.Error("an order that waits for a minute is not degraded")
	}
	d.Apply(event.Recorded{Topic: event.PaymentEvents, Time: at, Data: event.PaymentDeclined{Code: "x"}})
	if v = d.View("1", at.Add(time.Minute)); v.Degraded || v.Reason != "payment declined: x" {
		t.Errorf("got %+v", v)
	}
}

func TestToken(t *testing.T) {
	token := query.Token{Topic: event.OrderCommands, Partition: 3, Offset: 17}
	if got, err := query.ParseToken(query.FormatToken(token)); err != nil || got != token {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "order-commands:1", "order-commands:1:x", "order-commands:-1:1", "order-commands:1:-1", "nobody:1:1", "order-commands:99999999999:1"} {
		if _, err := query.ParseToken(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
