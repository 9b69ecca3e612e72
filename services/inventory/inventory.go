// Package inventory owns inventory-events: what is on the shelves, reserved and gone.
//
// It knows the rules of stock. The unit of consistency is a warehouse, one stream, so
// that an order's lines are reserved all or none and nothing is promised twice; up to
// 256 inputs are decided one after another and appended as one.
//
// An article that is made to order never runs out: what a reservation needs is received
// first, in the same append, so that the books balance for every article alike:
// received + adjusted = available + reserved + committed.
//
// State: table "stock", a row per warehouse and article; "reservation", per warehouse
// and order; "receipt", per warehouse and reference. Everything here is pure.
package inventory

import (
	"fmt"
	"slices"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
)

// Stock is how many pieces of an article a warehouse has.
type Stock struct {
	Available int64 `json:"available"`
	Reserved  int64 `json:"reserved"`
	Committed int64 `json:"committed"` // gone to customers
}

// The states of a reservation.
const (
	Reserved  = "reserved"
	Rejected  = "rejected"
	Released  = "released"
	Committed = "committed"
	Cancelled = "cancelled" // never reserve
)

// A Reservation is what an order has in a warehouse.
type Reservation struct {
	State string       `json:"state"`
	Lines []event.Item `json:"lines,omitempty"` // while it is reserved
}

// A Receipt remembers goods that came in under a reference.
type Receipt struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"qty"`
}

var (
	stocks       = state.NewTable[Stock]("stock")
	reservations = state.NewTable[Reservation]("reservation")
	receipts     = state.NewTable[Receipt]("receipt")
)

// GetStock returns the stock of an article.
func GetStock(tx *state.Tx, warehouse, sku string) (Stock, bool) {
	return stocks.Get(tx, warehouse, sku)
}

// GetReceipt returns what came in under a reference.
func GetReceipt(tx *state.Tx, warehouse, reference string) (Receipt, bool) {
	return receipts.Get(tx, warehouse, reference)
}

// Receive is the command that goods came in. The same reference counts once.
type Receive struct {
	SKU       string
	Quantity  int64
	Reference string
}

// EventType implements event.Event.
func (Receive) EventType() string { return "stock.receive" }

// ReceiveInput returns the command as an input for a warehouse.
func ReceiveInput(warehouse string, r Receive) event.Recorded {
	return event.Recorded{
		Topic: event.InventoryEvents, Partition: -1, Offset: -1, Version: -1, Stream: warehouse, Type: r.EventType(), Data: r,
		ID: event.StepID(event.Inventory, r.EventType()+" "+r.Reference, warehouse),
	}
}

// Rules are a warehouse's configuration.
type Rules struct {
	// Warehouse is the stream that orders are reserved in.
	Warehouse string
	// MadeToOrder are the articles that never run out.
	MadeToOrder []string
}

// Definition returns the service.
func Definition(rules Rules) framework.Definition {
	return framework.Definition{
		Name:   event.Inventory,
		Topic:  event.InventoryEvents,
		Inputs: []string{event.PaymentEvents, event.ShippingEvents},
		Fold:   Fold,
		Stream: rules.stream,
		Decide: rules.Decide,
	}
}

func (r Rules) stream(in event.Recorded) string {
	switch in.Data.(type) {
	case event.PaymentCaptured, event.ShipmentCancelled, event.ShipmentDispatched:
		return r.Warehouse
	case Receive:
		return in.Stream
	}
	return ""
}

// Decide returns what an input leads to.
func (r Rules) Decide(tx *state.Tx, in event.Recorded) framework.Decision {
	switch e := in.Data.(type) {
	case Receive:
		if _, received := receipts.Get(tx, in.Stream, e.Reference); received {
			return framework.Nothing()
		}
		return framework.Append(event.StockReceived{SKU: e.SKU, Quantity: e.Quantity, Reference: e.Reference})
	case event.PaymentCaptured:
		if _, known := reservations.Get(tx, r.Warehouse, e.OrderID); known {
			return framework.Nothing() // reserved, rejected, or cancelled before it came to that
		}
		return r.reserve(tx, e.OrderID, e.Lines)
	case event.ShipmentCancelled:
		reservation, known := reservations.Get(tx, r.Warehouse, e.OrderID)
		switch {
		case !known:
			return framework.Append(event.StockCancelled{OrderID: e.OrderID})
		case reservation.State == Reserved:
			return framework.Append(event.StockReleased{OrderID: e.OrderID, Lines: reservation.Lines})
		}
		return framework.Nothing()
	case event.ShipmentDispatched:
		reservation, _ := reservations.Get(tx, r.Warehouse, e.OrderID)
		if reservation.State == Committed {
			return framework.Nothing()
		}
		return framework.Append(event.StockCommitted{OrderID: e.OrderID, Lines: reservation.Lines})
	}
	return framework.Nothing()
}

// reserve sets all lines aside or none. Lines of the same article count together.
func (r Rules) reserve(tx *state.Tx, order string, lines []event.Line) framework.Decision {
	items := total(lines)
	var events []event.Event
	var missing []event.Shortage
	for _, item := range items {
		stock, _ := stocks.Get(tx, r.Warehouse, item.SKU)
		short := item.Quantity - stock.Available
		switch {
		case short <= 0:
		case slices.Contains(r.MadeToOrder, item.SKU):
			events = append(events, event.StockReceived{SKU: item.SKU, Quantity: short, Reference: "made for " + order})
		default:
			missing = append(missing, event.Shortage{SKU: item.SKU, Wanted: item.Quantity, Available: stock.Available})
		}
	}
	if len(missing) > 0 {
		return framework.Append(event.StockRejected{OrderID: order, Missing: missing})
	}
	return framework.Append(append(events, event.StockReserved{OrderID: order, Lines: items})...)
}

// total adds up the lines of each article, in order of first mention.
func total(lines []event.Line) []event.Item {
	var items []event.Item
	for _, line := range lines {
		i := slices.IndexFunc(items, func(item event.Item) bool { return item.SKU == line.SKU })
		if i < 0 {
			items = append(items, event.Item{SKU: line.SKU, Quantity: line.Quantity})
			continue
		}
		items[i].Quantity += line.Quantity
	}
	return items
}

// Fold changes a warehouse's rows by an event of its stream.
func Fold(tx *state.Tx, e event.Recorded) error {
	warehouse := e.Stream
	switch data := e.Data.(type) {
	case event.StockReceived:
		receipts.Put(tx, Receipt{SKU: data.SKU, Quantity: data.Quantity}, warehouse, data.Reference)
	case event.StockAdjusted:
	case event.StockReserved:
		reservations.Put(tx, Reservation{State: Reserved, Lines: data.Lines}, warehouse, data.OrderID)
	case event.StockRejected:
		reservations.Put(tx, Reservation{State: Rejected}, warehouse, data.OrderID)
	case event.StockReleased:
		reservations.Put(tx, Reservation{State: Released}, warehouse, data.OrderID)
	case event.StockCommitted:
		reservations.Put(tx, Reservation{State: Committed}, warehouse, data.OrderID)
	case event.StockCancelled:
		reservations.Put(tx, Reservation{State: Cancelled}, warehouse, data.OrderID)
	default:
		return fmt.Errorf("%s is no event of a warehouse", e.Type)
	}
	for _, item := range Moved(e.Data) {
		stock, _ := stocks.Get(tx, warehouse, item.SKU)
		stocks.Put(tx, stock.Add(item.By), warehouse, item.SKU)
	}
	return nil
}

// A Move changes the stock of one article.
type Move struct {
	SKU string
	By  Stock
}

// Add returns the stock after a change.
func (s Stock) Add(by Stock) Stock {
	return Stock{Available: s.Available + by.Available, Reserved: s.Reserved + by.Reserved, Committed: s.Committed + by.Committed}
}

// Moved returns how an event of a warehouse changes its stock.
func Moved(data event.Event) []Move {
	switch e := data.(type) {
	case event.StockReceived:
		return []Move{{e.SKU, Stock{Available: e.Quantity}}}
	case event.StockAdjusted:
		return []Move{{e.SKU, Stock{Available: e.Delta}}}
	case event.StockReserved:
		return moves(e.Lines, func(n int64) Stock { return Stock{Available: -n, Reserved: n} })
	case event.StockReleased:
		return moves(e.Lines, func(n int64) Stock { return Stock{Available: n, Reserved: -n} })
	case event.StockCommitted:
		return moves(e.Lines, func(n int64) Stock { return Stock{Reserved: -n, Committed: n} })
	}
	return nil
}

func moves(items []event.Item, by func(quantity int64) Stock) []Move {
	list := make([]Move, 0, len(items))
	for _, item := range items {
		list = append(list, Move{item.SKU, by(item.Quantity)})
	}
	return list
}
