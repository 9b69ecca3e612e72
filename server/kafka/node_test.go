package kafka_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/server"
)

// node runs a single node in memory and returns the address of its Kafka listener.
func node(t testing.TB, change ...func(*server.Config)) string {
	t.Helper()
	return nodeAddresses(t, change...)["PLAINTEXT"]
}

// nodeAddresses runs a single node in memory and returns its Kafka addresses by listener.
func nodeAddresses(t testing.TB, change ...func(*server.Config)) map[string]string {
	t.Helper()
	config := server.Config{
		Data: "data", Storage: vfs.NewMem(), HTTP: "127.0.0.1:0",
		Kafka:  []server.Listener{{Name: "PLAINTEXT", Bind: "127.0.0.1:0"}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Fatal:  func(err error) { t.Errorf("the node cannot go on: %v", err) },
	}
	for _, c := range change {
		c(&config)
	}
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	deadline := time.Now().Add(10 * time.Second)
	for s.Ready() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", s.Ready())
		}
		<-time.After(5 * time.Millisecond)
	}
	return s.Addresses().Kafka
}

func dialNode(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func client(t testing.TB, address string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// patience ends a test that hangs.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
