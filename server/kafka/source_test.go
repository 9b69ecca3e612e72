package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// dripping is a connection that gives what it holds in pieces of random size.
type dripping struct {
	net.Conn
	random *rand.Rand
	most   int
	rest   []byte
}

func (d *dripping) Read(b []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+d.random.IntN(d.most))], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *dripping) SetReadDeadline(time.Time) error { return nil }

// Whatever the pieces in which bytes come, and by whichever methods they are taken, they are taken once and in order.
func TestSourceTakesEveryByteOnce(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		var stream []byte
		for range 5 {
			body := make([]byte, random.IntN(200_000))
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			stream = binary.BigEndian.AppendUint32(stream, uint32(len(body)))
			stream = append(stream, body...)
		}
		most := []int{1 + random.IntN(50), 100_000}[seed%2]
		s := newSource(&dripping{random: random, most: most, rest: stream}, time.Second)
		for at := 0; at < len(stream); {
			size, err := s.size(time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			want := stream[at+4 : at+4+int(size)]
			at += 4 + int(size)
			s.left = int(size)
			takeAll(t, random, s, want)
			if _, err := s.next(1); !errors.Is(err, errMalformed) {
				t.Fatalf("beyond the request: %v", err)
			}
		}
	}
}

func takeAll(t *testing.T, random *rand.Rand, s *source, want []byte) {
	for len(want) > 0 {
		n := 1 + random.IntN(min(len(want), sourceLarge))
		switch random.IntN(4) {
		case 0:
			if n = min(n, 3000); s.skip(n) != nil {
				t.Fatal("skip")
			}
		case 1:
			got := make([]byte, n)
			if err := s.read(got); err != nil || !bytes.Equal(got, want[:n]) {
				t.Fatalf("read %d bytes: %v", n, err)
			}
		case 2:
			if got, err := s.peek(n); err != nil || !bytes.Equal(got, want[:n]) {
				t.Fatalf("peek %d bytes: %v", n, err)
			}
			fallthrough
		default:
			if got, err := s.next(n); err != nil || !bytes.Equal(got, want[:n]) {
				t.Fatalf("next %d bytes: %v", n, err)
			}
		}
		want = want[n:]
	}
}

// A client that sends a byte now and then does not hold a request for ever.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, _ := start(t, Limits{Read: 30 * time.Second})
		conn := dial()
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for _, b := range frameOf(3, 1, 1, make([]byte, 500)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(5 * time.Second)
			}
		}()
		wantClosed(t, "trickle", conn)
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("closed after %s", took)
		}
		<-ended
	})
}
