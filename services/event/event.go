package event

import "encoding/json"

// An Event is something that happened, as a service decided it. Its JSON is the
// record's value.
type Event interface {
	// EventType returns ce_type.
	EventType() string
}

// A Line is one position of an order.
type Line struct {
	SKU            string `json:"sku"`
	Quantity       int64  `json:"qty"`
	UnitPriceMinor int64  `json:"unitPriceMinor"`
}

// A RequestedLine is a position as a customer asks for it: the price, if given, is what
// the customer saw.
type RequestedLine struct {
	SKU            string `json:"sku"`
	Quantity       int64  `json:"qty"`
	UnitPriceMinor *int64 `json:"unitPriceMinor,omitempty"`
}

// An Item is a number of pieces of one article.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"qty"`
}

// A Shortage is an article that an order wanted more of than there is.
type Shortage struct {
	SKU       string `json:"sku"`
	Wanted    int64  `json:"wanted"`
	Available int64  `json:"available"`
}

// Items returns what the lines ask for, without prices.
func Items(lines []Line) []Item {
	items := make([]Item, 0, len(lines))
	for _, line := range lines {
		items = append(items, Item{SKU: line.SKU, Quantity: line.Quantity})
	}
	return items
}

// OrderSubmitted is a customer's wish, as the gateway took it. Topic order-commands.
type OrderSubmitted struct {
	OrderID       string          `json:"orderId"`
	CustomerID    string          `json:"customerId"`
	Lines         []RequestedLine `json:"lines"`
	Currency      string          `json:"currency"`
	ShipTo        json.RawMessage `json:"shipTo,omitempty"` // personal, and not encrypted: see services/DESIGN.md
	PaymentMethod string          `json:"paymentMethod,omitempty"`
	RequestHash   string          `json:"requestHash"` // SHA-256 of the request, to tell a repetition from another order
}

// OrderCancel is a customer's wish to call an order off. Topic order-commands.
type OrderCancel struct {
	OrderID string `json:"orderId"`
	Reason  string `json:"reason,omitempty"`
	By      string `json:"by,omitempty"`
}

// OrderPlaced says that the order stands, at our prices. Topic order-events, as all that follow to OrderRefunded.
type OrderPlaced struct {
	OrderID       string          `json:"orderId"`
	CustomerID    string          `json:"customerId"`
	Lines         []Line          `json:"lines"`
	TotalMinor    int64           `json:"totalMinor"`
	Currency      string          `json:"currency"`
	ShipTo        json.RawMessage `json:"shipTo,omitempty"` // personal
	PaymentMethod string          `json:"paymentMethod,omitempty"`
}

// OrderRejected says that the order cannot be: code is unknown_sku, price_changed, ...
type OrderRejected struct {
	OrderID string `json:"orderId"`
	Code    string `json:"code"`
	Detail  string `json:"detail,omitempty"`
}

// OrderCancelRequested says that the customer wants out; the shipment stream decides.
type OrderCancelRequested struct {
	OrderID string `json:"orderId"`
	Reason  string `json:"reason,omitempty"`
}

// OrderPaid says that the whole total was captured.
type OrderPaid struct {
	OrderID     string `json:"orderId"`
	PaymentID   string `json:"paymentId"`
	AmountMinor int64  `json:"amountMinor"`
}

// OrderDeclined says that the payment was refused.
type OrderDeclined struct {
	OrderID string `json:"orderId"`
	Code    string `json:"code"`
}

// OrderStockConfirmed says that every line is reserved.
type OrderStockConfirmed struct {
	OrderID   string `json:"orderId"`
	Warehouse string `json:"warehouse"`
}

// OrderStockRejected says that nothing was reserved, since something is short.
type OrderStockRejected struct {
	OrderID string     `json:"orderId"`
	Missing []Shortage `json:"missing"`
}

// OrderShipped says that the goods are on their way.
type OrderShipped struct {
	OrderID    string `json:"orderId"`
	ShipmentID string `json:"shipmentId"`
	TrackingNo string `json:"trackingNo"`
	CustomerID string `json:"customerId"`
	TotalMinor int64  `json:"totalMinor"`
}

// OrderCancelled says that the goods will never leave.
type OrderCancelled struct {
	OrderID string `json:"orderId"`
	Reason  string `json:"reason,omitempty"`
}

// OrderCancelRefused says that the goods had left when the customer wanted out.
type OrderCancelRefused struct {
	OrderID string `json:"orderId"`
}

// OrderRefunded says that the money is on its way back.
type OrderRefunded struct {
	OrderID     string `json:"orderId"`
	AmountMinor int64  `json:"amountMinor"`
}

// PaymentRequested is the intent to charge. Topic payment-events, as all that follow to PaymentRefunded.
type PaymentRequested struct {
	OrderID     string `json:"orderId"`
	PaymentID   string `json:"paymentId"` // the order's id: one payment an order
	AmountMinor int64  `json:"amountMinor"`
	Currency    string `json:"currency"`
	Method      string `json:"method,omitempty"`
	Lines       []Line `json:"lines"`
}

// PaymentCaptured says that the money is ours. It carries the lines, so that inventory
// and shipping need to ask nobody.
type PaymentCaptured struct {
	OrderID     string `json:"orderId"`
	AmountMinor int64  `json:"amountMinor"`
	PSPRef      string `json:"pspRef"`
	Lines       []Line `json:"lines"`
}

// PaymentDeclined says that the provider refused to charge.
type PaymentDeclined struct {
	OrderID string `json:"orderId"`
	Code    string `json:"code"`
}

// PaymentRefundRequested is the intent to give back whatever was or will be charged.
type PaymentRefundRequested struct {
	OrderID string `json:"orderId"`
	Reason  string `json:"reason"`
}

// PaymentRefunded says that the provider gave back AmountMinor, 0 when it never charged
// and now never will.
type PaymentRefunded struct {
	OrderID     string `json:"orderId"`
	AmountMinor int64  `json:"amountMinor"`
	PSPRef      string `json:"pspRef"`
}

// StockReceived says that goods came in. Topic inventory-events, as all that follow to
// StockCancelled; the stream is a warehouse.
type StockReceived struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"qty"`
	Reference string `json:"ref"` // what the goods came with; a reference counts once
}

// StockAdjusted corrects the books after a count.
type StockAdjusted struct {
	SKU    string `json:"sku"`
	Delta  int64  `json:"delta"`
	Reason string `json:"reason"`
}

// StockReserved sets all lines of an order aside, at once.
type StockReserved struct {
	OrderID string `json:"orderId"`
	Lines   []Item `json:"lines"`
}

// StockRejected says that an order gets nothing, since something is short.
type StockRejected struct {
	OrderID string     `json:"orderId"`
	Missing []Shortage `json:"missing"`
}

// StockReleased puts the lines of an order back on the shelf.
type StockReleased struct {
	OrderID string `json:"orderId"`
	Lines   []Item `json:"lines"`
}

// StockCommitted says that the reserved lines have left the house.
type StockCommitted struct {
	OrderID string `json:"orderId"`
	Lines   []Item `json:"lines"`
}

// StockCancelled remembers never to reserve for an order.
type StockCancelled struct {
	OrderID string `json:"orderId"`
}

// ShipmentPrepared says that a parcel is being made ready. Topic shipping-events, as all that follow.
type ShipmentPrepared struct {
	OrderID    string `json:"orderId"`
	ShipmentID string `json:"shipmentId"`
}

// ShipmentDispatched says that the parcel left: there is no way back.
type ShipmentDispatched struct {
	OrderID    string `json:"orderId"`
	ShipmentID string `json:"shipmentId"`
	Carrier    string `json:"carrier"`
	TrackingNo string `json:"trackingNo"`
}

// ShipmentCancelled says that the parcel never leaves.
type ShipmentCancelled struct {
	OrderID string `json:"orderId"`
	Reason  string `json:"reason"`
}

// ShipmentCancelRefused says that the parcel had left.
type ShipmentCancelRefused struct {
	OrderID string `json:"orderId"`
}
