// Package shipping owns shipping-events: parcels, and whether they leave.
//
// It knows the rules of a shipment. It prepares when the money is there, dispatches when
// the stock is, and is the one place that decides between leaving and not leaving:
// refund and release of stock follow from shipment.cancelled, and a parcel that was
// dispatched is not cancelled.
//
// State: table "shipment", a row per order. Everything here is pure.
package shipping

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
)

// Carrier is who carries the parcels.
const Carrier = "stela-post"

// A Shipment is the row of one order's parcel.
type Shipment struct {
	Prepared      bool   `json:"prepared,omitempty"`
	Dispatched    bool   `json:"dispatched,omitempty"`
	Cancelled     bool   `json:"cancelled,omitempty"`
	CancelRefused bool   `json:"cancelRefused,omitempty"`
	ShipmentID    string `json:"shipmentId,omitempty"`
	Carrier       string `json:"carrier,omitempty"`
	TrackingNo    string `json:"trackingNo,omitempty"`
	Reason        string `json:"reason,omitempty"`
}

var shipments = state.NewTable[Shipment]("shipment")

// Get returns an order's parcel.
func Get(tx *state.Tx, order string) (Shipment, bool) { return shipments.Get(tx, order) }

// Definition returns the service.
func Definition() framework.Definition {
	return framework.Definition{
		Name:   event.Shipping,
		Topic:  event.ShippingEvents,
		Inputs: []string{event.PaymentEvents, event.InventoryEvents, event.OrderEvents},
		Fold: func(tx *state.Tx, e event.Recorded) error {
			row, _ := shipments.Get(tx, e.Stream)
			row, err := Fold(row, e.Data)
			if err == nil {
				shipments.Put(tx, row, e.Stream)
			}
			return err
		},
		Stream: Stream,
		Decide: func(tx *state.Tx, in event.Recorded) framework.Decision {
			row, _ := shipments.Get(tx, Stream(in))
			return Decide(row, in)
		},
	}
}

// Stream returns the order that an input is about.
func Stream(in event.Recorded) string {
	switch e := in.Data.(type) {
	case event.PaymentCaptured:
		return e.OrderID
	case event.StockReserved:
		return e.OrderID
	case event.StockRejected:
		return e.OrderID
	case event.OrderCancelRequested:
		return e.OrderID
	}
	return ""
}

// Decide returns what an input leads to.
func Decide(s Shipment, in event.Recorded) framework.Decision {
	switch e := in.Data.(type) {
	case event.PaymentCaptured:
		if s.Prepared || s.Cancelled {
			return framework.Nothing()
		}
		return framework.Append(prepared(e.OrderID))
	case event.StockReserved:
		if s.Dispatched || s.Cancelled {
			return framework.Nothing()
		}
		dispatched := event.ShipmentDispatched{
			OrderID: e.OrderID, ShipmentID: shipmentID(e.OrderID), Carrier: Carrier, TrackingNo: trackingNo(e.OrderID),
		}
		if s.Prepared {
			return framework.Append(dispatched)
		}
		return framework.Append(prepared(e.OrderID), dispatched)
	case event.StockRejected:
		if s.Cancelled {
			return framework.Nothing()
		}
		return framework.Append(event.ShipmentCancelled{OrderID: e.OrderID, Reason: in.Type})
	case event.OrderCancelRequested:
		switch {
		case s.Cancelled || s.CancelRefused:
			return framework.Nothing()
		case s.Dispatched:
			return framework.Append(event.ShipmentCancelRefused{OrderID: e.OrderID})
		}
		return framework.Append(event.ShipmentCancelled{OrderID: e.OrderID, Reason: in.Type})
	}
	return framework.Nothing()
}

func prepared(order string) event.ShipmentPrepared {
	return event.ShipmentPrepared{OrderID: order, ShipmentID: shipmentID(order)}
}

func shipmentID(order string) string { return "shp-" + order }

// trackingNo is a number of twelve digits that follows from the order.
func trackingNo(order string) string {
	sum := sha256.Sum256([]byte(shipmentID(order)))
	return fmt.Sprintf("SP%012d", binary.BigEndian.Uint64(sum[:])%1_000_000_000_000)
}

// Fold returns the shipment after an event of its stream.
func Fold(s Shipment, data event.Event) (Shipment, error) {
	switch e := data.(type) {
	case event.ShipmentPrepared:
		s.Prepared, s.ShipmentID = true, e.ShipmentID
	case event.ShipmentDispatched:
		s.Dispatched, s.ShipmentID, s.Carrier, s.TrackingNo = true, e.ShipmentID, e.Carrier, e.TrackingNo
	case event.ShipmentCancelled:
		s.Cancelled, s.Reason = true, e.Reason
	case event.ShipmentCancelRefused:
		s.CancelRefused = true
	default:
		return s, fmt.Errorf("%s is no event of a shipment", data.EventType())
	}
	return s, nil
}
