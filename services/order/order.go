// Package order owns order-events: whether an order stands, at which price, and which
// of the things that happen to it elsewhere have happened.
//
// It knows the rules of an order and the price list. It does not know how the others
// charge, reserve or ship; their events come as inputs, in any order, each of which
// becomes one fact of the order at most once.
//
// Records of order-events that another program wrote (no event headers, or another
// source) are orders from outside: see Intake.
//
// State: table "order", a row per order id. Everything here is pure; services/framework
// runs it.
package order

import (
	"encoding/json"
	"fmt"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
)

// Limits of an order.
const (
	MaxLines    = 100
	MaxQuantity = 1000
)

// The codes of order.rejected.
const (
	CodeNoLines      = "no_lines"
	CodeTooManyLines = "too_many_lines"
	CodeQuantity     = "quantity"
	CodeUnknownSKU   = "unknown_sku"
	CodePrice        = "price_changed"
	CodeCurrency     = "currency"
	CodeTotal        = "total_too_large"
)

// A Catalogue is the price list. It is configuration: what it said goes into
// order.placed, so that no fold ever asks it.
type Catalogue struct {
	Currency string
	Prices   map[string]int64 // article → minor units
}

// Facts are what has happened to an order.
type Facts struct {
	Placed          bool `json:"placed,omitempty"`
	Rejected        bool `json:"rejected,omitempty"`
	CancelRequested bool `json:"cancelRequested,omitempty"`
	CancelRefused   bool `json:"cancelRefused,omitempty"`
	Cancelled       bool `json:"cancelled,omitempty"`
	Paid            bool `json:"paid,omitempty"`
	Declined        bool `json:"declined,omitempty"`
	Refunded        bool `json:"refunded,omitempty"`
	StockConfirmed  bool `json:"stockConfirmed,omitempty"`
	StockRejected   bool `json:"stockRejected,omitempty"`
	Shipped         bool `json:"shipped,omitempty"`
}

// An Order is the row of one order.
type Order struct {
	Facts         Facts           `json:"facts"`
	CustomerID    string          `json:"customerId,omitempty"`
	Lines         []event.Line    `json:"lines,omitempty"`
	TotalMinor    int64           `json:"totalMinor"`
	Currency      string          `json:"currency,omitempty"`
	ShipTo        json.RawMessage `json:"shipTo,omitempty"`
	PaymentMethod string          `json:"paymentMethod,omitempty"`
}

var orders = state.NewTable[Order]("order")

// Get returns an order's row.
func Get(tx *state.Tx, id string) (Order, bool) { return orders.Get(tx, id) }

// Definition returns the service for a price list.
func Definition(catalogue Catalogue) framework.Definition {
	return framework.Definition{
		Name:  event.Order,
		Topic: event.OrderEvents,
		// order-events is an input too: for what others write there.
		Inputs: []string{event.OrderCommands, event.OrderEvents, event.PaymentEvents, event.InventoryEvents, event.ShippingEvents},
		Fold: func(tx *state.Tx, e event.Recorded) error {
			row, _ := orders.Get(tx, e.Stream)
			row, err := Fold(row, e.Data)
			if err == nil {
				orders.Put(tx, row, e.Stream)
			}
			return err
		},
		Stream: Stream,
		Decide: func(tx *state.Tx, in event.Recorded) framework.Decision {
			row, _ := orders.Get(tx, Stream(in))
			return Decide(catalogue, row, in)
		},
	}
}

// Stream returns the order that an input is about.
func Stream(in event.Recorded) string {
	if in.Foreign {
		return foreignStream(in)
	}
	switch e := in.Data.(type) {
	case event.OrderSubmitted:
		return e.OrderID
	case event.OrderCancel:
		return e.OrderID
	case event.PaymentCaptured:
		return e.OrderID
	case event.PaymentDeclined:
		return e.OrderID
	case event.PaymentRefunded:
		return e.OrderID
	case event.StockReserved:
		return e.OrderID
	case event.StockRejected:
		return e.OrderID
	case event.ShipmentDispatched:
		return e.OrderID
	case event.ShipmentCancelled:
		return e.OrderID
	case event.ShipmentCancelRefused:
		return e.OrderID
	}
	return ""
}

// Fold returns the order after an event of its stream.
func Fold(o Order, data event.Event) (Order, error) {
	switch e := data.(type) {
	case event.OrderPlaced:
		o.Facts.Placed = true
		o.CustomerID, o.Lines, o.TotalMinor, o.Currency = e.CustomerID, e.Lines, e.TotalMinor, e.Currency
		o.ShipTo, o.PaymentMethod = e.ShipTo, e.PaymentMethod
	case event.OrderRejected:
		o.Facts.Rejected = true
	case event.OrderCancelRequested:
		o.Facts.CancelRequested = true
	case event.OrderCancelRefused:
		o.Facts.CancelRefused = true
	case event.OrderCancelled:
		o.Facts.Cancelled = true
	case event.OrderPaid:
		o.Facts.Paid = true
	case event.OrderDeclined:
		o.Facts.Declined = true
	case event.OrderRefunded:
		o.Facts.Refunded = true
	case event.OrderStockConfirmed:
		o.Facts.StockConfirmed = true
	case event.OrderStockRejected:
		o.Facts.StockRejected = true
	case event.OrderShipped:
		o.Facts.Shipped = true
	default:
		return o, fmt.Errorf("%s is no event of an order", data.EventType())
	}
	return o, nil
}

// Decide returns what an input leads to: each fact happens once.
func Decide(catalogue Catalogue, o Order, in event.Recorded) framework.Decision {
	if in.Foreign {
		return Intake(o, in)
	}
	once := func(fact bool, then event.Event) framework.Decision {
		if fact {
			return framework.Nothing()
		}
		return framework.Append(then)
	}
	switch e := in.Data.(type) {
	case event.OrderSubmitted:
		if !event.IsOrderID(e.OrderID) {
			return framework.PutAside(fmt.Sprintf("order id %q: wanted 1 to 64 letters, digits, dots, dashes and underscores", e.OrderID))
		}
		return once(o.Facts.Placed || o.Facts.Rejected, place(catalogue, e))
	case event.OrderCancel:
		return once(o.Facts.CancelRequested, event.OrderCancelRequested{OrderID: e.OrderID, Reason: e.Reason})
	case event.PaymentCaptured:
		return once(o.Facts.Paid, event.OrderPaid{OrderID: e.OrderID, PaymentID: e.OrderID, AmountMinor: e.AmountMinor})
	case event.PaymentDeclined:
		return once(o.Facts.Declined, event.OrderDeclined{OrderID: e.OrderID, Code: e.Code})
	case event.PaymentRefunded:
		return once(o.Facts.Refunded, event.OrderRefunded{OrderID: e.OrderID, AmountMinor: e.AmountMinor})
	case event.StockReserved:
		return once(o.Facts.StockConfirmed, event.OrderStockConfirmed{OrderID: e.OrderID, Warehouse: in.Stream})
	case event.StockRejected:
		return once(o.Facts.StockRejected, event.OrderStockRejected{OrderID: e.OrderID, Missing: e.Missing})
	case event.ShipmentDispatched:
		return once(o.Facts.Shipped, event.OrderShipped{
			OrderID: e.OrderID, ShipmentID: e.ShipmentID, TrackingNo: e.TrackingNo, CustomerID: o.CustomerID, TotalMinor: o.TotalMinor,
		})
	case event.ShipmentCancelled:
		return once(o.Facts.Cancelled, event.OrderCancelled{OrderID: e.OrderID, Reason: e.Reason})
	case event.ShipmentCancelRefused:
		return once(o.Facts.CancelRefused, event.OrderCancelRefused{OrderID: e.OrderID})
	}
	return framework.Nothing()
}

// place prices a customer's order, or says why it cannot be.
func place(catalogue Catalogue, e event.OrderSubmitted) event.Event {
	reject := func(code, format string, args ...any) event.Event {
		return event.OrderRejected{OrderID: e.OrderID, Code: code, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(e.Lines) == 0:
		return reject(CodeNoLines, "an order has at least one line")
	case len(e.Lines) > MaxLines:
		return reject(CodeTooManyLines, "%d lines, at most %d", len(e.Lines), MaxLines)
	case e.Currency != catalogue.Currency:
		return reject(CodeCurrency, "currency %q, prices are in %s", e.Currency, catalogue.Currency)
	}
	placed := event.OrderPlaced{
		OrderID: e.OrderID, CustomerID: e.CustomerID, Currency: e.Currency, ShipTo: e.ShipTo, PaymentMethod: e.PaymentMethod,
	}
	for _, line := range e.Lines {
		price, known := catalogue.Prices[line.SKU]
		switch {
		case line.Quantity < 1 || line.Quantity > MaxQuantity:
			return reject(CodeQuantity, "%d pieces of %q, wanted 1 to %d", line.Quantity, line.SKU, MaxQuantity)
		case !known:
			return reject(CodeUnknownSKU, "there is no article %q", line.SKU)
		case line.UnitPriceMinor != nil && *line.UnitPriceMinor != price:
			return reject(CodePrice, "%q costs %s, not %s", line.SKU, event.FormatMinor(price, e.Currency), event.FormatMinor(*line.UnitPriceMinor, e.Currency))
		case price < 0 || price > event.MaxMinor/MaxQuantity/MaxLines:
			return reject(CodeTotal, "%q costs %s, more than can be ordered", line.SKU, event.FormatMinor(price, e.Currency))
		}
		placed.Lines = append(placed.Lines, event.Line{SKU: line.SKU, Quantity: line.Quantity, UnitPriceMinor: price})
		placed.TotalMinor += price * line.Quantity
	}
	return placed
}
