package transport

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

// lane answers one shard's raft requests of one connection, in order.
type lane struct {
	in    *inbound
	shard *Shard
	queue chan waiting
}

// waiting is a request that raft has and has not answered.
type waiting struct {
	header  header
	message message // its frame is released when raft is done with it
	answers chan raft.RPCResponse
	last    record.Index // that a success says is here, of an append; 0 for nothing
	term    record.Term  // of last
}

// lane returns the shard's lane; only the serving goroutine calls it.
func (in *inbound) lane(s *Shard) *lane {
	l := in.lanes[s]
	if l != nil {
		return l
	}
	for old, stale := range in.lanes { // of a raft instance that was replaced
		if old.isClosed() {
			close(stale.queue)
			delete(in.lanes, old)
		}
	}
	l = &lane{in: in, shard: s, queue: make(chan waiting, laneLength)}
	in.lanes[s] = l
	in.lanesDone.Add(1)
	in.endpoint.run(l.run)
	return l
}

// closeLanes lets the lanes end after what they have; only the serving goroutine calls it.
func (in *inbound) closeLanes() {
	for s, l := range in.lanes {
		close(l.queue)
		delete(in.lanes, s)
	}
}

// take hands a request to raft; it never waits for raft.
func (l *lane) take(m *message, command any) error {
	answers := make(chan raft.RPCResponse, 1)
	if err := l.shard.offer(raft.RPC{Command: command, RespChan: answers}); err != nil {
		m.release()
		return l.in.refuse(m.header, err)
	}
	w := waiting{header: m.header, message: *m, answers: answers}
	if r, ok := command.(*raft.AppendEntriesRequest); ok {
		w.last, w.term = record.Index(r.PrevLogEntry), record.Term(r.PrevLogTerm)
		if n := len(r.Entries); n > 0 {
			w.last, w.term = record.Index(r.Entries[n-1].Index), record.Term(r.Entries[n-1].Term)
		}
	}
	l.queue <- w
	return nil
}

// run ends when the queue is closed and empty. Everything in it is answered by raft,
// or by the closing of the shard, which comes after raft has ended.
func (l *lane) run() {
	defer l.in.lanesDone.Done()
	for w := range l.queue {
		var a raft.RPCResponse
		select {
		case a = <-w.answers:
		case <-l.shard.closed:
			a.Error = ErrClosed
		}
		w.message.release()
		a = l.shard.current(l.await(&w, a))
		_ = l.in.reply(w.header, a) // a broken connection has ended by itself
	}
}

// await is a gate: raft has answered as soon as an append is queued, but the leader counts
// on a success, so that goes out only when all that it speaks of is durable here.
// Meanwhile the next requests are read and queued: one sync serves them all.
func (l *lane) await(w *waiting, a raft.RPCResponse) raft.RPCResponse {
	durable := l.shard.config.Durable
	response, ok := a.Response.(*raft.AppendEntriesResponse)
	if durable == nil || a.Error != nil || !ok || !response.Success || w.last == 0 {
		return a
	}
	if err := durable(w.last, w.term); err != nil {
		a.Error = fmt.Errorf("answer an append up to entry %d: %w", w.last, err)
	}
	return a
}
