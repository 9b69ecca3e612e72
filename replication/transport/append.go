package transport

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

// AppendEntries implements raft.Transport: one request, heartbeats included, and its answer.
func (s *Shard) AppendEntries(id raft.ServerID, _ raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	if isHeartbeat(request) {
		return s.beat(id, request, response)
	}
	k, err := s.link(id, classBulk, linkPatience)
	if err != nil {
		return err
	}
	answers := make(chan answer, 1)
	w := newWindow(s, k, nil)
	s.send(w, request, func(m *message, err error) {
		if err != nil {
			answers <- answer{err: err}
			return
		}
		answers <- answer{head: append([]byte(nil), m.head...)}
	})
	a := s.waitForLast(w, answers)
	if a.err != nil {
		return a.err
	}
	if err := parseAppendReply(a.head, response); err != nil {
		return err
	}
	if response.Success {
		s.matched(id, request)
	}
	return nil
}

// waitForLast waits for the answer to a request's last part. The time for it begins anew with each part that is answered: what is
// under way, up to a whole window, may be more than a slow connection carries in that time.
func (s *Shard) waitForLast(w *window, answers <-chan answer) answer {
	timer := time.NewTimer(appendTimeout)
	defer timer.Stop()
	for {
		select {
		case a := <-answers:
			return a
		case <-w.moved:
			timer.Reset(appendTimeout)
		case <-timer.C:
			err := fmt.Errorf("append to node %d after %v: %w", w.link.peer.Node, appendTimeout, ErrOverdue)
			w.link.fail(err)
			return answer{err: err}
		case <-s.stopped:
			return answer{err: ErrClosed}
		}
	}
}

// hurryFor is how long heartbeats go out at once after Hurry: raft has asked for one by then.
const hurryFor = 100 * time.Millisecond

// Hurry has the heartbeats of the next moments go out at once, because somebody waits for what they prove.
func (s *Shard) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hurried = time.Now().Add(hurryFor)
	close(s.hurry)
	s.hurry = make(chan struct{})
}

// pace puts a heartbeat off.
func (s *Shard) pace() {
	s.mu.Lock()
	hurry, hurried := s.hurry, s.hurried
	s.mu.Unlock()
	if s.config.BeatPause <= 0 || time.Now().Before(hurried) {
		return
	}
	timer := time.NewTimer(s.config.BeatPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hurry:
	case <-s.stopped:
	}
}

// beat sends a heartbeat. One that is not answered in time shows that the
// connection is of no use.
func (s *Shard) beat(id raft.ServerID, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	s.pace()
	if s.config.Stalled() {
		return errStalled
	}
	k, err := s.link(id, classControl, 0)
	if err != nil {
		return err
	}
	head := make([]byte, appendHeadBytes)
	putAppendHead(head, request.Term, 0, 0, 0)
	timeout := s.endpoint.config.Timeout
	b, err := k.ask(header{kind: kindAppend, shard: s.config.Number}, head, timeout, s.stopped)
	if errors.Is(err, ErrOverdue) {
		k.fail(err) // the other side answers heartbeats inline: it is the connection that is slow
	}
	if err != nil {
		return err
	}
	return parseAppendReply(b, response)
}

// send writes a request; the payload's bytes come straight from the log's frames.
// Raft bounds a request in entries only, so a long one goes as several messages of
// about splitBytes; the answer to the last one answers for all. It waits while the window is full. done is called once.
func (s *Shard) send(w *window, request *raft.AppendEntriesRequest, done finish) {
	if s.config.Stalled() { // followers take an empty append for a sign of life too
		done(nil, errStalled)
		return
	}
	entries := request.Entries
	previous, previousTerm := request.PrevLogEntry, request.PrevLogTerm
	commit := uint64(s.config.Commit(record.Index(request.LeaderCommitIndex)))
	for {
		if err := w.enter(); err != nil {
			done(nil, err)
			return
		}
		part, err := s.pin(entries)
		if err != nil {
			w.leaving(done)(nil, err)
			return
		}
		answer := done
		if len(part) < len(entries) {
			answer = func(*message, error) {} // a failure shows in the last one, which does not fit then
		}
		h := header{kind: kindAppend, shard: s.config.Number, count: uint32(len(part))}
		failed := w.link.sendEntries(h, part, func(head []byte) {
			putAppendHead(head, request.Term, previous, previousTerm, commit)
		}, w.leaving(answer))
		ReleaseAll(part)
		if len(part) == len(entries) {
			return
		}
		if failed != nil {
			done(nil, failed)
			return
		}
		last := entries[len(part)-1]
		previous, previousTerm = last.Index, last.Term
		entries = entries[len(part):]
	}
}

// pin takes as many entries as fit into one message, at least one if there are any.
func (s *Shard) pin(logs []*raft.Log) ([]Entry, error) {
	part := make([]Entry, 0, len(logs))
	size := 0
	for _, l := range logs {
		e, err := s.config.Pin(record.Index(l.Index), record.Term(l.Term), l.Type)
		if err != nil {
			ReleaseAll(part)
			return nil, fmt.Errorf("pin entry %d of shard %d: %w", l.Index, s.config.Number, err)
		}
		size += paddingAfter(size, len(e.Payload)) + EntryHeaderBytes + len(e.Payload)
		if len(part) > 0 && size > splitBytes {
			ReleaseAll([]Entry{e})
			break
		}
		part = append(part, e)
	}
	return part, nil
}

// sendEntries sends one message with entries. done is called once, with an error too;
// the error is also returned so that the caller stops.
func (k *link) sendEntries(h header, entries []Entry, head func([]byte), done finish) error {
	buffers, size, err := entryBuffers(headerBytes+appendHeadBytes, entries)
	if err != nil {
		done(nil, err)
		return err
	}
	h.id, err = k.register(done)
	if err != nil {
		done(nil, err)
		return err
	}
	h.length = uint32(size)
	head(buffers[0][headerBytes:])
	putHeader(buffers[0], h)
	return k.write(buffers) // an error has ended the link, and so called done
}
