package services_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/inventory"
	"github.com/stela-db/stela/services/payment"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/state"
)

var (
	firstSeed = flag.Uint64("rules.seed", 1, "first seed of TestRules")
	seedCount = flag.Uint64("rules.seeds", 2, "how many seeds TestRules runs")
)

const ordersPerSeed = 20

// TestRules runs the real decisions and folds of all services on a model of the log: two
// live instances of each, with long pauses between deciding and appending, inputs read
// twice, crashes that lose what was not synced, databases lost altogether, a provider
// whose answers get lost, shortages, refusals, cancellations, orders from outside. Then it
// audits the log, and rebuilds every state.
func TestRules(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seedCount; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newWorld(t, seed).run()
		})
	}
}

// An instance is one running copy of a service.
type instance struct {
	name       string
	definition framework.Definition
	fs         *vfs.MemFS
	core       *framework.Core
	inputs     client.Cut // in memory; noted now and then
	draft      *framework.Draft
	done       func() // of the input that the draft answers
	paused     int
}

type world struct {
	t         *testing.T
	random    *rand.Rand
	log       *memoryLog
	instances []*instance
	provider  map[string]*account
	clock     time.Time
	totals    map[string]int64
	conflicts int
}

// An account is what the provider knows of one key.
type account struct {
	charged, refunded int64
	void              bool
}

func newWorld(t *testing.T, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 7))
	w := &world{
		t: t, random: random, log: newMemoryLog(random), provider: map[string]*account{},
		clock: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), totals: map[string]int64{},
	}
	for _, name := range services.Stateful() {
		definition, err := services.Config{}.Definition(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			i := &instance{name: name, definition: definition, fs: vfs.NewCrashableMem()}
			w.open(i)
			w.instances = append(w.instances, i)
		}
	}
	return w
}

func (w *world) open(i *instance) {
	database, err := state.Open(state.Config{FS: i.fs, Dir: i.name})
	if err != nil {
		w.t.Fatal(err)
	}
	i.core, i.draft, i.done = framework.NewCore(i.definition, database), nil, nil
	tx := database.Begin()
	i.inputs = tx.Inputs()
	tx.Discard()
}

// crash loses what was not synced, or everything.
func (w *world) crash(i *instance) {
	if err := i.core.Database().Close(); err != nil { // of the process that is no more
		w.t.Fatal(err)
	}
	if w.random.IntN(8) == 0 {
		i.fs = vfs.NewCrashableMem()
	}
	w.open(i)
}

func (w *world) now() time.Time {
	w.clock = w.clock.Add(time.Millisecond)
	return w.clock
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run() {
	defer func() {
		for _, i := range w.instances {
			w.check(i.core.Database().Close())
		}
	}()
	w.receive("A", ordersPerSeed)
	w.receive("B", ordersPerSeed/2)
	submitted := 0
	for range ordersPerSeed * 400 {
		if submitted < ordersPerSeed && w.random.IntN(60) == 0 {
			w.submit(submitted)
			submitted++
		}
		if submitted > 0 && w.random.IntN(500) == 0 {
			w.cancel(w.random.IntN(submitted))
		}
		i := w.instances[w.random.IntN(len(w.instances))]
		switch x := w.random.IntN(400); {
		case x == 0:
			// The disk as it would be after a crash; the instance goes on with that.
			i.fs = i.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.random.IntN(101), RNG: w.random})
			w.crash(i)
		case x < 8:
			w.check(i.core.Settle(i.inputs, nil))
			w.check(i.core.Database().Sync())
		case x == 8 && i.draft == nil:
			w.rewind(i)
		case x == 9:
			i.paused = w.random.IntN(300)
		case i.paused > 0:
			i.paused--
		default:
			w.step(i)
		}
	}
	for ; submitted < ordersPerSeed; submitted++ {
		w.submit(submitted)
	}
	w.quiesce()
	w.audit()
	w.rebuild()
}

// receive is an operator's command to the warehouse.
func (w *world) receive(sku string, quantity int64) {
	in := inventory.ReceiveInput(event.DefaultWarehouse, inventory.Receive{SKU: sku, Quantity: quantity, Reference: "opening " + sku})
	for _, i := range w.instances {
		if i.name != event.Inventory {
			continue
		}
		w.catchUp(i)
		draft, err := i.core.Decide(event.DefaultWarehouse, []framework.Input{{Recorded: in}}, w.now())
		w.check(err)
		if len(draft.Events) > 0 {
			_, err = w.log.append(event.InventoryEvents, draft.Stream, draft.Expected, draft.Events...)
			w.check(err)
		}
	}
}

func orderID(n int) string { return fmt.Sprintf("o-%03d", n) }

// submit puts a customer's order into the log, through the gateway or from outside.
func (w *world) submit(n int) {
	id := orderID(n)
	if w.random.IntN(6) == 0 {
		cents := int64(1 + w.random.IntN(20000))
		w.totals[id] = cents
		r := client.Record{Topic: event.OrderEvents, Value: fmt.Appendf(nil, `{"orderId":%q,"total":%d.%02d,"status":"CREATED"}`, id, cents/100, cents%100)}
		if w.random.IntN(2) == 0 {
			r.Key = []byte(id)
			r.Partition = w.log.partition(r.Topic, id)
			w.log.streams[r.Topic+"/"+id] = append(w.log.streams[r.Topic+"/"+id], client.Event{ID: "foreign", Type: "record", Data: r.Value})
		}
		w.log.produce(r)
		return
	}
	e := event.OrderSubmitted{OrderID: id, CustomerID: "c", Currency: "EUR", Lines: []event.RequestedLine{{SKU: "A", Quantity: 1 + w.random.Int64N(2)}}}
	w.totals[id] = 1000 * e.Lines[0].Quantity
	if w.random.IntN(2) == 0 {
		e.Lines = append(e.Lines, event.RequestedLine{SKU: "B", Quantity: 1})
		w.totals[id] += 2500
	}
	if w.random.IntN(10) == 0 {
		e.PaymentMethod = "declined"
	}
	if w.random.IntN(15) == 0 {
		e.Lines[0].SKU = "no such thing"
		w.totals[id] = 0
	}
	w.command(id, client.ExpectNone, e)
}

func (w *world) cancel(n int) {
	id := orderID(n)
	if len(w.log.streams[event.OrderCommands+"/"+id]) == 1 {
		w.command(id, 0, event.OrderCancel{OrderID: id})
	}
}

func (w *world) command(id string, expected client.Expected, e event.Event) {
	wire, err := framework.Encode(&event.Recorded{
		ID: event.ID(event.Gateway, id, int(expected)), Type: e.EventType(), Source: event.Source(event.Gateway), Stream: id, Time: w.now(), Data: e,
	})
	w.check(err)
	_, err = w.log.append(event.OrderCommands, id, expected, wire)
	w.check(err)
}

// rewind has an input's partition read again from a little earlier.
func (w *world) rewind(i *instance) {
	for topic, offsets := range i.inputs {
		p := w.random.IntN(len(offsets))
		i.inputs.Set(topic, int32(p), max(0, offsets[p]-int64(w.random.IntN(5))))
	}
}

// step does one thing that an instance could do now, and reports whether there was one.
func (w *world) step(i *instance) bool {
	if i.draft != nil {
		if w.random.IntN(3) == 0 {
			w.flush(i)
			return true
		}
		w.foldSome(i)
		return true
	}
	switch w.random.IntN(10) {
	case 0, 1, 2:
		return w.foldSome(i)
	case 3:
		return w.call(i)
	default:
		return w.decide(i)
	}
}

func folds(d framework.Definition) []string {
	if len(d.Folds) > 0 {
		return d.Folds
	}
	return []string{d.Topic}
}

// foldSome folds a few records of one partition.
func (w *world) foldSome(i *instance) bool {
	topics := folds(i.definition)
	topic := topics[w.random.IntN(len(topics))]
	p := w.random.IntN(len(w.log.topics[topic]))
	tx := i.core.Database().Begin()
	at := tx.Folded().Offset(topic, int32(p))
	tx.Discard()
	rest := w.log.topics[topic][p][at:]
	if len(rest) == 0 {
		return false
	}
	w.check(i.core.Fold(rest[:1+w.random.IntN(min(len(rest), 4))]))
	return true
}

func (w *world) catchUp(i *instance) {
	tx := i.core.Database().Begin()
	folded := tx.Folded()
	tx.Discard()
	for _, topic := range folds(i.definition) {
		for p, records := range w.log.topics[topic] {
			if rest := records[folded.Offset(topic, int32(p)):]; len(rest) > 0 {
				w.check(i.core.Fold(rest))
			}
		}
	}
}

// decide takes up the next inputs of one partition and drafts what follows from those of
// one stream. The draft is appended in a later step: anything may happen in between.
func (w *world) decide(i *instance) bool {
	if len(i.definition.Inputs) == 0 {
		return false
	}
	topic := i.definition.Inputs[w.random.IntN(len(i.definition.Inputs))]
	p := int32(w.random.IntN(len(w.log.topics[topic])))
	at := i.inputs.Offset(topic, p)
	rest := w.log.topics[topic][p][at:]
	if len(rest) == 0 {
		return false
	}
	if w.random.IntN(2) == 0 {
		w.catchUp(i)
	}
	var inputs []framework.Input
	stream, next := "", at
	for n := range min(len(rest), 1+w.random.IntN(8)) {
		in := w.decode(&rest[n])
		s := ""
		if in.Data != nil || in.Foreign {
			s = i.definition.Stream(in)
		}
		if s != "" && stream != "" && s != stream {
			break
		}
		next = rest[n].Offset + 1
		if s != "" {
			stream = s
			inputs = append(inputs, framework.Input{Recorded: in})
		}
	}
	done := func() { i.inputs.Set(topic, p, next) }
	w.draft(i, stream, inputs, done)
	return true
}

func (w *world) decode(r *client.Record) event.Recorded {
	in := event.Recorded{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Stream: string(r.Key), Version: -1, Time: r.Time}
	w.check(in.Decode(r.Header, r.Value))
	return in
}

func (w *world) draft(i *instance, stream string, inputs []framework.Input, done func()) {
	if len(inputs) == 0 {
		done()
		return
	}
	draft, err := i.core.Decide(stream, inputs, w.now())
	w.check(err)
	if len(draft.Asides) > 0 {
		w.t.Fatalf("put aside: %+v", draft.Asides)
	}
	if len(draft.Events) == 0 {
		done()
		return
	}
	i.draft, i.done = &draft, done
}

// flush appends a draft. On a conflict the inputs are decided again, later.
func (w *world) flush(i *instance) {
	draft, done := i.draft, i.done
	i.draft, i.done = nil, nil
	_, err := w.log.append(i.definition.Topic, draft.Stream, draft.Expected, draft.Events...)
	if _, ok := errors.AsType[*client.ConflictError](err); ok {
		w.conflicts++
		w.foldSome(i)
		return
	}
	w.check(err)
	done()
}

// call makes one of the pending calls; the answer may get lost.
func (w *world) call(i *instance) bool {
	if i.name != event.Payment {
		return false
	}
	if w.random.IntN(2) == 0 {
		w.catchUp(i)
	}
	tx := i.core.Database().Begin()
	intents := i.definition.Effects[0].Pending(tx, "", 100)
	tx.Discard()
	if len(intents) == 0 {
		return false
	}
	intent := intents[w.random.IntN(len(intents))]
	row := intent.Row.(payment.Pending)
	if w.random.IntN(7) == 0 {
		return true // timed out before anything was done
	}
	a := w.provider[intent.Stream]
	if a == nil {
		a = &account{}
		w.provider[intent.Stream] = a
	}
	outcome := w.provide(a, row)
	if w.random.IntN(7) == 0 {
		return true // done, and the answer got lost
	}
	in := intent.Cause
	in.Partition, in.Offset, in.Stream, in.Type, in.Data = -1, -1, intent.Stream, outcome.EventType(), outcome
	w.draft(i, intent.Stream, []framework.Input{{Recorded: in, Outcome: true}}, func() {})
	return true
}

func (w *world) provide(a *account, row payment.Pending) event.Event {
	switch {
	case row.Action == payment.ActionVoid:
		a.void, a.refunded = true, a.charged
		return payment.Voided{AmountMinor: a.refunded, Reference: "r"}
	case a.void:
		return payment.Refused{Code: "voided"}
	case row.Method == "declined":
		return payment.Refused{Code: "card_declined"}
	}
	a.charged = row.AmountMinor
	return payment.Charged{AmountMinor: a.charged, Reference: "r"}
}

// quiesce kills one instance of each service and lets the others finish.
func (w *world) quiesce() {
	var left []*instance
	for n := 0; n < len(w.instances); n += 2 {
		keep := w.random.IntN(2)
		left = append(left, w.instances[n+keep])
		w.check(w.instances[n+1-keep].core.Database().Close())
	}
	w.instances = left
	for idle := 0; idle < 400; {
		moved := false
		for _, i := range left {
			i.paused = 0
			for range 10 {
				moved = w.step(i) || moved
			}
		}
		if moved {
			idle = 0
		} else {
			idle++
		}
	}
}

// audit checks the invariants from the log alone.
func (w *world) audit() {
	bad := w.t.Errorf
	counts := map[string]int{} // by order and type
	available, reserved := map[string]int64{}, map[string]int64{}
	for _, topic := range event.Topics() {
		for _, records := range w.log.topics[topic.Name] {
			for _, r := range records {
				e := w.decode(&r)
				if e.Foreign {
					continue
				}
				counts[e.Stream+" "+e.Type]++
				w.auditStock(e, available, reserved, counts)
			}
		}
	}
	for id, n := range w.log.ids {
		if n > 1 {
			bad("event id %s was stored %d times", id, n)
		}
	}
	for key, n := range reserved {
		if n != 0 {
			bad("reservation left open: %s has %d", key, n)
		}
	}
	outcomes := map[string]int{}
	for id, total := range w.totals {
		outcomes[w.auditOrder(id, total, counts)]++
	}
	w.t.Logf("outcomes %v, conflicts %d", outcomes, w.conflicts)
}

func (w *world) auditStock(e event.Recorded, available, reserved map[string]int64, counts map[string]int) {
	if e.Topic != event.InventoryEvents {
		return
	}
	for _, move := range inventory.Moved(e.Data) {
		available[move.SKU] += move.By.Available
		if available[move.SKU] < 0 {
			w.t.Errorf("stock of %s is %d after %s", move.SKU, available[move.SKU], e.Type)
		}
		reserved[move.SKU] += move.By.Reserved
	}
	switch data := e.Data.(type) {
	case event.StockReserved:
		counts[data.OrderID+" "+e.Type]++
	case event.StockRejected:
		counts[data.OrderID+" "+e.Type]++
	}
}

// auditOrder checks one order and returns what became of it.
func (w *world) auditOrder(id string, total int64, counts map[string]int) string {
	n := func(kind string) int { return counts[id+" "+kind] }
	for _, kind := range []string{"payment.captured", "payment.refunded", "payment.declined", "shipment.dispatched", "stock.reserved", "order.shipped"} {
		if n(kind) > 1 {
			w.t.Errorf("%s: %s %d times", id, kind, n(kind))
		}
	}
	if n("order.placed")+n("order.rejected") != 1 {
		w.t.Errorf("%s: placed %d times, rejected %d times", id, n("order.placed"), n("order.rejected"))
	}
	net := int64(0)
	if a := w.provider[id]; a != nil {
		net = a.charged - a.refunded
	}
	shipped, cancelled := n("shipment.dispatched"), n("shipment.cancelled")
	switch {
	case shipped > 0 && cancelled > 0:
		w.t.Errorf("%s: dispatched and cancelled", id)
	case shipped > 0:
		if net != total || n("order.shipped") != 1 {
			w.t.Errorf("%s: shipped, the provider has %d of %d, order.shipped %d times", id, net, total, n("order.shipped"))
		}
		return query.Shipped
	case net != 0:
		w.t.Errorf("%s: not shipped, the provider keeps %d", id, net)
	case n("order.rejected") == 1:
		return query.Rejected
	case n("payment.declined") == 1:
		return query.Declined
	case n("payment.refunded") == 1 && n("payment.captured") == 1:
		return query.Refunded
	case n("payment.refunded") == 1:
		return query.Cancelled
	default:
		w.t.Errorf("%s: no end: %v", id, slices.Sorted(maps.Keys(counts)))
	}
	return "?"
}

// rebuild folds everything anew, twice, with the partitions mixed differently, and wants
// the digests of the live states.
func (w *world) rebuild() {
	for _, i := range w.instances {
		w.catchUp(i)
		live := i.core.Database().Begin()
		for range 2 {
			rebuilt, err := framework.Rebuild(w.t.Context(), framework.RebuildRequest{
				Definition: i.definition, State: state.Config{FS: vfs.NewMem(), Dir: i.name}, Source: w.log,
			})
			w.check(err)
			var report framework.RebuildReport
			w.check(report.Verify(live, rebuilt))
			if report.State != "verified" {
				w.t.Errorf("%s: live %s, rebuilt %s, first difference %+v", i.name, report.DigestLive, report.DigestRebuilt, report.FirstDifference)
			}
			w.check(rebuilt.Close())
		}
		if i.name == event.Query {
			w.compareViews(live)
		}
		live.Discard()
	}
}

// compareViews checks that the read model calls no order unfinished.
func (w *world) compareViews(tx *state.Tx) {
	for id := range w.totals {
		d, found := query.Get(tx, id)
		if !found || !query.IsFinal(d.Status()) {
			w.t.Errorf("%s: the read model says %s", id, d.Status())
		}
	}
}
