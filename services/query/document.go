package query

import (
	"time"

	"github.com/stela-db/stela/services/event"
)

// The states of an order, as everybody sees it.
const (
	Submitted       = "SUBMITTED"
	Rejected        = "REJECTED"
	Placed          = "PLACED"
	AwaitingPayment = "AWAITING_PAYMENT"
	Declined        = "DECLINED"
	Paid            = "PAID"
	Confirmed       = "CONFIRMED"
	Shipped         = "SHIPPED"
	Cancelling      = "CANCELLING"
	Cancelled       = "CANCELLED"
	Refunded        = "REFUNDED"
)

// Statuses returns all states, in the order in which an order may come to them.
func Statuses() []string {
	return []string{Submitted, Rejected, Placed, AwaitingPayment, Declined, Paid, Confirmed, Shipped, Cancelling, Cancelled, Refunded}
}

// IsFinal reports whether nothing follows from a state by itself.
func IsFinal(status string) bool {
	switch status {
	case Rejected, Declined, Shipped, Cancelled, Refunded:
		return true
	}
	return false
}

// A Document is what is known of one order. Each part is folded from one topic and from
// nothing else, so that it does not matter in which order the topics are read.
type Document struct {
	Command  *Command  `json:"command,omitempty"`
	Order    *Order    `json:"order,omitempty"`
	Payment  *Payment  `json:"payment,omitempty"`
	Stock    *Stock    `json:"stock,omitempty"`
	Shipment *Shipment `json:"shipment,omitempty"`
}

// Command is the part from order-commands.
type Command struct {
	CustomerID string                `json:"customerId"`
	Lines      []event.RequestedLine `json:"lines"`
	Currency   string                `json:"currency"`
	At         time.Time             `json:"at"`
}

// Order is the part from order-events.
type Order struct {
	Placed     bool         `json:"placed,omitempty"`
	Rejected   bool         `json:"rejected,omitempty"`
	Code       string       `json:"code,omitempty"`
	Detail     string       `json:"detail,omitempty"`
	CustomerID string       `json:"customerId,omitempty"`
	Lines      []event.Line `json:"lines,omitempty"`
	TotalMinor int64        `json:"totalMinor"`
	Currency   string       `json:"currency,omitempty"`
	Version    int64        `json:"version"`
	First      time.Time    `json:"first"`
	Last       time.Time    `json:"last"`
}

// Payment is the part from payment-events.
type Payment struct {
	Requested       bool      `json:"requested,omitempty"`
	Captured        bool      `json:"captured,omitempty"`
	Declined        bool      `json:"declined,omitempty"`
	RefundRequested bool      `json:"refundRequested,omitempty"`
	Refunded        bool      `json:"refunded,omitempty"`
	Code            string    `json:"code,omitempty"`
	AmountMinor     int64     `json:"amountMinor"`
	RefundedMinor   int64     `json:"refundedMinor,omitempty"`
	Reference       string    `json:"pspRef,omitempty"`
	Last            time.Time `json:"last"`
}

// Stock is the part from inventory-events.
type Stock struct {
	State     string           `json:"state"` // reserved, rejected, released, committed, cancelled
	Warehouse string           `json:"warehouse"`
	Missing   []event.Shortage `json:"missing,omitempty"`
	Last      time.Time        `json:"last"`
}

// Shipment is the part from shipping-events.
type Shipment struct {
	State      string    `json:"state"` // prepared, dispatched, cancelled
	ShipmentID string    `json:"shipmentId,omitempty"`
	Carrier    string    `json:"carrier,omitempty"`
	TrackingNo string    `json:"trackingNo,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Last       time.Time `json:"last"`
}

// copy returns a document whose parts are its own.
func (d Document) copy() Document {
	return Document{Command: clone(d.Command), Order: clone(d.Order), Payment: clone(d.Payment), Stock: clone(d.Stock), Shipment: clone(d.Shipment)}
}

func clone[T any](part *T) *T {
	if part == nil {
		return nil
	}
	c := *part
	return &c
}

// Apply changes the part that belongs to the event's topic.
func (d *Document) Apply(e event.Recorded) {
	switch e.Topic {
	case event.OrderCommands:
		if s, ok := e.Data.(event.OrderSubmitted); ok && d.Command == nil {
			d.Command = &Command{CustomerID: s.CustomerID, Lines: s.Lines, Currency: s.Currency, At: e.Time}
		}
	case event.OrderEvents:
		d.applyOrder(e)
	case event.PaymentEvents:
		d.applyPayment(e)
	case event.InventoryEvents:
		d.applyStock(e)
	case event.ShippingEvents:
		d.applyShipment(e)
	}
}

func (d *Document) applyOrder(e event.Recorded) {
	if d.Order == nil {
		d.Order = &Order{First: e.Time}
	}
	o := d.Order
	o.Version, o.Last = e.Version, e.Time
	switch data := e.Data.(type) {
	case event.OrderPlaced:
		o.Placed = true
		o.CustomerID, o.Lines, o.TotalMinor, o.Currency = data.CustomerID, data.Lines, data.TotalMinor, data.Currency
	case event.OrderRejected:
		o.Rejected, o.Code, o.Detail = true, data.Code, data.Detail
	}
}

func (d *Document) applyPayment(e event.Recorded) {
	if d.Payment == nil {
		d.Payment = &Payment{}
	}
	p := d.Payment
	p.Last = e.Time
	switch data := e.Data.(type) {
	case event.PaymentRequested:
		p.Requested, p.AmountMinor = true, data.AmountMinor
	case event.PaymentCaptured:
		p.Captured, p.Reference = true, data.PSPRef
	case event.PaymentDeclined:
		p.Declined, p.Code = true, data.Code
	case event.PaymentRefundRequested:
		p.RefundRequested = true
	case event.PaymentRefunded:
		p.Refunded, p.RefundedMinor = true, data.AmountMinor
	}
}

func (d *Document) applyStock(e event.Recorded) {
	next := Stock{Warehouse: e.Stream, Last: e.Time}
	switch data := e.Data.(type) {
	case event.StockReserved:
		next.State = "reserved"
	case event.StockRejected:
		next.State, next.Missing = "rejected", data.Missing
	case event.StockReleased:
		next.State = "released"
	case event.StockCommitted:
		next.State = "committed"
	case event.StockCancelled:
		next.State = "cancelled"
	default:
		return
	}
	d.Stock = &next
}

func (d *Document) applyShipment(e event.Recorded) {
	if d.Shipment == nil {
		d.Shipment = &Shipment{}
	}
	s := d.Shipment
	s.Last = e.Time
	switch data := e.Data.(type) {
	case event.ShipmentPrepared:
		s.State, s.ShipmentID = "prepared", data.ShipmentID
	case event.ShipmentDispatched:
		s.State, s.ShipmentID, s.Carrier, s.TrackingNo = "dispatched", data.ShipmentID, data.Carrier, data.TrackingNo
	case event.ShipmentCancelled:
		s.State, s.Reason = "cancelled", data.Reason
	}
}

// Status returns the state that the parts amount to. It is a function of the parts, so
// it never goes back because a topic was read late.
func (d *Document) Status() string {
	var (
		order    Order
		payment  Payment
		stock    Stock
		shipment Shipment
	)
	if d.Order != nil {
		order = *d.Order
	}
	if d.Payment != nil {
		payment = *d.Payment
	}
	if d.Stock != nil {
		stock = *d.Stock
	}
	if d.Shipment != nil {
		shipment = *d.Shipment
	}
	switch {
	case shipment.State == "dispatched":
		return Shipped
	case payment.Refunded && payment.Captured:
		return Refunded
	case order.Rejected:
		return Rejected
	case payment.Declined:
		return Declined
	case shipment.State == "cancelled" || payment.RefundRequested || stock.State == "rejected":
		if payment.Refunded {
			return Cancelled
		}
		return Cancelling
	case stock.State == "reserved" || stock.State == "committed":
		return Confirmed
	case payment.Captured:
		return Paid
	case payment.Requested:
		return AwaitingPayment
	case order.Placed:
		return Placed
	default:
		return Submitted
	}
}

// CustomerID returns who ordered, "" while nobody knows.
func (d *Document) CustomerID() string {
	switch {
	case d.Command != nil:
		return d.Command.CustomerID
	case d.Order != nil:
		return d.Order.CustomerID
	}
	return ""
}

// Begun returns when the order began: when it was submitted, or placed from outside.
// Zero while neither is known.
func (d *Document) Begun() time.Time {
	switch {
	case d.Command != nil:
		return d.Command.At
	case d.Order != nil:
		return d.Order.First
	}
	return time.Time{}
}

// Touched returns when something last happened.
func (d *Document) Touched() time.Time {
	var last time.Time
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	if d.Command != nil {
		later(d.Command.At)
	}
	if d.Order != nil {
		later(d.Order.Last)
	}
	if d.Payment != nil {
		later(d.Payment.Last)
	}
	if d.Stock != nil {
		later(d.Stock.Last)
	}
	if d.Shipment != nil {
		later(d.Shipment.Last)
	}
	return last
}
