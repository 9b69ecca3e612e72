package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTracker(t *testing.T) {
	tr := newTracker(client.Cut{"t": {5}})
	at := func(offset int64) time.Time { return time.Unix(offset, 0) }
	want := func(cut string, oldest int64) {
		t.Helper()
		got, _ := tr.cut()
		if got.String() != cut {
			t.Errorf("cut %s, wanted %s", got, cut)
		}
		if o := tr.oldest(); (oldest == 0 && !o.IsZero()) || (oldest != 0 && !o.Equal(at(oldest))) {
			t.Errorf("oldest %v, wanted %d", o, oldest)
		}
	}
	want("t:5", 0)
	for _, offset := range []int64{5, 6, 9} { // 7 and 8 hold no record
		tr.begin("t", 0, offset, at(offset))
	}
	want("t:5", 5)
	tr.end("t", 0, 6)
	want("t:5", 5)
	tr.end("t", 0, 5)
	want("t:9", 9)
	tr.end("t", 0, 9)
	want("t:10", 0)
	tr.begin("t", 2, 3, at(3))
	want("t:10,0,3", 3)
	if _, moved := tr.cut(); moved {
		t.Error("nothing was dealt with since the last cut")
	}
}

func TestCircuit(t *testing.T) {
	c := circuit{failures: 2, cooldown: time.Second}
	now := time.Unix(0, 0)
	c.report(false, now)
	if !c.allow(now) || c.isOpen() {
		t.Fatal("open after one failure")
	}
	c.report(false, now)
	if c.allow(now) || !c.isOpen() {
		t.Fatal("closed after two failures")
	}
	now = now.Add(time.Second)
	if !c.allow(now) || c.allow(now) {
		t.Fatal("after the cooldown one call tries, and one alone")
	}
	c.report(false, now)
	if c.allow(now) {
		t.Fatal("the try failed and more are let through")
	}
	now = now.Add(time.Second)
	if !c.allow(now) {
		t.Fatal("no second try")
	}
	c.report(true, now)
	first, second := c.allow(now), c.allow(now)
	if !first || !second || c.isOpen() {
		t.Fatal("still open after a success")
	}
}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(100, 10, time.Now)
		start := time.Now()
		for range 10 {
			b.take(t.Context())
		}
		if passed := time.Since(start); passed > 0 {
			t.Errorf("a burst of ten took %v", passed)
		}
		for range 100 {
			b.take(t.Context())
		}
		if passed := time.Since(start); passed < 990*time.Millisecond || passed > 1010*time.Millisecond {
			t.Errorf("a hundred more took %v", passed)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b.take(ctx) {
			t.Error("a cancelled wait let a call through")
		}
	})
}

func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards order, now, most
		var order []int
		now, most := 0, 0
		l := newLanes(t.Context(), func(_ context.Context, stream string, tasks []task) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			now--
			for _, task := range tasks {
				if stream == "s0" {
					order = append(order, int(task.input.Offset))
				}
			}
			mu.Unlock()
			if len(tasks) > maxLaneInputs {
				t.Errorf("%d tasks at once", len(tasks))
			}
			for _, task := range tasks {
				task.done(Result{}, nil)
			}
		})
		var wait sync.WaitGroup
		for i := range 1000 {
			for s := range 3 + i%50 {
				wait.Add(1)
				l.add(fmt.Sprintf("s%d", s), task{input: Input{Recorded: event.Recorded{Offset: int64(i)}}, done: func(Result, error) { wait.Done() }})
			}
		}
		wait.Wait()
		l.close()
		if !slices.IsSorted(order) || len(order) != 1000 {
			t.Errorf("%d inputs of one stream, sorted %v", len(order), slices.IsSorted(order))
		}
		if most > maxActiveLanes || most < 2 {
			t.Errorf("%d streams at one time", most)
		}
		refused := make(chan error, 1)
		l.add("s0", task{done: func(_ Result, err error) { refused <- err }})
		if err := <-refused; !errors.Is(err, ErrNotReady) {
			t.Errorf("a task after the end: %v", err)
		}
	})
}

// toy counts its own events and answers each order.placed once.
func toy() Definition {
	count := state.NewTable[int]("count")
	return Definition{
		Name: event.Payment, Topic: event.PaymentEvents, Inputs: []string{event.OrderEvents},
		Fold: func(tx *state.Tx, e event.Recorded) error {
			if p, ok := e.Data.(event.PaymentDeclined); ok && p.Code == "poison" {
				return errors.New("cannot be")
			}
			n, _ := count.Get(tx, e.Stream)
			count.Put(tx, n+1, e.Stream)
			return nil
		},
		Stream: func(in event.Recorded) string { return "s" },
		Decide: func(tx *state.Tx, in event.Recorded) Decision {
			if n, _ := count.Get(tx, "s"); n >= 3 {
				return PutAside("enough")
			}
			return Append(event.PaymentRefundRequested{OrderID: "s", Reason: in.ID}, event.PaymentRefunded{OrderID: "s"})
		},
	}
}

func newCore(t *testing.T) *Core {
	database, err := state.Open(state.Config{FS: vfs.NewMem(), Dir: "toy"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewCore(toy(), database)
}

func wire(offset int64, key, kind, source, value string) client.Record {
	r := client.Record{Topic: event.PaymentEvents, Offset: offset, Value: []byte(value), Headers: []client.Header{
		{Name: "ce_id", Value: []byte("id")},
		{Name: "ce_type", Value: []byte(kind)},
		{Name: "ce_source", Value: []byte(source)},
		{Name: "ce_time", Value: []byte("2026-11-22T10:00:00Z")},
	}}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

const ours = "/services/payment"

// Every record with a key counts as a version of its stream, whoever wrote it: the server
// counts so.
func TestVersionsCountAllRecordsWithAKey(t *testing.T) {
	c := newCore(t)
	err := c.Fold([]client.Record{
		wire(0, "s", "payment.declined", ours, `{}`),
		wire(1, "s", "", "", `from outside`),
		wire(2, "", "", "", `without a key`),
		wire(3, "s", "payment.declined", "/services/other", `{}`),
		wire(4, "other", "payment.declined", ours, `{}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := c.Version("s"); v != 2 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if v, _ := c.Version("none"); v != -1 {
		t.Errorf("version of nothing %d", v)
	}
	// What was folded is passed over when it comes again.
	if err := c.Fold([]client.Record{wire(3, "s", "payment.declined", ours, `{}`), wire(5, "s", "payment.declined", ours, `{}`)}); err != nil {
		t.Fatal(err)
	}
	if v, _ := c.Version("s"); v != 3 {
		t.Errorf("version %d after a repetition", v)
	}
}

func TestOwnEventsThatCannotBeFoldedEndTheService(t *testing.T) {
	for name, r := range map[string]client.Record{
		"no json":      wire(0, "s", "payment.declined", ours, `{`),
		"unknown type": wire(0, "s", "payment.from_the_future", ours, `{}`),
		"fold refuses": wire(0, "s", "payment.declined", ours, `{"code":"poison"}`),
	} {
		c := newCore(t)
		err := c.Fold([]client.Record{r})
		if !errors.Is(err, ErrFold) || !strings.Contains(err.Error(), "payment-events partition 0 offset 0") {
			t.Errorf("%s: %v", name, err)
		}
		tx := c.Database().Begin()
		if len(tx.Folded()) > 0 {
			t.Errorf("%s: the checkpoint moved", name)
		}
		tx.Discard()
	}
}

func TestDecide(t *testing.T) {
	c := newCore(t)
	if err := c.Fold([]client.Record{wire(0, "s", "payment.declined", ours, `{}`)}); err != nil {
		t.Fatal(err)
	}
	inputs := []Input{
		{Recorded: event.Recorded{Topic: event.OrderEvents, ID: "first", Correlation: "order", TraceParent: "trace"}},
		{Recorded: event.Recorded{Topic: event.OrderEvents, Offset: 9, ID: "second"}},
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("x", 3600))
	draft, err := c.Decide("s", inputs, now)
	if err != nil {
		t.Fatal(err)
	}
	if draft.Expected != 0 || len(draft.Events) != 2 || len(draft.Asides) != 1 || draft.Asides[0].Offset != 9 {
		t.Fatalf("draft %+v", draft)
	}
	for i, e := range draft.Events {
		if e.ID != event.ID(event.Payment, "first", i) || e.Extension("causationid") != "first" || e.Extension("correlationid") != "order" ||
			e.Extension("traceparent") != "trace" || e.Subject != "s" || e.Source != ours || !e.Time.Equal(now) || e.Time.Location() != time.UTC {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	again, err := c.Decide("s", inputs, now.Add(time.Hour))
	if err != nil || again.Events[0].ID != draft.Events[0].ID || again.Events[1].ID != draft.Events[1].ID {
		t.Errorf("the same decision has other ids: %v", err)
	}
	outcome, err := c.Decide("s", []Input{{Recorded: event.Recorded{ID: "first"}, Outcome: true}}, now)
	if err != nil || outcome.Events[0].ID != event.StepID(event.Payment, "payment.refund_requested", "s") {
		t.Errorf("the id of an outcome: %+v, %v", outcome.Events, err)
	}
	if v, _ := c.Version("s"); v != 0 {
		t.Errorf("a draft changed the state: version %d", v)
	}
}

func TestPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPosition(client.Cut{"t": {3}})
		done := make(chan error, 1)
		go func() { done <- p.covers(t.Context(), client.Cut{"t": {3, 2}}) }()
		synctest.Wait()
		p.advance([]client.Record{{Topic: "t", Partition: 1, Offset: 0}})
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("came back early: %v", err)
		default:
		}
		p.advance([]client.Record{{Topic: "t", Partition: 1, Offset: 1}})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.covers(ctx, client.Cut{"t": {4}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
