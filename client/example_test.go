package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/server"
)

// startNode runs a node in memory for the examples; a program names the addresses of its
// cluster instead.
func startNode() (client.Config, func()) {
	node, err := server.New(server.Config{
		Data: "data", Storage: vfs.NewMem(), Kafka: []server.Listener{{Bind: "127.0.0.1:0"}}, HTTP: "127.0.0.1:0",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	addresses := node.Addresses()
	return client.Config{Brokers: []string{addresses.Kafka["PLAINTEXT"]}, HTTP: []string{addresses.HTTP}}, func() {
		if err := node.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// Decide on what is there, and append only if nobody was faster.
func ExampleStream_Append() {
	config, stop := startNode()
	defer stop()
	ctx := context.Background()
	c := must(client.New(config))
	defer c.Close()
	topic := client.Topic{Name: "order-events", Partitions: 6, Configs: map[string]string{"eventstore.enable": "true"}}
	if err := c.CreateTopics(ctx, topic); err != nil {
		fmt.Println(err)
		return
	}
	order := c.Stream("order-events", "9827")
	placed := client.Event{ID: "1", Type: "order.placed", Source: "/example", Data: []byte(`{"total":12900}`)}
	at := must(order.Append(ctx, client.ExpectNone, placed))
	fmt.Println("placed as version", at.FirstVersion)

	// The same append again, as after a lost answer, is recognised by the event's id.
	again := must(order.Append(ctx, client.ExpectNone, placed))
	fmt.Println("again:", again.FirstVersion, again.Duplicate)

	// Two writers read version 0; the second one is told what it has not seen.
	must(order.Append(ctx, 0, client.Event{ID: "2", Type: "order.paid", Source: "/example", Data: []byte(`{}`)}))
	_, err := order.Append(ctx, 0, client.Event{ID: "3", Type: "order.cancelled", Source: "/example", Data: []byte(`{}`)})
	if conflict, ok := errors.AsType[*client.ConflictError](err); ok {
		fmt.Println("conflict: it is at version", conflict.Actual, "after", conflict.Unseen[0].Type)
	}
	// Output:
	// placed as version 0
	// again: 0 true
	// conflict: it is at version 1 after order.paid
}

// All events of one key, without reading anybody else's.
func ExampleStream_Read() {
	config, stop := startNode()
	defer stop()
	ctx := context.Background()
	c := must(client.New(config))
	defer c.Close()
	topic := client.Topic{Name: "order-events", Partitions: 6, Configs: map[string]string{"eventstore.enable": "true"}}
	if err := c.CreateTopics(ctx, topic); err != nil {
		fmt.Println(err)
		return
	}
	order := c.Stream("order-events", "9827")
	must(order.Append(ctx, client.ExpectNone,
		client.Event{ID: "1", Type: "order.placed", Source: "/example", Data: []byte(`{"total":12900}`)},
		client.Event{ID: "2", Type: "order.paid", Source: "/example", Data: []byte(`{}`)},
	))
	events, head, err := order.Read(ctx, client.ReadRequest{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range events {
		fmt.Println(e.Version, e.Type, string(e.Data))
	}
	newest, _, err := order.Read(ctx, client.ReadRequest{FromEnd: true, Backward: true, Limit: 1})
	fmt.Println("head", head, "is", newest[0].Type, err)
	// Output:
	// 0 order.placed {"total":12900}
	// 1 order.paid {}
	// head 1 is order.paid <nil>
}

// Produce, then consume in a group and say what is done.
func ExampleClient_Consumer() {
	config, stop := startNode()
	defer stop()
	ctx := context.Background()
	c := must(client.New(config))
	defer c.Close()
	if err := c.CreateTopics(ctx, client.Topic{Name: "greetings", Partitions: 1}); err != nil {
		fmt.Println(err)
		return
	}
	producer := must(c.Producer(client.ProducerConfig{}))
	defer producer.Close()
	hello := &client.Record{Topic: "greetings", Key: []byte("k"), Value: []byte("hello")}
	if err := producer.Produce(ctx, hello, &client.Record{Topic: "greetings", Value: []byte("world")}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored at offset", hello.Offset)

	consumer := must(c.Consumer(client.ConsumerConfig{Group: "readers", Topics: []string{"greetings"}}))
	defer consumer.Close()
	for seen := 0; seen < 2; {
		records := must(consumer.Poll(ctx, 0))
		for _, r := range records {
			fmt.Println(r.Offset, string(r.Value))
		}
		if err := consumer.Commit(ctx, records...); err != nil {
			fmt.Println(err)
			return
		}
		seen += len(records)
	}
	// Output:
	// stored at offset 0
	// 0 hello
	// 1 world
}

// Read whole topics from offset 0 to where they end now.
func ExampleClient_Replay() {
	config, stop := startNode()
	defer stop()
	ctx := context.Background()
	c := must(client.New(config))
	defer c.Close()
	if err := c.CreateTopics(ctx, client.Topic{Name: "numbers", Partitions: 1}); err != nil {
		fmt.Println(err)
		return
	}
	producer := must(c.Producer(client.ProducerConfig{}))
	defer producer.Close()
	for n := range 3 {
		if err := producer.Produce(ctx, &client.Record{Topic: "numbers", Value: fmt.Append(nil, n)}); err != nil {
			fmt.Println(err)
			return
		}
	}
	cut := must(c.Cut(ctx, "numbers"))
	last := client.Progress{}
	err := c.Replay(ctx, client.ReplayRequest{
		To:       cut,
		Visit:    func(r client.Record) error { fmt.Println(r.Offset, string(r.Value)); return nil },
		Progress: func(p client.Progress) { last = p },
	})
	fmt.Println(cut, "-", last.Done, "of", last.Total, err)
	// Output:
	// 0 0
	// 1 1
	// 2 2
	// numbers:3 - 3 of 3 <nil>
}
