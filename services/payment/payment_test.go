package payment_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/payment"
	"github.com/stela-db/stela/services/state"
)

var (
	lines     = []event.Line{{SKU: "A", Quantity: 2, UnitPriceMinor: 1000}}
	requested = payment.Payment{Requested: true, AmountMinor: 2000, Currency: "EUR", Method: "card", Lines: lines}
)

func given(change func(*payment.Payment)) payment.Payment {
	p := requested
	change(&p)
	return p
}

func TestDecide(t *testing.T) {
	captured := given(func(p *payment.Payment) { p.Captured = true })
	declined := given(func(p *payment.Payment) { p.Declined = true })
	wanted := given(func(p *payment.Payment) { p.RefundRequested = true })
	refunded := given(func(p *payment.Payment) { p.RefundRequested, p.Refunded = true, true })
	remembered := payment.Payment{RefundRequested: true}

	placed := event.Recorded{Data: event.OrderPlaced{OrderID: "1", TotalMinor: 2000, Currency: "EUR", PaymentMethod: "card", Lines: lines}}
	rejected := event.Recorded{Type: "stock.rejected", Data: event.StockRejected{OrderID: "1"}}
	cancelled := event.Recorded{Type: "shipment.cancelled", Data: event.ShipmentCancelled{OrderID: "1"}}
	charged := event.Recorded{Stream: "1", Data: payment.Charged{AmountMinor: 2000, Reference: "r"}}
	refused := event.Recorded{Stream: "1", Data: payment.Refused{Code: "x"}}
	voided := event.Recorded{Stream: "1", Data: payment.Voided{AmountMinor: 2000, Reference: "r"}}

	for name, c := range map[string]struct {
		payment payment.Payment
		in      event.Recorded
		want    event.Event
	}{
		"placed":                          {payment.Payment{}, placed, event.PaymentRequested{OrderID: "1", PaymentID: "1", AmountMinor: 2000, Currency: "EUR", Method: "card", Lines: lines}},
		"placed again":                    {requested, placed, nil},
		"placed after a refund was asked": {remembered, placed, nil},
		"charged":                         {requested, charged, event.PaymentCaptured{OrderID: "1", AmountMinor: 2000, PSPRef: "r", Lines: lines}},
		"charged again":                   {captured, charged, nil},
		"charged while a refund is asked": {wanted, charged, nil},
		"refused":                         {requested, refused, event.PaymentDeclined{OrderID: "1", Code: "x"}},
		"refused again":                   {declined, refused, nil},
		"refused after charged":           {captured, refused, nil},
		"stock rejected":                  {captured, rejected, event.PaymentRefundRequested{OrderID: "1", Reason: "stock.rejected"}},
		"shipment cancelled":              {captured, cancelled, event.PaymentRefundRequested{OrderID: "1", Reason: "shipment.cancelled"}},
		"cancelled before it was charged": {requested, cancelled, event.PaymentRefundRequested{OrderID: "1", Reason: "shipment.cancelled"}},
		"cancelled before it was asked":   {payment.Payment{}, cancelled, event.PaymentRefundRequested{OrderID: "1", Reason: "shipment.cancelled"}},
		"cancelled twice":                 {wanted, rejected, nil},
		"cancelled after declined":        {declined, cancelled, nil},
		"voided":                          {wanted, voided, event.PaymentRefunded{OrderID: "1", AmountMinor: 2000, PSPRef: "r"}},
		"voided again":                    {refunded, voided, nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := framework.Nothing()
			if c.want != nil {
				want = framework.Append(c.want)
			}
			if d := cmp.Diff(want, payment.Decide(c.payment, c.in)); d != "" {
				t.Error(d)
			}
			if payment.Stream(c.in) != "1" {
				t.Errorf("stream %q", payment.Stream(c.in))
			}
		})
	}
}

// What is pending at the provider follows from the events alone.
func TestPending(t *testing.T) {
	steps := func(data ...event.Event) string {
		definition := payment.Definition(payment.Provider{})
		database, err := state.Open(state.Config{FS: vfs.NewMem(), Dir: "payment"})
		if err != nil {
			t.Fatal(err)
		}
		defer database.Close()
		tx := database.Begin()
		defer tx.Discard()
		for i, d := range data {
			if err := definition.Fold(tx, event.Recorded{Stream: "1", Version: int64(i), ID: d.EventType(), Correlation: "c", Data: d}); err != nil {
				t.Fatal(err)
			}
		}
		list := payment.Pendings(tx)
		if len(list) == 0 {
			return ""
		}
		return list[0].Action + " for " + list[0].Cause
	}
	request := event.PaymentRequested{OrderID: "1", AmountMinor: 2000, Currency: "EUR"}
	refund := event.PaymentRefundRequested{OrderID: "1"}
	for _, c := range []struct {
		want   string
		events []event.Event
	}{
		{"charge for payment.requested", []event.Event{request}},
		{"", []event.Event{request, event.PaymentCaptured{OrderID: "1"}}},
		{"", []event.Event{request, event.PaymentDeclined{OrderID: "1"}}},
		{"void for payment.refund_requested", []event.Event{request, refund}},
		{"void for payment.refund_requested", []event.Event{request, event.PaymentCaptured{OrderID: "1"}, refund}},
		{"void for payment.refund_requested", []event.Event{refund}},
		{"", []event.Event{refund, event.PaymentRefunded{OrderID: "1"}}},
		{"", []event.Event{request, event.PaymentCaptured{OrderID: "1"}, refund, event.PaymentRefunded{OrderID: "1"}}},
	} {
		if got := steps(c.events...); got != c.want {
			t.Errorf("%v: pending %q, wanted %q", c.events, got, c.want)
		}
	}
}
