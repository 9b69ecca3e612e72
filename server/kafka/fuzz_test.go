package kafka_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/kafka"
)

// FuzzConnection sends bytes to a node as a client would and says no more. The node answers what it understands, closes
// the connection, and serves others. What it answers are frames.
func FuzzConnection(f *testing.F) {
	address := node(f)
	w := &walk{TB: f, conn: dialNode(f, address), version: 9}
	w.topic("text-7")
	kafka.RandomRequests(func(in kmsg.Request) {
		if wait, ok := in.(*kmsg.FetchRequest); ok {
			wait.MaxWaitMillis = 1
		}
		f.Add(encode(in))
	})
	for _, value := range []string{"a", "b"} {
		f.Add(encode(produceRequest(9, "text-7", batch(f, 1000, value))))
	}
	good := dialNode(f, address)
	f.Fuzz(func(t *testing.T, bytes []byte) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(bytes); err == nil {
			_ = conn.(*net.TCPConn).CloseWrite() // an error says that the node closed it
		}
		answers, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the node keeps the connection open")
		}
		for err == nil && len(answers) > 0 {
			if len(answers) < 8 || uint64(binary.BigEndian.Uint32(answers))+4 > uint64(len(answers)) {
				t.Fatalf("%d bytes that are no frame: %x", len(answers), answers[:min(len(answers), 50)])
			}
			answers = answers[4+binary.BigEndian.Uint32(answers):]
		}
		if out := ask(t, good, kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse); out.ErrorCode != 0 {
			t.Fatalf("others get code %d", out.ErrorCode)
		}
	})
}
