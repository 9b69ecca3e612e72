package event

import (
	"encoding/json"
	"fmt"
)

// EventType implements Event.
func (OrderSubmitted) EventType() string { return "order.submitted" }

// EventType implements Event.
func (OrderCancel) EventType() string { return "order.cancel" }

// EventType implements Event.
func (OrderPlaced) EventType() string { return "order.placed" }

// EventType implements Event.
func (OrderRejected) EventType() string { return "order.rejected" }

// EventType implements Event.
func (OrderCancelRequested) EventType() string { return "order.cancel_requested" }

// EventType implements Event.
func (OrderPaid) EventType() string { return "order.paid" }

// EventType implements Event.
func (OrderDeclined) EventType() string { return "order.declined" }

// EventType implements Event.
func (OrderStockConfirmed) EventType() string { return "order.stock_confirmed" }

// EventType implements Event.
func (OrderStockRejected) EventType() string { return "order.stock_rejected" }

// EventType implements Event.
func (OrderShipped) EventType() string { return "order.shipped" }

// EventType implements Event.
func (OrderCancelled) EventType() string { return "order.cancelled" }

// EventType implements Event.
func (OrderCancelRefused) EventType() string { return "order.cancel_refused" }

// EventType implements Event.
func (OrderRefunded) EventType() string { return "order.refunded" }

// EventType implements Event.
func (PaymentRequested) EventType() string { return "payment.requested" }

// EventType implements Event.
func (PaymentCaptured) EventType() string { return "payment.captured" }

// EventType implements Event.
func (PaymentDeclined) EventType() string { return "payment.declined" }

// EventType implements Event.
func (PaymentRefundRequested) EventType() string { return "payment.refund_requested" }

// EventType implements Event.
func (PaymentRefunded) EventType() string { return "payment.refunded" }

// EventType implements Event.
func (StockReceived) EventType() string { return "stock.received" }

// EventType implements Event.
func (StockAdjusted) EventType() string { return "stock.adjusted" }

// EventType implements Event.
func (StockReserved) EventType() string { return "stock.reserved" }

// EventType implements Event.
func (StockRejected) EventType() string { return "stock.rejected" }

// EventType implements Event.
func (StockReleased) EventType() string { return "stock.released" }

// EventType implements Event.
func (StockCommitted) EventType() string { return "stock.committed" }

// EventType implements Event.
func (StockCancelled) EventType() string { return "stock.cancelled" }

// EventType implements Event.
func (ShipmentPrepared) EventType() string { return "shipment.prepared" }

// EventType implements Event.
func (ShipmentDispatched) EventType() string { return "shipment.dispatched" }

// EventType implements Event.
func (ShipmentCancelled) EventType() string { return "shipment.cancelled" }

// EventType implements Event.
func (ShipmentCancelRefused) EventType() string { return "shipment.cancel_refused" }

// decoders reads the JSON of each type, in the order of the topics.
var decoders = map[string]func([]byte) (Event, error){
	"order.submitted":          decode[OrderSubmitted],
	"order.cancel":             decode[OrderCancel],
	"order.placed":             decode[OrderPlaced],
	"order.rejected":           decode[OrderRejected],
	"order.cancel_requested":   decode[OrderCancelRequested],
	"order.paid":               decode[OrderPaid],
	"order.declined":           decode[OrderDeclined],
	"order.stock_confirmed":    decode[OrderStockConfirmed],
	"order.stock_rejected":     decode[OrderStockRejected],
	"order.shipped":            decode[OrderShipped],
	"order.cancelled":          decode[OrderCancelled],
	"order.cancel_refused":     decode[OrderCancelRefused],
	"order.refunded":           decode[OrderRefunded],
	"payment.requested":        decode[PaymentRequested],
	"payment.captured":         decode[PaymentCaptured],
	"payment.declined":         decode[PaymentDeclined],
	"payment.refund_requested": decode[PaymentRefundRequested],
	"payment.refunded":         decode[PaymentRefunded],
	"stock.received":           decode[StockReceived],
	"stock.adjusted":           decode[StockAdjusted],
	"stock.reserved":           decode[StockReserved],
	"stock.rejected":           decode[StockRejected],
	"stock.released":           decode[StockReleased],
	"stock.committed":          decode[StockCommitted],
	"stock.cancelled":          decode[StockCancelled],
	"shipment.prepared":        decode[ShipmentPrepared],
	"shipment.dispatched":      decode[ShipmentDispatched],
	"shipment.cancelled":       decode[ShipmentCancelled],
	"shipment.cancel_refused":  decode[ShipmentCancelRefused],
}

func decode[E Event](data []byte) (Event, error) {
	var e E
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("parse %s: %w", e.EventType(), err)
	}
	return e, nil
}
