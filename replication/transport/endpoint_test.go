package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/frame"
	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log/record"
)

var testCluster = [16]byte{0xc1}

// lines counts what is logged, by message.
type lines struct {
	slog.Handler
	mu    sync.Mutex // guards count
	count map[string]int
}

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		l.count[r.Message]++
	}
	return nil
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) of(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[message]
}

type testEnd struct {
	*Endpoint
	lines *lines
	pool  *frame.Pool
}

func testPeer(node int32) Peer { return Peer{Node: node, Incarnation: [16]byte{byte(node), 1}} }

func newEnd(t *testing.T, pipes *network.Pipes, node int32, cluster [16]byte, setup func(*Endpoint)) *testEnd {
	t.Helper()
	l := &lines{Handler: slog.DiscardHandler, count: map[string]int{}}
	pool := frame.NewPool(0)
	e := New(Config{
		Self: testPeer(node), Peers: map[int32]string{1: "node1:1", 2: "node2:1"}, Pool: pool,
		Network: pipes.Host(fmt.Sprintf("node%d", node)), Logger: slog.New(l), Timeout: time.Second,
	}, cluster)
	if setup != nil {
		setup(e)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range e.shards {
			s.End()
		}
		if err := e.Close(); err != nil {
			t.Errorf("close node %d: %v", node, err)
		}
	})
	return &testEnd{e, l, pool}
}

// testShard is a shard whose entries all have the payload that payload returns.
func (e *testEnd) testShard(payload func(record.Index) []byte) *Shard {
	s := e.Shard(ShardConfig{
		Number: 1,
		Pin: func(i record.Index, term record.Term, kind raft.LogType) (Entry, error) {
			return Entry{Index: uint64(i), Term: uint64(term), Kind: kind, Payload: payload(i)}, nil
		},
		Commit:  func(i record.Index) record.Index { return i },
		Stalled: func() bool { return false },
	})
	return s
}

// answerAll is a raft that answers appends by answer, until the shard is closed.
func answerAll(s *Shard, answer func(*raft.AppendEntriesRequest) *raft.AppendEntriesResponse) {
	s.SetHeartbeatHandler(func(rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil) })
	for {
		select {
		case rpc := <-s.Consumer():
			if r, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
				rpc.Respond(answer(r), nil)
				continue
			}
			rpc.Respond(&raft.RequestVoteResponse{Term: 9, Granted: true}, nil)
		case <-s.closed:
			return
		}
	}
}

func request(first, count int) *raft.AppendEntriesRequest {
	r := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: uint64(first - 1), PrevLogTerm: 3, LeaderCommitIndex: 1}
	for i := range count {
		r.Entries = append(r.Entries, &raft.Log{Index: uint64(first + i), Term: 3, Type: raft.LogCommand})
	}
	return r
}

func TestAppendsArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		payload := func(i record.Index) []byte { return command(strings.Repeat("x", int(i)*1000), 3) }
		from, to := one.testShard(payload), two.testShard(nil)
		var got []int
		requests := 0
		go answerAll(to, func(r *raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			requests++
			if len(got) > 0 && r.PrevLogEntry != uint64(len(got)) {
				t.Errorf("previous entry %d after %d", r.PrevLogEntry, len(got))
			}
			for _, l := range r.Entries {
				if !bytes.Equal(l.Data, payload(record.Index(l.Index))) {
					t.Errorf("entry %d differs", l.Index)
				}
				got = append(got, int(l.Index))
			}
			return &raft.AppendEntriesResponse{Term: 3, LastLog: uint64(len(got)), Success: true}
		})
		id := testPeer(2).ServerID()
		var response raft.AppendEntriesResponse
		if err := from.AppendEntries(id, "", request(1, 100), &response); err != nil || !response.Success || response.LastLog != 100 {
			t.Fatalf("append: %v, %+v", err, response)
		}
		if len(got) != 100 || requests < 5 {
			t.Errorf("%d entries in %d messages: 5 MB are to be split", len(got), requests)
		}
		if from.Match(id) != 100 {
			t.Errorf("match %d", from.Match(id))
		}
		if err := from.AppendEntries(id, "", &raft.AppendEntriesRequest{Term: 3}, &response); err != nil {
			t.Errorf("heartbeat: %v", err)
		}
		other := Peer{Node: 2, Incarnation: [16]byte{99}}
		if err := from.AppendEntries(other.ServerID(), "", request(1, 1), &response); !errors.Is(err, errOtherLife) {
			t.Errorf("append to another life of the node: %v", err)
		}
		var vote raft.RequestVoteResponse
		if err := from.RequestVote(id, "", &raft.RequestVoteRequest{Term: 9}, &vote); err != nil || !vote.Granted || vote.Term != 9 {
			t.Errorf("vote: %v, %+v", err, vote)
		}
		two.Stop2(to)
		if err := from.AppendEntries(id, "", request(101, 1), &response); err == nil || !strings.Contains(err.Error(), "does not run") {
			t.Errorf("append to a shard that has ended: %v", err)
		}
		if held := two.pool.Bytes(); held > 3<<20 {
			t.Errorf("%d bytes of frames are held", held)
		}
	})
}

// Stop2 ends a shard as its instance does.
func (e *testEnd) Stop2(s *Shard) { s.End() }

func TestLargestEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		large := command(strings.Repeat("x", 33<<20), 3)
		from, to := one.testShard(func(record.Index) []byte { return large }), two.testShard(nil)
		go answerAll(to, func(r *raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			return &raft.AppendEntriesResponse{Success: len(r.Entries) == 1 && len(r.Entries[0].Data) == len(large)}
		})
		var response raft.AppendEntriesResponse
		if err := from.AppendEntries(testPeer(2).ServerID(), "", request(1, 2), &response); err != nil || !response.Success {
			t.Errorf("append: %v, %+v", err, response)
		}
	})
}

// TestPipelineEndsAfterRefusal is R3: raft's own transport blocks for ever when a
// follower refuses an append while others are under way.
func TestPipelineEndsAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		from, to := one.testShard(func(record.Index) []byte { return command("x", 3) }), two.testShard(nil)
		go answerAll(to, func(r *raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			return &raft.AppendEntriesResponse{Success: r.PrevLogEntry < 5}
		})
		var first raft.AppendEntriesResponse
		if err := from.AppendEntries(testPeer(2).ServerID(), "", request(1, 1), &first); err != nil {
			t.Fatal(err)
		}
		p, err := from.AppendEntriesPipeline(testPeer(2).ServerID(), "")
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for i := range 100 { // nobody takes the answers
			if _, err := p.AppendEntries(request(2+i, 1), new(raft.AppendEntriesResponse)); err != nil {
				failed++
			}
		}
		if most := 5 + windowLength; 100-failed > most { // five are taken, and a window may be under way when the sixth is not
			t.Errorf("%d of 100 appends did not fail, at most %d could", 100-failed, most)
		}
		if from.Match(testPeer(2).ServerID()) != 5 {
			t.Errorf("match %d", from.Match(testPeer(2).ServerID()))
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeadLinkIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		from, to := one.testShard(func(record.Index) []byte { return command("x", 3) }), two.testShard(nil)
		go answerAll(to, func(*raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			return &raft.AppendEntriesResponse{Success: true}
		})
		id := testPeer(2).ServerID()
		var response raft.AppendEntriesResponse
		if err := from.AppendEntries(id, "", request(1, 1), &response); err != nil {
			t.Fatal(err)
		}
		if _, err := from.link(id, classControl, time.Second); err != nil {
			t.Fatal(err)
		}
		pipes.Block("node1", "node2")
		began := time.Now()
		if err := from.AppendEntries(id, "", &raft.AppendEntriesRequest{Term: 3}, &response); !errors.Is(err, ErrOverdue) {
			t.Errorf("heartbeat over a dead link: %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if err := from.AppendEntries(id, "", request(2, 1), &response); !errors.Is(err, ErrOverdue) {
			t.Errorf("append over a dead link: %v", err)
		}
		pipes.Heal()
		if err := from.AppendEntries(id, "", request(2, 1), &response); err != nil || !response.Success {
			t.Errorf("append after it healed: %v", err)
		}
	})
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one := newEnd(t, pipes, 1, testCluster, nil)
		var working atomic.Int32
		newEnd(t, pipes, 2, testCluster, func(e *Endpoint) {
			e.Handle(1, false, func(_ context.Context, from Peer, request []byte) ([]byte, error) {
				return append(request, fmt.Sprint(" from ", from.Node)...), nil
			})
			e.Handle(2, false, func(context.Context, Peer, []byte) ([]byte, error) { return nil, errors.New("my reason") })
			e.Handle(3, false, func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
				working.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			})
			e.Handle(4, false, func(context.Context, Peer, []byte) ([]byte, error) { return make([]byte, MaxCall+1), nil })
		})
		ctx := t.Context()
		if b, err := one.Call(ctx, 2, 1, []byte("hello")); err != nil || string(b) != "hello from 1" {
			t.Errorf("%q, %v", b, err)
		}
		large := bytes.Repeat([]byte("x"), MaxCall-10)
		if b, err := one.Call(ctx, 2, 1, large); err != nil || len(b) != len(large)+7 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		var remote *RemoteError
		if _, err := one.Call(ctx, 2, 2, nil); !errors.As(err, &remote) || remote.Text != "my reason" {
			t.Errorf("error of the handler: %v", err)
		}
		if _, err := one.Call(ctx, 2, 4, nil); !errors.As(err, &remote) {
			t.Errorf("too large an answer: %v", err)
		}
		if _, err := one.Call(ctx, 2, 1, make([]byte, MaxCall+1)); !errors.Is(err, record.ErrTooLarge) {
			t.Errorf("too large a request: %v", err)
		}
		if _, err := one.Call(ctx, 2, 99, nil); !errors.As(err, &remote) {
			t.Errorf("nobody answers: %v", err)
		}
		if _, err := one.Call(ctx, 7, 1, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("no such node: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var all sync.WaitGroup
		var busy atomic.Int32
		for range callsAtOnce + 5 {
			all.Go(func() {
				_, err := one.Call(short, 2, 3, nil)
				if errors.As(err, new(*RemoteError)) {
					busy.Add(1)
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("call that takes too long: %v", err)
				}
			})
		}
		all.Wait()
		if working.Load() != callsAtOnce || busy.Load() < 5 {
			t.Errorf("%d at once, %d refused", working.Load(), busy.Load())
		}
		pipes.Crash("node2")
		if _, err := one.Call(ctx, 2, 1, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("call of a crashed node: %v", err)
		}
	})
}

// greetAs dials node 1 and says h; it returns the answer, or why there is none.
func greetAs(t *testing.T, pipes *network.Pipes, b []byte) (hello, error) {
	t.Helper()
	conn, err := pipes.Host("node2").Dial(t.Context(), "node1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	answer, err := readHello(conn)
	if err != nil || answer.refusal == welcome {
		return answer, err
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a refused connection stays open: %v", err)
	}
	return answer, nil
}

func TestGreetings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one := newEnd(t, pipes, 1, testCluster, nil)
		good := hello{class: classBulk, cluster: testCluster, node: 2, to: 1, incarnation: [16]byte{7}}
		cases := []struct {
			name   string
			change func(*hello)
			want   refusal
		}{
			{"good", func(*hello) {}, welcome},
			{"no cluster yet", func(h *hello) { h.cluster = [16]byte{} }, welcome},
			{"another cluster", func(h *hello) { h.cluster = [16]byte{1} }, otherCluster},
			{"for another node", func(h *hello) { h.to = 3 }, otherNode},
			{"of an unknown node", func(h *hello) { h.node = 9 }, unknownNode},
			{"of the same folder", func(h *hello) { h.incarnation = testPeer(1).Incarnation }, sameFolder},
		}
		refused := 0
		for _, c := range cases {
			h := good
			c.change(&h)
			answer, err := greetAs(t, pipes, h.bytes())
			if err != nil || answer.refusal != c.want {
				t.Errorf("%s: %v, %v", c.name, answer.refusal, err)
			}
			if c.want != welcome {
				refused++
			}
		}
		version := good.bytes()
		version[8], version[10] = 2, 3
		sealed := append(version[:60:60], 0, 0, 0, 0)
		copy(sealed[60:], sum(version[:60]))
		if answer, err := greetAs(t, pipes, sealed); err != nil || answer.refusal != otherVersion {
			t.Errorf("another version: %v, %v", answer.refusal, err)
		}
		for _, garbage := range [][]byte{bytes.Repeat([]byte{0}, 64), []byte("GET / HTTP/1.1\r\nHost: stela.example.org:33145\r\nAccept: */*\r\n\r\n....")} {
			if _, err := greetAs(t, pipes, garbage); err == nil {
				t.Errorf("garbage was answered: %.10q", garbage)
			}
		}
		time.Sleep(time.Second)
		if n := one.lines.of("refuse a cluster connection"); n != refused+3 {
			t.Errorf("%d lines in the log, wanted %d", n, refused+3)
		}
	})
}

func sum(b []byte) []byte {
	c := record.Castagnoli(0, b)
	return []byte{byte(c), byte(c >> 8), byte(c >> 16), byte(c >> 24)}
}

// TestSilentAndGarbage checks connections that say nothing, or garbage after a good greeting.
func TestSilentAndGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one := newEnd(t, pipes, 1, testCluster, nil)
		dial := func() net.Conn {
			conn, err := pipes.Host("node2").Dial(t.Context(), "node1:1")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		silent := dial()
		began := time.Now()
		if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(began) > 2*helloTimeout {
			t.Errorf("a silent connection ended after %v: %v", time.Since(began), err)
		}
		good := hello{class: classBulk, cluster: testCluster, node: 2, to: 1, incarnation: [16]byte{7}}
		valid := samples(t)
		for i, garbage := range [][]byte{
			bytes.Repeat([]byte{0}, 100),
			bytes.Repeat([]byte{0xff}, 100),
			append(bytes.Clone(valid[6]), 1, 2, 3), // a part of a message, and then nothing
			valid[4],                               // an answer that nobody asked for
		} {
			conn := dial()
			if _, err := conn.Write(good.bytes()); err != nil {
				t.Fatal(err)
			}
			if _, err := readHello(conn); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(garbage); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err := io.Copy(io.Discard, conn)
			limit := time.Second
			if i == 2 { // the rest is waited for
				limit = messageTimeout
			}
			if err != nil || time.Since(began) > limit {
				t.Errorf("garbage %d: ended after %v: %v", i, time.Since(began), err)
			}
			_ = conn.Close()
		}
		if n := one.lines.of("close a cluster connection"); n != 4 {
			t.Errorf("%d lines in the log, wanted 4", n)
		}
	})
}
