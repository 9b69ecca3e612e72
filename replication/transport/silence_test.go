package transport

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log/record"
)

// A hole is a network on which connections that are there lose all that is sent, as behind a firewall that has forgotten
// them, while new ones work.
type hole struct {
	mu    sync.Mutex // guards conns
	conns []*lossyConn
}

type lossyConn struct {
	net.Conn
	mu   sync.Mutex // guards lost
	lost bool
}

func (c *lossyConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// dig has an endpoint dial through the hole.
func (h *hole) dig(e *Endpoint) {
	dial := e.config.Network.Dial
	e.config.Network.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		c := &lossyConn{Conn: conn}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.conns = append(h.conns, c)
		return c, nil
	}
}

// swallow has the connections that are there lose what is sent from now on.
func (h *hole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.mu.Lock()
		c.lost = true
		c.mu.Unlock()
	}
}

// within calls try until it returns nil, and fails when that takes longer.
func within(t *testing.T, atMost time.Duration, try func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > atMost {
			t.Fatalf("not within %v: %v", atMost, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestHeartbeatReplacesDeadLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		h := &hole{}
		one, two := newEnd(t, pipes, 1, testCluster, h.dig), newEnd(t, pipes, 2, testCluster, nil)
		from, to := one.testShard(func(record.Index) []byte { return command("x", 3) }), two.testShard(nil)
		go answerAll(to, func(*raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			return &raft.AppendEntriesResponse{Success: true}
		})
		beat := func() error {
			return from.AppendEntries(testPeer(2).ServerID(), "", &raft.AppendEntriesRequest{Term: 3}, new(raft.AppendEntriesResponse))
		}
		within(t, time.Second, beat)
		h.swallow()
		if err := beat(); !errors.Is(err, ErrOverdue) {
			t.Errorf("heartbeat over a dead link: %v", err)
		}
		within(t, time.Second, beat)
	})
}

func TestCallsReplaceDeadLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		h := &hole{}
		answer := func(e *Endpoint) {
			e.Handle(1, false, func(context.Context, Peer, []byte) ([]byte, error) { return []byte("here"), nil })
			e.Handle(2, false, func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) { // too slow for anybody
				<-ctx.Done()
				time.Sleep(100 * time.Millisecond)
				return nil, ctx.Err()
			})
		}
		one := newEnd(t, pipes, 1, testCluster, func(e *Endpoint) {
			h.dig(e)
			answer(e)
		})
		newEnd(t, pipes, 2, testCluster, answer)
		call := func(kind uint8) error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := one.Call(ctx, 2, kind, nil)
			return err
		}
		within(t, time.Second, func() error { return call(1) })
		link := one.remotes[2].lines[classBulk].current()
		for range 30 {
			if err := call(2); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("call that takes too long: %v", err)
			}
		}
		if one.remotes[2].lines[classBulk].current() != link {
			t.Error("a slow answer was taken for a dead link")
		}
		time.Sleep(time.Hour) // without a word
		if err := call(2); err == nil || one.remotes[2].lines[classBulk].current() != link {
			t.Errorf("a link over which nobody has asked for long was taken for a dead one: %v", err)
		}
		h.swallow()
		within(t, linkSilence+5*time.Second, func() error { return call(1) })
		if one.remotes[2].lines[classBulk].current() == link {
			t.Error("the link is the same")
		}
	})
}
