package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/client"
)

// onNode returns a client of a node in memory.
func onNode(t *testing.T) *client.Client {
	t.Helper()
	config, stop := startNode()
	t.Cleanup(stop)
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func create(t *testing.T, c *client.Client, name string, partitions int32) {
	t.Helper()
	topic := client.Topic{Name: name, Partitions: partitions, Configs: map[string]string{"eventstore.enable": "true"}}
	for range 2 { // the second time it is there, and stays as it is
		if err := c.CreateTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
}

// An answer of the server ends at 4 MiB; a read does not.
func TestReadOfMoreThanOneAnswer(t *testing.T) {
	c := onNode(t)
	create(t, c, "t", 1)
	stream := c.Stream("t", "k")
	data := []byte(`"` + strings.Repeat("x", 900<<10) + `"`)
	const count = 6
	for i := range count {
		if _, err := stream.Append(t.Context(), client.ExpectAny, client.Event{ID: fmt.Sprint(i), Type: "t", Source: "s", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	events, head, err := stream.Read(t.Context(), client.ReadRequest{})
	if err != nil || head != count-1 || len(events) != count {
		t.Fatalf("%d events, head %d, %v", len(events), head, err)
	}
	for i, e := range events {
		if e.Version != int64(i) || len(e.Data) != len(data) {
			t.Errorf("event %d has version %d and %d bytes", i, e.Version, len(e.Data))
		}
	}
}

// What goes in through the HTTP door comes out of both, header for header, byte for byte.
func TestBothDoors(t *testing.T) {
	c := onNode(t)
	create(t, c, "t", 3)
	in := client.Event{
		ID: "i-1", Type: "a.b", Source: "/s", Subject: "k/1", Time: time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC),
		Extensions: []client.Attribute{{Name: "correlationid", Value: "c 1"}, {Name: "causationid", Value: `"q"`}},
		Data:       []byte(`{"n": 1.50, "s":"ä<>&"}`),
	}
	stream := c.Stream("t", "k/1 ü")
	at, err := stream.Append(t.Context(), client.ExpectNone, in)
	if err != nil {
		t.Fatal(err)
	}
	events, err := stream.All(t.Context())
	if err != nil || len(events) != 1 {
		t.Fatalf("%v, %v", events, err)
	}
	got := events[0]
	if got.ID != in.ID || got.Type != in.Type || got.Source != in.Source || got.Subject != in.Subject || !got.Time.Equal(in.Time) ||
		got.Extension("correlationid") != "c 1" || got.Extension("causationid") != `"q"` || string(got.Data) != string(in.Data) || got.Version != 0 || got.Offset != at.FirstOffset {
		t.Errorf("through http: %+v", got)
	}
	reader, err := c.Reader(client.ReaderConfig{From: client.Cut{"t": {0, 0, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	records, err := reader.Poll(t.Context(), 0)
	if err != nil || len(records) != 1 {
		t.Fatalf("%v, %v", records, err)
	}
	r := records[0]
	if r.Partition != at.Partition || r.Offset != at.FirstOffset || string(r.Key) != "k/1 ü" || string(r.Value) != string(in.Data) {
		t.Errorf("through kafka: %+v", r)
	}
	for name, want := range map[string]string{
		"ce_id": "i-1", "ce_type": "a.b", "ce_source": "/s", "ce_subject": "k/1", "ce_time": "2026-11-22T10:00:00.123456789Z", "ce_specversion": "1.0",
		"ce_correlationid": "c 1", "ce_causationid": `"q"`, "content-type": "application/json",
	} {
		if value, _ := r.Header(name); string(value) != want {
			t.Errorf("header %s is %q, wanted %q", name, value, want)
		}
	}
}

// A reader may wait for a stream to begin.
func TestWaitForTheFirstEvent(t *testing.T) {
	c := onNode(t)
	create(t, c, "t", 1)
	stream := c.Stream("t", "k")
	if _, _, err := stream.Read(t.Context(), client.ReadRequest{}); !errors.Is(err, client.ErrNoStream) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	read, sent := make(chan error, 1), make(chan struct{}, 1)
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
		select {
		case sent <- struct{}{}:
		default: // asked again
		}
	}})
	go func() {
		events, head, err := stream.Read(traced, client.ReadRequest{MinVersion: new(int64(0))})
		if err == nil && (head != 0 || len(events) != 1) {
			err = fmt.Errorf("%d events, head %d", len(events), head)
		}
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("it did not wait: %v", err)
	case <-sent:
	}
	if _, err := stream.Append(ctx, client.ExpectNone, client.Event{ID: "i", Type: "t", Source: "s", Data: []byte(`1`)}); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func TestStreamConditions(t *testing.T) {
	c := onNode(t)
	create(t, c, "t", 1)
	n := 0
	event := func() client.Event {
		n++
		return client.Event{ID: fmt.Sprint(n), Type: "x", Source: "/s", Data: fmt.Append(nil, n)}
	}
	stream := c.Stream("t", "k")
	var conflict *client.ConflictError
	if _, err := stream.Append(t.Context(), client.ExpectExists, event()); !errors.As(err, &conflict) || conflict.Actual != -1 {
		t.Errorf("exists: %v", err)
	}
	for i, expected := range []client.Expected{client.ExpectNone, 0, client.ExpectExists, client.ExpectAny, 3} {
		at, err := stream.Append(t.Context(), expected, event())
		if err != nil || at.FirstVersion != int64(i) {
			t.Errorf("%s: %+v, %v", expected, at, err)
		}
	}
	if _, err := stream.Append(t.Context(), client.ExpectNone, event()); !errors.As(err, &conflict) || conflict.Actual != 4 || len(conflict.Unseen) != 5 {
		t.Errorf("none: %v", err)
	}
	if _, err := stream.Append(t.Context(), 2, event()); !errors.As(err, &conflict) || len(conflict.Unseen) != 2 || conflict.Unseen[0].Version != 3 {
		t.Errorf("2: %v", err)
	}
	backward, head, err := stream.Read(t.Context(), client.ReadRequest{From: 3, Backward: true, Limit: 2})
	if err != nil || head != 4 || len(backward) != 2 || backward[0].Version != 3 || backward[1].Version != 2 {
		t.Errorf("backward: %+v, %d, %v", backward, head, err)
	}
	if _, _, err := c.Stream("t", "nobody").Read(t.Context(), client.ReadRequest{}); !errors.Is(err, client.ErrNoStream) {
		t.Errorf("no stream: %v", err)
	}
}

func TestReaderNeverJumps(t *testing.T) {
	c := onNode(t)
	create(t, c, "t", 1)
	reader, err := c.Reader(client.ReaderConfig{From: client.Cut{"t": {17}}})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if records, err := reader.Poll(ctx, 0); !errors.Is(err, client.ErrOutOfRange) {
		t.Errorf("an offset that is not there: %v, %v", records, err)
	}
}

func TestReplayStopsAtTheCut(t *testing.T) {
	c := onNode(t)
	create(t, c, "t", 4)
	producer, err := c.Producer(client.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	var records []*client.Record
	for n := range 1000 {
		records = append(records, &client.Record{Topic: "t", Key: fmt.Append(nil, n%50), Value: fmt.Append(nil, n)})
	}
	if err := producer.Produce(t.Context(), records[:700]...); err != nil {
		t.Fatal(err)
	}
	cut, err := c.Cut(t.Context(), "t")
	if err != nil || cut.Events() != 700 {
		t.Fatalf("%v, %v", cut, err)
	}
	if err := producer.Produce(t.Context(), records[700:]...); err != nil {
		t.Fatal(err)
	}
	seen, next := 0, client.Cut{}
	var progress client.Progress
	err = c.Replay(t.Context(), client.ReplayRequest{To: cut, Progress: func(p client.Progress) { progress = p }, Visit: func(r client.Record) error {
		if r.Offset != next.Offset("t", r.Partition) {
			t.Errorf("partition %d: offset %d, wanted %d", r.Partition, r.Offset, next.Offset("t", r.Partition))
		}
		next.Set("t", r.Partition, r.Offset+1)
		seen++
		return nil
	}})
	if err != nil || seen != 700 || progress.Done != 700 || progress.Total != 700 || next.String() != cut.String() {
		t.Errorf("%d records to %s of %s, progress %+v, %v", seen, next, cut, progress, err)
	}
	stop := errors.New("enough")
	err = c.Replay(t.Context(), client.ReplayRequest{To: cut, Visit: func(client.Record) error { return stop }})
	if !errors.Is(err, stop) {
		t.Errorf("visit's error: %v", err)
	}
}

func TestPing(t *testing.T) {
	if err := onNode(t).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	c, err := client.New(client.Config{Brokers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Ping(ctx); err == nil || !strings.Contains(err.Error(), "reach brokers [127.0.0.1:1]") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := c.Cut(ctx, "none"); err == nil {
		t.Error("a cut of nothing")
	}
}

// What retention has removed is missed by who begins at 0, and not by who begins at what there is.
func TestReplayOfATrimmedTopic(t *testing.T) {
	config, stop := startNode()
	t.Cleanup(stop)
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.CreateTopics(ctx, client.Topic{Name: "t", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	k, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for i := range 10 {
		if err := k.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: int32(i % 2), Value: []byte{byte(i)}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kadm.NewClient(k).DeleteRecords(ctx, kadm.Offsets{"t": {0: {Topic: "t", Partition: 0, At: 3}}}); err != nil {
		t.Fatal(err)
	}
	starts, err := c.Starts(ctx, "t")
	if err != nil || starts.String() != "t:3,0" {
		t.Fatalf("starts %s, %v", starts, err)
	}
	visit := func(from, to client.Cut) (visited int, last client.Progress, err error) {
		err = c.Replay(ctx, client.ReplayRequest{
			From: from, To: to,
			Visit:    func(client.Record) error { visited++; return nil },
			Progress: func(p client.Progress) { last = p },
		})
		return visited, last, err
	}
	end := client.Cut{"t": {5, 5}}
	if _, _, err := visit(nil, end); !errors.Is(err, client.ErrOutOfRange) {
		t.Errorf("from offset 0: %v", err)
	}
	if visited, last, err := visit(starts, end); visited != 7 || last.Done != 7 || last.Total != 7 || err != nil {
		t.Errorf("from what there is: %d, %+v, %v", visited, last, err)
	}
	if visited, _, err := visit(starts, client.Cut{"t": {2, 4}}); visited != 4 || err != nil {
		t.Errorf("to a cut before the start of a partition: %d, %v", visited, err)
	}
	for _, beyond := range []client.Cut{{"t": {5, 6}}, {"t": {5, 5, 1}}} {
		if _, _, err := visit(starts, beyond); err == nil || !strings.Contains(err.Error(), "the log ends at t:5,5") {
			t.Errorf("to %s: %v", beyond, err)
		}
	}
}

// Appends need no HTTP: success, a repetition and a conflict are told through the Kafka door.
func TestAppendWithoutHTTP(t *testing.T) {
	config, stop := startNode()
	t.Cleanup(stop)
	setup, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(setup.Close)
	create(t, setup, "t", 5)
	config.HTTP = []string{"127.0.0.1:1"}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	event := func(id string) client.Event {
		return client.Event{ID: id, Type: "x", Source: "/s", Data: []byte("1")}
	}
	stream := c.Stream("t", "order 9827")
	first, err := stream.Append(t.Context(), client.ExpectNone, event("a"), event("b"))
	if err != nil || first.FirstVersion != 0 || first.LastVersion != 1 || first.Duplicate {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := stream.Append(t.Context(), client.ExpectNone, event("a"), event("b"))
	first.Duplicate = true
	if err != nil || again != first {
		t.Errorf("again: %+v, %v; the first time %+v", again, err, first)
	}
	if at, err := stream.Append(t.Context(), client.ExpectAny, event("c")); err != nil || at.FirstVersion != 2 {
		t.Errorf("any: %+v, %v", at, err)
	}
	var conflict *client.ConflictError
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // for the events that it has not seen
	defer cancel()
	if _, err := stream.Append(ctx, 0, event("d")); !errors.As(err, &conflict) || conflict.Actual != 2 {
		t.Errorf("conflict: %v", err)
	}
}
