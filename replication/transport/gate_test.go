package transport

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log/record"
)

// gated is a shard whose entries become durable when the test says so.
func (e *testEnd) gated(durable func(record.Index, record.Term) error) *Shard {
	return e.Shard(ShardConfig{
		Number: 1, Durable: durable,
		Commit: func(i record.Index) record.Index { return i }, Stalled: func() bool { return false },
	})
}

// TestSuccessWaitsForDisk sends appends whose success must wait, while others are read and taken.
func TestSuccessWaitsForDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		synced := make(chan struct{})
		asked := make(chan record.Index, 10)
		to := two.gated(func(i record.Index, term record.Term) error {
			asked <- i
			<-synced
			if term != 3 || i == 4 {
				return errors.New("superseded")
			}
			return nil
		})
		from := one.testShard(func(record.Index) []byte { return command("x", 3) })
		taken := make(chan uint64, 10)
		go answerAll(to, func(r *raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			taken <- r.PrevLogEntry
			return &raft.AppendEntriesResponse{Term: 3, Success: r.PrevLogEntry != 4}
		})
		id := testPeer(2).ServerID()
		if _, err := from.link(id, classBulk, time.Second); err != nil {
			t.Fatal(err)
		}
		p, err := from.AppendEntriesPipeline(id, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 { // entries 1, 2 and 3
			if _, err := p.AppendEntries(request(1+i, 1), new(raft.AppendEntriesResponse)); err != nil {
				t.Fatal(err)
			}
		}
		pass := func() { time.Sleep(50 * time.Millisecond) }
		pass()
		if len(taken) != 3 || len(asked) != 1 || <-asked != 1 {
			t.Errorf("raft was given %d requests, %d answers wait for the disk", len(taken), len(asked)+1)
		}
		if n := len(p.Consumer()); n != 0 || from.Match(id) != 0 {
			t.Errorf("%d successes before the sync, match %d", n, from.Match(id))
		}
		close(synced)
		pass()
		for want := range uint64(3) {
			if f := <-p.Consumer(); !f.Response().Success || f.Request().PrevLogEntry != want {
				t.Errorf("answer %+v to the append after %d, wanted %d", f.Response(), f.Request().PrevLogEntry, want)
			}
		}
		var response raft.AppendEntriesResponse
		if err := from.AppendEntries(id, "", request(4, 1), &response); err == nil || !strings.Contains(err.Error(), "superseded") {
			t.Errorf("success of an append that was taken back: %v, %+v", err, response)
		}
		if err := from.AppendEntries(id, "", request(5, 1), &response); err != nil || response.Success {
			t.Errorf("a refusal waits for nothing: %v, %+v", err, response)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestLongRequestFits sends a request of many parts to a follower that is slow to take them.
func TestLongRequestFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		large := command(strings.Repeat("x", splitBytes/2+1), 3)
		from, to := one.testShard(func(record.Index) []byte { return large }), two.testShard(nil)
		parts := 0
		go answerAll(to, func(*raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			time.Sleep(time.Millisecond)
			parts++
			return &raft.AppendEntriesResponse{Term: 3, Success: true}
		})
		var response raft.AppendEntriesResponse
		if err := from.AppendEntries(testPeer(2).ServerID(), "", request(1, 128), &response); err != nil || !response.Success {
			t.Errorf("append: %v, %+v", err, response)
		}
		if parts != 128 {
			t.Errorf("%d parts", parts)
		}
	})
}

// TestSlowLinkGetsThrough sends a long request of which each part takes a while: as long as parts are answered it goes on.
func TestSlowLinkGetsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		one, two := newEnd(t, pipes, 1, testCluster, nil), newEnd(t, pipes, 2, testCluster, nil)
		large := command(strings.Repeat("x", splitBytes/2+1), 3)
		from, to := one.testShard(func(record.Index) []byte { return large }), two.testShard(nil)
		go answerAll(to, func(*raft.AppendEntriesRequest) *raft.AppendEntriesResponse { // ends with the shard
			time.Sleep(appendTimeout / 3)
			return &raft.AppendEntriesResponse{Term: 3, Success: true}
		})
		var response raft.AppendEntriesResponse
		if err := from.AppendEntries(testPeer(2).ServerID(), "", request(1, 40), &response); err != nil || !response.Success {
			t.Errorf("append: %v, %+v", err, response)
		}
	})
}
