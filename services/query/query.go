// Package query is the read model: what an order looks like now, who ordered what, what
// is in stock, and where in the log each event of an order lies.
//
// It knows all topics and owns none; it appends nothing. Of an order it keeps a
// Document with one part per topic; the state that people see is computed from the parts.
//
// State: "document" per order; "by-time", "by-customer", "by-status": indexes, newest
// first, that follow from the documents; "timeline": for each order where its events lie
// in inventory-events, whose stream is a warehouse and not the order; "stock" per article
// and warehouse. All of it is the same however the topics' events are interleaved.
package query

import (
	"fmt"
	"math"
	"time"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/inventory"
	"github.com/stela-db/stela/services/state"
)

// A StockRow is the stock of one article in one warehouse.
type StockRow struct {
	inventory.Stock
	Version int64 `json:"version"` // of the warehouse's stream
}

// A Position is where an event of an order lies in another stream.
type Position struct {
	Topic   string `json:"topic"`
	Stream  string `json:"stream"`
	Version int64  `json:"version"`
}

var (
	documents  = state.NewTable[Document]("document")
	byTime     = state.NewTable[struct{}]("by-time")     // time, order
	byCustomer = state.NewTable[struct{}]("by-customer") // customer, time, order
	byStatus   = state.NewTable[struct{}]("by-status")   // status, time, order
	timeline   = state.NewTable[Position]("timeline")    // order, topic, stream, version
	stocks     = state.NewTable[StockRow]("stock")       // article, warehouse
)

// Definition returns the service.
func Definition() framework.Definition {
	var topics []string
	for _, topic := range event.Topics() {
		topics = append(topics, topic.Name)
	}
	return framework.Definition{Name: event.Query, Folds: topics, Fold: Fold}
}

// Fold changes the read model by one event of any topic.
func Fold(tx *state.Tx, e event.Recorded) error {
	id := e.Stream
	if e.Topic == event.InventoryEvents {
		foldStock(tx, e)
		id = orderOf(e.Data)
	}
	if id == "" {
		return nil
	}
	before, existed := documents.Get(tx, id)
	after := before.copy() // Apply works on the parts in place, and before is needed as it was
	after.Apply(e)
	documents.Put(tx, after, id)
	if e.Topic == event.InventoryEvents {
		timeline.Put(tx, Position{Topic: e.Topic, Stream: e.Stream, Version: e.Version}, id, e.Topic, e.Stream, ascending(e.Version))
	}
	if existed {
		index(tx, id, &before, false)
	}
	index(tx, id, &after, true)
	return nil
}

// index adds or removes a document's rows in the indexes. An order whose beginning is
// not known yet has none.
func index(tx *state.Tx, id string, d *Document, add bool) {
	begun := d.Begun()
	if begun.IsZero() {
		return
	}
	at := descending(begun)
	for _, row := range []struct {
		table state.Table[struct{}]
		key   []string
	}{{byTime, []string{at, id}}, {byCustomer, []string{d.CustomerID(), at, id}}, {byStatus, []string{d.Status(), at, id}}} {
		if add {
			row.table.Put(tx, struct{}{}, row.key...)
		} else {
			row.table.Delete(tx, row.key...)
		}
	}
}

// descending writes a time so that later times sort first.
func descending(t time.Time) string { return fmt.Sprintf("%016x", math.MaxInt64-t.UnixNano()) }

// ascending writes a number so that it sorts by its value.
func ascending(n int64) string { return fmt.Sprintf("%016x", n) }

// orderOf returns the order that an event of a warehouse is about, "" for none.
func orderOf(data event.Event) string {
	switch e := data.(type) {
	case event.StockReserved:
		return e.OrderID
	case event.StockRejected:
		return e.OrderID
	case event.StockReleased:
		return e.OrderID
	case event.StockCommitted:
		return e.OrderID
	case event.StockCancelled:
		return e.OrderID
	}
	return ""
}

func foldStock(tx *state.Tx, e event.Recorded) {
	for _, move := range inventory.Moved(e.Data) {
		row, _ := stocks.Get(tx, move.SKU, e.Stream)
		row.Stock, row.Version = row.Add(move.By), e.Version
		stocks.Put(tx, row, move.SKU, e.Stream)
	}
}

// Get returns what is known of an order.
func Get(tx *state.Tx, id string) (Document, bool) { return documents.Get(tx, id) }
