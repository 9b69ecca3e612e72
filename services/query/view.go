package query

import (
	"time"

	"github.com/stela-db/stela/services/event"
)

// slowAfter is how long an order may wait for its next step before it is shown as degraded.
const slowAfter = 5 * time.Second

// Money is an amount as the API shows it.
type Money struct {
	Minor    int64  `json:"minor"`
	Currency string `json:"currency"`
}

// ViewLine is a line as the API shows it.
type ViewLine struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice *Money `json:"unitPrice,omitempty"`
}

// A View is an order as the API shows it.
type View struct {
	OrderID    string        `json:"orderId"`
	CustomerID string        `json:"customerId,omitempty"`
	Status     string        `json:"status"`
	Degraded   bool          `json:"degraded"` // its next step takes unusually long
	Version    int64         `json:"version"`  // of its stream in order-events; -1 before the first event
	Total      *Money        `json:"total,omitempty"`
	Lines      []ViewLine    `json:"lines,omitempty"`
	Submitted  *time.Time    `json:"submittedAt,omitempty"`
	Updated    *time.Time    `json:"updatedAt,omitempty"`
	Reason     string        `json:"reason,omitempty"` // of a rejection, refusal or cancellation
	Payment    *ViewPayment  `json:"payment,omitempty"`
	Stock      *ViewStock    `json:"stock,omitempty"`
	Shipment   *ViewShipment `json:"shipment,omitempty"`
}

// ViewPayment is a payment as the API shows it.
type ViewPayment struct {
	Captured  *Money `json:"captured,omitempty"`
	Refunded  *Money `json:"refunded,omitempty"`
	Declined  string `json:"declined,omitempty"`
	Reference string `json:"pspRef,omitempty"`
}

// ViewStock is a reservation as the API shows it.
type ViewStock struct {
	State     string           `json:"state"`
	Warehouse string           `json:"warehouse"`
	Missing   []event.Shortage `json:"missing,omitempty"`
}

// ViewShipment is a parcel as the API shows it.
type ViewShipment struct {
	State      string `json:"state"`
	ShipmentID string `json:"shipmentId,omitempty"`
	Carrier    string `json:"carrier,omitempty"`
	TrackingNo string `json:"trackingNo,omitempty"`
}

// View returns the document as the API shows it at a time.
func (d *Document) View(id string, now time.Time) View {
	v := View{OrderID: id, CustomerID: d.CustomerID(), Status: d.Status(), Version: -1, Reason: d.reason()}
	if begun := d.Begun(); !begun.IsZero() {
		v.Submitted = &begun
	}
	if touched := d.Touched(); !touched.IsZero() {
		v.Updated = &touched
		v.Degraded = !IsFinal(v.Status) && now.Sub(touched) > slowAfter
	}
	currency := ""
	if d.Command != nil {
		currency = d.Command.Currency
		for _, line := range d.Command.Lines {
			v.Lines = append(v.Lines, ViewLine{SKU: line.SKU, Quantity: line.Quantity})
		}
	}
	if o := d.Order; o != nil {
		v.Version = o.Version
		if o.Placed {
			currency = o.Currency
			v.Total = &Money{o.TotalMinor, o.Currency}
			v.Lines = nil
			for _, line := range o.Lines {
				v.Lines = append(v.Lines, ViewLine{SKU: line.SKU, Quantity: line.Quantity, UnitPrice: &Money{line.UnitPriceMinor, o.Currency}})
			}
		}
	}
	if p := d.Payment; p != nil {
		v.Payment = &ViewPayment{Declined: p.Code, Reference: p.Reference}
		if p.Captured {
			v.Payment.Captured = &Money{p.AmountMinor, currency}
		}
		if p.Refunded {
			v.Payment.Refunded = &Money{p.RefundedMinor, currency}
		}
	}
	if s := d.Stock; s != nil {
		v.Stock = &ViewStock{State: s.State, Warehouse: s.Warehouse, Missing: s.Missing}
	}
	if s := d.Shipment; s != nil {
		v.Shipment = &ViewShipment{State: s.State, ShipmentID: s.ShipmentID, Carrier: s.Carrier, TrackingNo: s.TrackingNo}
	}
	return v
}

func (d *Document) reason() string {
	switch {
	case d.Order != nil && d.Order.Rejected:
		return d.Order.Code + ": " + d.Order.Detail
	case d.Payment != nil && d.Payment.Declined:
		return "payment declined: " + d.Payment.Code
	case d.Shipment != nil:
		return d.Shipment.Reason
	}
	return ""
}
