package transport

import "github.com/hashicorp/raft"

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
	l.queue <- waiting{m.header, *m, answers}
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
		// A log that answers before it has synced needs its gate here: a success then
		// waits until its last entry is durable.
		w.message.release()
		_ = l.in.reply(w.header, a) // a broken connection has ended by itself
	}
}
