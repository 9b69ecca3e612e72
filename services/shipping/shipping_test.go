package shipping_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/shipping"
)

func TestDecide(t *testing.T) {
	prepared := event.ShipmentPrepared{OrderID: "1", ShipmentID: "shp-1"}
	dispatched := event.ShipmentDispatched{OrderID: "1", ShipmentID: "shp-1", Carrier: "stela-post", TrackingNo: "SP045184534073"}
	captured := event.Recorded{Data: event.PaymentCaptured{OrderID: "1"}}
	reserved := event.Recorded{Data: event.StockReserved{OrderID: "1"}}
	rejected := event.Recorded{Type: "stock.rejected", Data: event.StockRejected{OrderID: "1"}}
	cancel := event.Recorded{Type: "order.cancel_requested", Data: event.OrderCancelRequested{OrderID: "1"}}
	is := func(change func(*shipping.Shipment)) shipping.Shipment {
		var s shipping.Shipment
		change(&s)
		return s
	}
	ready := is(func(s *shipping.Shipment) { s.Prepared = true })
	gone := is(func(s *shipping.Shipment) { s.Prepared, s.Dispatched = true, true })
	off := is(func(s *shipping.Shipment) { s.Cancelled = true })
	refused := is(func(s *shipping.Shipment) { s.Prepared, s.Dispatched, s.CancelRefused = true, true, true })
	for name, c := range map[string]struct {
		shipment shipping.Shipment
		in       event.Recorded
		want     []event.Event
	}{
		"paid":                       {shipping.Shipment{}, captured, []event.Event{prepared}},
		"paid again":                 {ready, captured, nil},
		"paid after it left":         {gone, captured, nil},
		"paid after cancelled":       {off, captured, nil},
		"reserved":                   {ready, reserved, []event.Event{dispatched}},
		"reserved before paid":       {shipping.Shipment{}, reserved, []event.Event{prepared, dispatched}},
		"reserved again":             {gone, reserved, nil},
		"reserved after cancelled":   {off, reserved, nil},
		"rejected":                   {ready, rejected, []event.Event{event.ShipmentCancelled{OrderID: "1", Reason: "stock.rejected"}}},
		"rejected before paid":       {shipping.Shipment{}, rejected, []event.Event{event.ShipmentCancelled{OrderID: "1", Reason: "stock.rejected"}}},
		"rejected again":             {off, rejected, nil},
		"cancel":                     {ready, cancel, []event.Event{event.ShipmentCancelled{OrderID: "1", Reason: "order.cancel_requested"}}},
		"cancel before anything":     {shipping.Shipment{}, cancel, []event.Event{event.ShipmentCancelled{OrderID: "1", Reason: "order.cancel_requested"}}},
		"cancel when it has left":    {gone, cancel, []event.Event{event.ShipmentCancelRefused{OrderID: "1"}}},
		"cancel again":               {off, cancel, nil},
		"cancel again when refused":  {refused, cancel, nil},
		"another service's business": {ready, event.Recorded{Data: event.OrderPaid{OrderID: "1"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(framework.Append(c.want...), shipping.Decide(c.shipment, c.in)); d != "" {
				t.Error(d)
			}
			after := c.shipment
			for _, e := range c.want {
				var err error
				if after, err = shipping.Fold(after, e); err != nil {
					t.Fatal(err)
				}
			}
			if again := shipping.Decide(after, c.in); len(again.Events) > 0 {
				t.Errorf("again: %+v", again.Events)
			}
		})
	}
}
