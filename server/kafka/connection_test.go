package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/internal/network"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server without a broker, which is enough for what never gets that far, on a network in memory.
func start(t testing.TB, limits Limits) (dial func() net.Conn, logged *lines) {
	t.Helper()
	pipes := network.NewPipes()
	bound, err := Listen(pipes.Host("node"), []Listener{{Name: "PLAINTEXT", Bind: "node:9092"}})
	if err != nil {
		t.Fatal(err)
	}
	logged = &lines{}
	s, err := NewServer(Config{
		Listeners: bound, Pool: frame.NewPool(1 << 20), Limits: limits,
		Logger: slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return func() net.Conn {
		conn, err := pipes.Host("client").Dial(context.Background(), "node:9092")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}, logged
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// send writes a frame with a header of version 1, its size before it.
func send(t testing.TB, conn net.Conn, key, version int16, correlation int32, body []byte) {
	t.Helper()
	if _, err := conn.Write(frameOf(key, version, correlation, body)); err != nil {
		t.Fatal(err)
	}
}

func frameOf(key, version int16, correlation int32, body []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	out = binary.BigEndian.AppendUint16(out, uint16(key))
	out = binary.BigEndian.AppendUint16(out, uint16(version))
	out = binary.BigEndian.AppendUint32(out, uint32(correlation))
	out = append(out, 0xff, 0xff) // no client id
	return append(out, body...)
}

// receive reads one answer, its size left out.
func receive(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	answer, err := receiveAnswer(conn)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func receiveAnswer(conn net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

// wantClosed waits until the server closes a connection, without a further byte.
func wantClosed(t testing.TB, what string, conn net.Conn) {
	t.Helper()
	var b [1]byte
	if n, err := conn.Read(b[:]); n > 0 || err == nil {
		t.Errorf("%s: an answer, wanted the connection closed", what)
	}
}

// flexibleAPIVersions is the rest of an ApiVersions request of version 3: header tags, names, tags.
func flexibleAPIVersions() []byte { return []byte("\x00\x05test\x041.0\x00") }

func TestAPIVersions(t *testing.T) {
	dial, _ := start(t, Limits{})
	conn := dial()
	for version := range int16(5) {
		body := []byte(nil)
		if version >= 3 {
			body = flexibleAPIVersions()
		}
		send(t, conn, keyAPIVersions, version, 77, body)
		answer := receive(t, conn)
		if got := binary.BigEndian.Uint32(answer); got != 77 {
			t.Fatalf("version %d: correlation %d", version, got)
		}
		// The header never has tags: the body follows the correlation at once.
		var out kmsg.ApiVersionsResponse
		out.SetVersion(version)
		if err := out.ReadFrom(answer[4:]); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if out.ErrorCode != 0 || len(out.ApiKeys) != len(table) || len(out.SupportedFeatures) > 0 || len(out.FinalizedFeatures) > 0 {
			t.Errorf("version %d: %+v", version, out)
		}
		for i, key := range out.ApiKeys {
			if key.ApiKey != table[i].key || key.MinVersion != table[i].min || key.MaxVersion != table[i].max {
				t.Errorf("version %d: key %+v, wanted %+v", version, key, table[i])
			}
		}
		if again := out.AppendTo(nil); !bytes.Equal(again, answer[4:]) {
			t.Errorf("version %d: %x is not what kmsg writes, %x", version, answer[4:], again)
		}
	}
}

// The whole of T0, as the research names it: a change of the table has to change this line too.
func TestTableIsTierT0(t *testing.T) {
	const tier = "18:0-4, 3:0-12, 0:0-11, 1:4-17, 2:1-9, 10:0-6, 11:0-9, 12:0-4, 13:0-5, 14:0-5, 8:2-9, 9:1-9, 19:2-7, " +
		"20:1-6, 37:0-3, 15:0-5, 16:0-5, 42:0-2, 47:0-0, 32:1-4, 33:0-2, 44:0-1, 21:0-2, 22:0-5, 23:2-4, 60:0-1, 17:0-1, 36:0-2"
	rows := strings.Split(tier, ", ")
	if len(rows) != len(table) {
		t.Errorf("%d keys, wanted %d", len(table), len(rows))
	}
	for i := range table {
		a := &table[i]
		row := fmt.Sprintf("%d:%d-%d", a.key, a.min, a.max)
		if !strings.Contains(", "+tier+",", ", "+row+",") {
			t.Errorf("%s: %s is not in the tier", a.name, row)
		}
		if i > 0 && a.key <= table[i-1].key {
			t.Errorf("%s: keys do not ascend", a.name)
		}
		for version := a.min; version <= a.max; version++ {
			in := kmsg.RequestForKey(a.key)
			in.SetVersion(version)
			if in.IsFlexible() != (version >= a.flexible) {
				t.Errorf("%s version %d: kmsg says flexible %t", a.name, version, in.IsFlexible())
			}
		}
	}
}

func TestUnsupportedAPIVersions(t *testing.T) {
	dial, _ := start(t, Limits{})
	conn := dial()
	for _, version := range []int16{5, 99, -1, 32767} {
		send(t, conn, keyAPIVersions, version, 1, []byte("whatever a later version holds"))
		// correlation, error 35, one key: 18 from 0 to 4.
		if got, want := hex.EncodeToString(receive(t, conn)), "00000001"+"0023"+"00000001"+"001200000004"; got != want {
			t.Errorf("version %d: %s, wanted %s", version, got, want)
		}
	}
	send(t, conn, keyAPIVersions, 3, 2, []byte("\x00\x04a b\x041.0\x00"))
	if got, want := hex.EncodeToString(receive(t, conn))[:12], "00000002002a"; got != want {
		t.Errorf("name with a space: %s, wanted %s", got, want)
	}
}

func TestSASL(t *testing.T) {
	dial, _ := start(t, Limits{})
	conn := dial()
	send(t, conn, 17, 1, 1, []byte("\x00\x05PLAIN"))
	if got, want := hex.EncodeToString(receive(t, conn)), "00000001"+"0021"+"00000000"; got != want {
		t.Errorf("handshake: %s, wanted %s", got, want)
	}
	send(t, conn, 36, 0, 2, []byte("\x00\x00\x00\x01x"))
	if got, want := hex.EncodeToString(receive(t, conn))[:12], "000000020022"; got != want {
		t.Errorf("authenticate: %s, wanted %s", got, want)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	dial, _ := start(t, Limits{})
	conn := dial()
	const requests = 200
	var all []byte
	for i := range requests {
		all = append(all, frameOf(keyAPIVersions, int16(i%3), int32(i), nil)...)
	}
	go func() { _, _ = conn.Write(all) }()
	for i := range requests {
		if got := binary.BigEndian.Uint32(receive(t, conn)); got != uint32(i) {
			t.Fatalf("answer %d has correlation %d", i, got)
		}
	}
}

// hostile returns frames that must close their connection.
func hostile() map[string][]byte {
	random := rand.New(rand.NewPCG(9, 10))
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	noise[0] = 0x7f
	framed := func(body []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	return map[string][]byte{
		"noise":                   noise,
		"framed noise":            framed(noise[1:]),
		"tls hello":               []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"http":                    []byte("GET / HTTP/1.1\r\nHost: here\r\n\r\n"),
		"size of nothing":         {0, 0, 0, 0},
		"size below a header":     {0, 0, 0, 7, 0, 18, 0, 0, 0, 0, 0},
		"negative size":           {0xff, 0xff, 0xff, 0xff},
		"size above the limit":    {0x04, 0x00, 0x00, 0x01, 0, 0, 0, 7},
		"metadata above limit":    binary.BigEndian.AppendUint32(append(binary.BigEndian.AppendUint32(nil, 33<<20), 0, 3, 0, 1), 1),
		"unknown key":             frameOf(999, 0, 1, nil),
		"negative key":            frameOf(-1, 0, 1, nil),
		"key of replicas":         frameOf(4, 0, 1, nil),
		"metadata too new":        frameOf(3, 13, 1, make([]byte, 20)),
		"produce too old":         frameOf(0, 2, 1, make([]byte, 20)),
		"fetch too old":           frameOf(1, 3, 1, make([]byte, 40)),
		"client id beyond":        framed([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff}),
		"client id of -2":         framed([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe}),
		"no client id":            framed([]byte{0, 3, 0, 1, 0, 0, 0, 1}),
		"header tags":             frameOf(3, 9, 1, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}),
		"metadata count":          frameOf(3, 1, 1, []byte{0x7f, 0xff, 0xff, 0xff}),
		"metadata cut short":      frameOf(3, 1, 1, []byte{0, 0, 0, 1, 0, 5, 'a'}),
		"api versions tag count":  frameOf(18, 3, 1, []byte("\x00\x02a\x02b\xff\xff\xff\xff\x0f")),
		"api versions cut short":  frameOf(18, 3, 1, []byte("\x00\x09a")),
		"fetch without a body":    frameOf(1, 4, 1, nil),
		"fetch topic count":       frameOf(1, 4, 1, append(make([]byte, 17), 0x7f, 0xff, 0xff, 0xff)),
		"fetch partition count":   frameOf(1, 4, 1, append(make([]byte, 17), 0, 0, 0, 1, 0, 1, 'a', 0x10, 0, 0, 0)),
		"fetch many tags":         frameOf(1, 12, 1, append(append([]byte{0}, make([]byte, 25)...), 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f)),
		"produce topic count":     frameOf(0, 7, 1, []byte{0xff, 0xff, 0, 1, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff}),
		"produce negative count":  frameOf(0, 7, 1, []byte{0xff, 0xff, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff}),
		"produce partition count": frameOf(0, 7, 1, []byte{0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, 'a', 0x7f, 0xff, 0xff, 0xff}),
		"produce cut short":       frameOf(0, 7, 1, []byte{0xff, 0xff, 0, 1, 0}),
		"produce string":          frameOf(0, 9, 1, []byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f}),
		"produce varint":          frameOf(0, 9, 1, []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
		"produce tags":            frameOf(0, 9, 1, []byte{0, 0, 0, 1, 0, 0, 0, 9, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}),
		"produce header tags":     frameOf(0, 9, 1, []byte{40, 0, 0}),
	}
}

func TestHostileFramesCloseTheirConnectionOnly(t *testing.T) {
	dial, logged := start(t, Limits{})
	good := dial()
	for what, bytes := range hostile() {
		bad := dial()
		// The server may close while this still writes.
		_, _ = bad.Write(bytes)
		wantClosed(t, what, bad)
		send(t, good, keyAPIVersions, 0, 5, nil)
		if got := binary.BigEndian.Uint32(receive(t, good)); got != 5 {
			t.Fatalf("after %s: correlation %d", what, got)
		}
	}
	text := logged.String()
	if got := strings.Count(text, "\n"); got == 0 || got > noiseLines {
		t.Errorf("%d lines were logged, wanted up to %d", got, noiseLines)
	}
}

func TestHintsForOtherProtocols(t *testing.T) {
	dial, logged := start(t, Limits{})
	for _, hello := range []string{"\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\n"} {
		conn := dial()
		_, _ = conn.Write([]byte(hello))
		wantClosed(t, hello, conn)
	}
	for _, want := range []string{"TLS hello", "HTTP request"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no line has %q:\n%s", want, logged)
		}
	}
}

// A request that is only announced takes no memory: ten thousand clients could do so.
func TestAnnouncedBytesAreNotHeld(t *testing.T) {
	pipes := network.NewPipes()
	bound, err := Listen(pipes.Host("node"), []Listener{{Name: "PLAINTEXT", Bind: "node:9092"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(Config{Listeners: bound, Pool: frame.NewPool(1 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve() }()
	defer s.Close()
	for range 100 {
		conn, err := pipes.Host("client").Dial(context.Background(), "node:9092")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		announced := binary.BigEndian.AppendUint32(nil, 30<<20)
		if _, err := conn.Write(append(announced, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff)); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pipes.Host("client").Dial(context.Background(), "node:9092")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(t, conn, keyAPIVersions, 0, 5, nil)
	receive(t, conn)
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	if held := s.limits.TotalBytes - s.requests.left; held > 100*bodyStep {
		t.Errorf("%d bytes are held for 100 announced requests", held)
	}
}

func TestDeadlines(t *testing.T) {
	limits := Limits{FirstRequest: 10 * time.Second, Idle: 10 * time.Minute, Read: 30 * time.Second, Write: 40 * time.Second}
	write := func(bytes ...byte) func(*testing.T, net.Conn) {
		return func(t *testing.T, conn net.Conn) {
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		what string
		use  func(t *testing.T, conn net.Conn)
		want time.Duration // until the connection is closed
	}{
		{"nothing said", write(), 10 * time.Second},
		{"a part of the size", write(0, 0), 30 * time.Second},
		{"a part of a header", write(0, 0, 1, 0, 0, 3, 0, 1), 30 * time.Second},
		{"a part of a body", write(frameOf(3, 1, 1, []byte{0, 0, 0, 1, 0, 9, 'a'})[:18]...), 30 * time.Second},
		{"idle after a request", func(t *testing.T, conn net.Conn) {
			send(t, conn, keyAPIVersions, 0, 5, nil)
			receive(t, conn)
		}, 10 * time.Minute},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial, _ := start(t, limits)
				conn := dial()
				began := time.Now()
				c.use(t, conn)
				wantClosed(t, c.what, conn)
				if took := time.Since(began); took != c.want {
					t.Errorf("closed after %s, wanted %s", took, c.want)
				}
			})
		})
	}
}

// A client that does not read its answers loses its connection; others are served meanwhile.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, _ := start(t, Limits{Write: 40 * time.Second})
		slow, good := dial(), dial()
		began := time.Now()
		ended := make(chan time.Duration)
		go func() {
			for {
				if _, err := slow.Write(frameOf(keyAPIVersions, 0, 5, nil)); err != nil {
					ended <- time.Since(began)
					return
				}
			}
		}()
		synctest.Wait()
		send(t, good, keyAPIVersions, 0, 5, nil)
		receive(t, good)
		if took := <-ended; took != 40*time.Second {
			t.Errorf("closed after %s", took)
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	dial, logged := start(t, Limits{Connections: 2})
	for range 2 {
		conn := dial()
		send(t, conn, keyAPIVersions, 0, 5, nil)
		receive(t, conn)
	}
	wantClosed(t, "a third connection", dial())
	if !strings.Contains(logged.String(), "too many connections") {
		t.Errorf("logged %s", logged)
	}
}

// One client that opens connections without end leaves room for the others, and gets room again when it closes some.
func TestConnectionLimitPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		bound, err := Listen(pipes.Host("node"), []Listener{{Name: "PLAINTEXT", Bind: "node:9092"}})
		if err != nil {
			t.Fatal(err)
		}
		counted := metrics.NewKafka(metrics.NewRegistry())
		s, err := NewServer(Config{Listeners: bound, Pool: frame.NewPool(1 << 20), Limits: Limits{PerAddress: 2}, Metrics: counted})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		dial := func(host string) net.Conn {
			conn, err := pipes.Host(host).Dial(t.Context(), "node:9092")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		works := func(conn net.Conn) net.Conn {
			send(t, conn, keyAPIVersions, 0, 5, nil)
			receive(t, conn)
			return conn
		}
		first := works(dial("10.0.0.1"))
		works(dial("10.0.0.1"))
		for range 3 {
			wantClosed(t, "a third connection", dial("10.0.0.1"))
		}
		works(dial("10.0.0.2"))
		for range 5 {
			works(dial("127.0.0.1"))
		}
		_ = first.Close()
		synctest.Wait()
		works(dial("10.0.0.1"))
		if refused := counted.ConnectionsRefused.Value(); refused != 3 {
			t.Errorf("%d connections were refused, wanted 3", refused)
		}
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
		if len(s.clients) != 0 {
			t.Errorf("addresses are remembered: %v", s.clients)
		}
	})
}

func TestListen(t *testing.T) {
	pipes := network.NewPipes()
	host := pipes.Host("node")
	for _, c := range []struct {
		listener Listener
		host     string
		port     int32
	}{
		{Listener{Name: "a", Bind: "node:9092"}, "node", 9092},
		{Listener{Name: "b", Bind: "node:9093", Advertised: "kafka.example.com:19092"}, "kafka.example.com", 19092},
		{Listener{Name: "c", Bind: "node:9094", Advertised: "kafka.example.com"}, "kafka.example.com", 9094},
	} {
		bound, err := Listen(host, []Listener{c.listener})
		if err != nil {
			t.Fatal(err)
		}
		if got := bound[0].Advertised; got.Name != c.listener.Name || got.Host != c.host || got.Port != c.port {
			t.Errorf("%+v: advertised %+v", c.listener, got)
		}
		if err := bound[0].Close(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range [][]Listener{
		{{Name: "a", Bind: "node:9092"}, {Name: "a", Bind: "node:9093"}},
		{{Name: "a", Bind: "node:9092"}, {Name: "b", Bind: "node:9092"}},
		{{Name: "a", Bind: "node:9092", Advertised: "host:many"}},
	} {
		bound, err := Listen(host, bad)
		if err == nil {
			t.Errorf("%+v: bound %d listeners", bad, len(bound))
		}
	}
	// Nothing of the above is left listening.
	bound, err := Listen(host, []Listener{{Name: "a", Bind: "node:9092"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = bound[0].Close()
	everywhere, err := Listen(network.TCP(), []Listener{{Name: "a", Bind: "0.0.0.0:0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer everywhere[0].Close()
	if got := everywhere[0].Advertised; got.Host != "" || got.Port == 0 {
		t.Errorf("a listener everywhere advertises %+v", got)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100)
		ctx := context.Background()
		if err := b.take(ctx, 80, time.Second); err != nil {
			t.Fatal(err)
		}
		if b.try(30) || !b.try(20) {
			t.Fatal("20 bytes were left")
		}
		if err := b.take(ctx, 10, time.Second); !errors.Is(err, errBudget) {
			t.Fatalf("out of bytes: %v", err)
		}
		ended, end := context.WithCancel(ctx)
		end()
		if err := b.take(ended, 10, time.Hour); !errors.Is(err, context.Canceled) {
			t.Fatalf("context ended: %v", err)
		}
		order := make(chan int, 2)
		go func() {
			if err := b.take(ctx, 90, time.Hour); err == nil {
				order <- 90
			}
		}()
		synctest.Wait()
		go func() {
			if err := b.take(ctx, 5, time.Hour); err == nil {
				order <- 5
			}
		}()
		synctest.Wait()
		b.give(20) // enough for the second, who has to wait all the same
		synctest.Wait()
		if len(order) > 0 {
			t.Fatal("the queue was jumped")
		}
		b.give(80)
		synctest.Wait()
		if len(order) != 2 || b.left != 5 {
			t.Fatalf("%d were served, %d bytes are left", len(order), b.left)
		}
	})
}
