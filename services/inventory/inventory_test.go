package inventory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/inventory"
	"github.com/stela-db/stela/services/state"
)

var rules = inventory.Rules{Warehouse: "wh-1", MadeToOrder: []string{"CUSTOM"}}

func core(t testing.TB) *framework.Core {
	t.Helper()
	database, err := state.Open(state.Config{FS: vfs.NewMem(), Dir: "inventory"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.Close() })
	return framework.NewCore(inventory.Definition(rules), database)
}

func decide(t testing.TB, c *framework.Core, inputs ...event.Recorded) framework.Draft {
	t.Helper()
	list := make([]framework.Input, len(inputs))
	for i, in := range inputs {
		list[i] = framework.Input{Recorded: in}
	}
	draft, err := c.Decide("wh-1", list, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return draft
}

// store folds a draft as if the log had taken it.
func store(t testing.TB, c *framework.Core, offset *int64, draft framework.Draft) {
	t.Helper()
	for _, e := range draft.Events {
		r := client.Record{Topic: event.InventoryEvents, Offset: *offset, Key: []byte("wh-1"), Value: e.Data, Headers: []client.Header{
			{Name: "ce_id", Value: []byte(e.ID)},
			{Name: "ce_type", Value: []byte(e.Type)},
			{Name: "ce_source", Value: []byte(e.Source)},
			{Name: "ce_time", Value: []byte(e.Time.Format(time.RFC3339Nano))},
		}}
		*offset++
		if err := c.Fold([]client.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

func captured(order string, lines ...event.Line) event.Recorded {
	return event.Recorded{ID: "captured " + order, Type: "payment.captured", Data: event.PaymentCaptured{OrderID: order, Lines: lines}}
}

func line(sku string, quantity int64) event.Line { return event.Line{SKU: sku, Quantity: quantity} }

func kinds(draft framework.Draft) (list []string) {
	for _, e := range draft.Events {
		list = append(list, e.Type+" "+string(e.Data))
	}
	return list
}

// Inputs that are decided together see what the ones before them lead to: the last piece
// is promised once.
func TestDecideTogether(t *testing.T) {
	c := core(t)
	var offset int64
	store(t, c, &offset, decide(t, c,
		inventory.ReceiveInput("wh-1", inventory.Receive{SKU: "A", Quantity: 5, Reference: "r1"}),
		inventory.ReceiveInput("wh-1", inventory.Receive{SKU: "A", Quantity: 5, Reference: "r1"}),
		inventory.ReceiveInput("wh-1", inventory.Receive{SKU: "B", Quantity: 1, Reference: "r2"}),
	))
	draft := decide(t, c,
		captured("1", line("A", 3), line("A", 1)),
		captured("2", line("A", 2)),
		captured("3", line("A", 1), line("B", 1)),
		captured("1", line("A", 3)),
		captured("4", line("B", 1), line("CUSTOM", 2)),
		captured("5", line("CUSTOM", 2)),
		event.Recorded{ID: "c3", Data: event.ShipmentCancelled{OrderID: "3"}},
		captured("6", line("B", 1)),
		event.Recorded{ID: "c7", Data: event.ShipmentCancelled{OrderID: "7"}},
		captured("7", line("B", 1)),
		event.Recorded{ID: "d1", Data: event.ShipmentDispatched{OrderID: "1"}},
		event.Recorded{ID: "d1", Data: event.ShipmentDispatched{OrderID: "1"}},
	)
	want := []string{
		`stock.reserved {"orderId":"1","lines":[{"sku":"A","qty":4}]}`,
		`stock.rejected {"orderId":"2","missing":[{"sku":"A","wanted":2,"available":1}]}`,
		`stock.reserved {"orderId":"3","lines":[{"sku":"A","qty":1},{"sku":"B","qty":1}]}`,
		`stock.rejected {"orderId":"4","missing":[{"sku":"B","wanted":1,"available":0}]}`,
		`stock.received {"sku":"CUSTOM","qty":2,"ref":"made for 5"}`,
		`stock.reserved {"orderId":"5","lines":[{"sku":"CUSTOM","qty":2}]}`,
		`stock.released {"orderId":"3","lines":[{"sku":"A","qty":1},{"sku":"B","qty":1}]}`,
		`stock.reserved {"orderId":"6","lines":[{"sku":"B","qty":1}]}`,
		`stock.cancelled {"orderId":"7"}`,
		`stock.committed {"orderId":"1","lines":[{"sku":"A","qty":4}]}`,
	}
	if d := cmp.Diff(want, kinds(draft)); d != "" {
		t.Error(d)
	}
	if draft.Expected != 1 {
		t.Errorf("expected version %d, the stream has two events", draft.Expected)
	}
	store(t, c, &offset, draft)
	tx := c.Database().Begin()
	defer tx.Discard()
	for sku, want := range map[string]inventory.Stock{"A": {Available: 1, Committed: 4}, "B": {Reserved: 1}, "CUSTOM": {Reserved: 2}} {
		if got, _ := inventory.GetStock(tx, "wh-1", sku); got != want {
			t.Errorf("%s: %+v, wanted %+v", sku, got, want)
		}
	}
}

// Whatever is asked of a warehouse, nothing is promised that is not there, and the books
// balance after every event.
func TestBooksBalance(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := core(t)
		var offset int64
		received := map[string]int64{}
		for n := range rapid.IntRange(1, 25).Draw(rt, "rounds") {
			order := fmt.Sprint(rapid.IntRange(0, 6).Draw(rt, "order"))
			sku := rapid.SampledFrom([]string{"A", "B", "CUSTOM"}).Draw(rt, "sku")
			quantity := rapid.Int64Range(1, 6).Draw(rt, "quantity")
			in := map[string]event.Recorded{
				"receive": inventory.ReceiveInput("wh-1", inventory.Receive{SKU: sku, Quantity: quantity, Reference: fmt.Sprint(n)}),
				"capture": captured(order, line(sku, quantity), line("A", 1)),
				"cancel":  {ID: "c" + order, Data: event.ShipmentCancelled{OrderID: order}},
				"ship":    {ID: "s" + order, Data: event.ShipmentDispatched{OrderID: order}},
			}[rapid.SampledFrom([]string{"receive", "capture", "cancel", "ship"}).Draw(rt, "input")]
			draft := decide(t, c, in)
			for _, e := range draft.Events {
				if e.Type == "stock.received" {
					r, err := framework.Decode(event.InventoryEvents, "wh-1", e)
					if err != nil {
						rt.Fatal(err)
					}
					got := r.Data.(event.StockReceived)
					received[got.SKU] += got.Quantity
				}
			}
			store(t, c, &offset, draft)
			tx := c.Database().Begin()
			for sku, total := range received {
				s, _ := inventory.GetStock(tx, "wh-1", sku)
				if s.Available < 0 || s.Reserved < 0 || s.Available+s.Reserved+s.Committed != total {
					rt.Fatalf("%s: %+v of %d received", sku, s, total)
				}
			}
			tx.Discard()
		}
	})
}
