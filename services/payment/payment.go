// Package payment owns payment-events: what is to be charged or given back, and what
// came of it.
//
// It knows the rules of a payment and that a provider (PSP) can charge and void by key.
// It does not know the provider's protocol, which services/psp has, nor anything of
// orders beyond what their events say.
//
// The provider is called only for what an event already asks for: payment.requested
// leads to charge, payment.refund_requested to void, and both bring the order's id as
// their key, so that a call may be repeated. void gives back what was charged, and makes
// sure that nothing will be when nothing was; that settles the race between a charge
// under way and a refund.
//
// State: table "payment", a row per order; table "pending", a row per call to make.
// Everything but the calls is pure.
package payment

import (
	"context"
	"fmt"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
)

// A Payment is the row of one order's payment.
type Payment struct {
	Requested       bool         `json:"requested,omitempty"`
	Captured        bool         `json:"captured,omitempty"`
	Declined        bool         `json:"declined,omitempty"`
	RefundRequested bool         `json:"refundRequested,omitempty"`
	Refunded        bool         `json:"refunded,omitempty"`
	AmountMinor     int64        `json:"amountMinor"`
	RefundedMinor   int64        `json:"refundedMinor,omitempty"`
	Currency        string       `json:"currency,omitempty"`
	Method          string       `json:"method,omitempty"`
	PSPRef          string       `json:"pspRef,omitempty"`
	Lines           []event.Line `json:"lines,omitempty"`
}

// What is to be done at the provider.
const (
	ActionCharge = "charge"
	ActionVoid   = "void"
)

// Pending is a call that an event asks for and that has no outcome yet.
type Pending struct {
	Action      string `json:"action"`
	AmountMinor int64  `json:"amountMinor,omitempty"`
	Currency    string `json:"currency,omitempty"`
	Method      string `json:"method,omitempty"`
	Cause       string `json:"cause"` // the event that asks
	Correlation string `json:"correlation"`
	TraceParent string `json:"traceParent,omitempty"`
}

var (
	payments = state.NewTable[Payment]("payment")
	pending  = state.NewTable[Pending]("pending")
)

// Get returns an order's payment.
func Get(tx *state.Tx, order string) (Payment, bool) { return payments.Get(tx, order) }

// Charged, Refused and Voided are the outcomes of calls; Decide turns them into events.
type (
	// Charged says that the provider has charged, now or before.
	Charged struct {
		AmountMinor int64
		Reference   string
	}
	// Refused says that the provider will not charge.
	Refused struct{ Code string }
	// Voided says that the provider gave back AmountMinor (0: it had never charged) and
	// will not charge for this key any more.
	Voided struct {
		AmountMinor int64
		Reference   string
	}
)

// EventType implements event.Event.
func (Charged) EventType() string { return "psp.charged" }

// EventType implements event.Event.
func (Refused) EventType() string { return "psp.refused" }

// EventType implements event.Event.
func (Voided) EventType() string { return "psp.voided" }

// A Provider charges and voids; key makes a repetition harmless. Its error says that
// nothing is known.
type Provider struct {
	Charge func(ctx context.Context, key string, p Pending) (event.Event, error) // Charged or Refused
	Void   func(ctx context.Context, key string) (event.Event, error)            // Voided
}

// Definition returns the service for a provider. Without one it can fold and decide, not call.
func Definition(provider Provider) framework.Definition {
	definition := framework.Definition{
		Name:   event.Payment,
		Topic:  event.PaymentEvents,
		Inputs: []string{event.OrderEvents, event.InventoryEvents, event.ShippingEvents},
		Fold:   fold,
		Stream: Stream,
		Decide: func(tx *state.Tx, in event.Recorded) framework.Decision {
			row, _ := payments.Get(tx, Stream(in))
			return Decide(row, in)
		},
	}
	if provider.Charge != nil {
		definition.Effects = []framework.Effect{{Name: "psp", Pending: intents, Call: provider.call}}
	}
	return definition
}

func (p Provider) call(ctx context.Context, intent framework.Intent) (event.Event, error) {
	row, ok := intent.Row.(Pending)
	if !ok {
		panic("BUG: payment: intent without a pending row")
	}
	if row.Action == ActionVoid {
		return p.Void(ctx, intent.Stream)
	}
	return p.Charge(ctx, intent.Stream, row)
}

// intents lists the calls to make.
func intents(tx *state.Tx, after string, limit int) []framework.Intent {
	var list []framework.Intent
	rows := pending.Scan(tx)
	if after != "" {
		rows = pending.ScanAfter(tx, nil, []string{after})
	}
	for key, row := range rows {
		if len(list) == limit {
			break
		}
		list = append(list, framework.Intent{
			Stream: key[0], Row: row,
			Cause: event.Recorded{ID: row.Cause, Correlation: row.Correlation, TraceParent: row.TraceParent},
		})
	}
	return list
}

// Stream returns the order that an input is about.
func Stream(in event.Recorded) string {
	switch e := in.Data.(type) {
	case event.OrderPlaced:
		return e.OrderID
	case event.StockRejected:
		return e.OrderID
	case event.ShipmentCancelled:
		return e.OrderID
	case Charged, Refused, Voided:
		return in.Stream
	}
	return ""
}

// Decide returns what an input leads to.
func Decide(p Payment, in event.Recorded) framework.Decision {
	switch e := in.Data.(type) {
	case event.OrderPlaced:
		if p.Requested || p.RefundRequested {
			return framework.Nothing()
		}
		return framework.Append(event.PaymentRequested{
			OrderID: e.OrderID, PaymentID: e.OrderID, AmountMinor: e.TotalMinor, Currency: e.Currency, Method: e.PaymentMethod, Lines: e.Lines,
		})
	case event.StockRejected:
		return refund(p, e.OrderID, in.Type)
	case event.ShipmentCancelled:
		return refund(p, e.OrderID, in.Type)
	case Charged:
		// While a refund is wanted the charge is not recorded: void gives it back.
		if p.Captured || p.Declined || p.RefundRequested {
			return framework.Nothing()
		}
		return framework.Append(event.PaymentCaptured{OrderID: in.Stream, AmountMinor: e.AmountMinor, PSPRef: e.Reference, Lines: p.Lines})
	case Refused:
		if p.Captured || p.Declined || p.RefundRequested {
			return framework.Nothing()
		}
		return framework.Append(event.PaymentDeclined{OrderID: in.Stream, Code: e.Code})
	case Voided:
		if p.Refunded {
			return framework.Nothing()
		}
		return framework.Append(event.PaymentRefunded{OrderID: in.Stream, AmountMinor: e.AmountMinor, PSPRef: e.Reference})
	}
	return framework.Nothing()
}

// refund asks for the money back, also when nothing was charged yet: the event remembers
// that nothing may be.
func refund(p Payment, order, reason string) framework.Decision {
	if p.RefundRequested || p.Declined {
		return framework.Nothing()
	}
	return framework.Append(event.PaymentRefundRequested{OrderID: order, Reason: reason})
}

func fold(tx *state.Tx, e event.Recorded) error {
	row, _ := payments.Get(tx, e.Stream)
	row, err := Fold(row, e.Data)
	if err != nil {
		return err
	}
	payments.Put(tx, row, e.Stream)
	call := Pending{Cause: e.ID, Correlation: e.Correlation, TraceParent: e.TraceParent}
	switch {
	case row.RefundRequested && !row.Refunded:
		if _, refund := e.Data.(event.PaymentRefundRequested); refund {
			call.Action = ActionVoid
			pending.Put(tx, call, e.Stream)
		}
	case row.Requested && !row.Captured && !row.Declined && !row.Refunded:
		if _, request := e.Data.(event.PaymentRequested); request {
			call.Action, call.AmountMinor, call.Currency, call.Method = ActionCharge, row.AmountMinor, row.Currency, row.Method
			pending.Put(tx, call, e.Stream)
		}
	default:
		pending.Delete(tx, e.Stream)
	}
	return nil
}

// Fold returns the payment after an event of its stream.
func Fold(p Payment, data event.Event) (Payment, error) {
	switch e := data.(type) {
	case event.PaymentRequested:
		p.Requested = true
		p.AmountMinor, p.Currency, p.Method, p.Lines = e.AmountMinor, e.Currency, e.Method, e.Lines
	case event.PaymentCaptured:
		p.Captured, p.PSPRef = true, e.PSPRef
	case event.PaymentDeclined:
		p.Declined = true
	case event.PaymentRefundRequested:
		p.RefundRequested = true
	case event.PaymentRefunded:
		p.Refunded, p.RefundedMinor = true, e.AmountMinor
	default:
		return p, fmt.Errorf("%s is no event of a payment", data.EventType())
	}
	return p, nil
}

// Pendings returns the calls to make, in the order of streams.
func Pendings(tx *state.Tx) []Pending {
	var list []Pending
	for _, row := range pending.Scan(tx) {
		list = append(list, row)
	}
	return list
}
