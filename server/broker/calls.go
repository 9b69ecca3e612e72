package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// The kinds of calls between nodes that this file handles. The metadata's and the
// coordinators' are in cluster.go and coordinator.go, from 16 on.
const (
	callAppend uint8 = 1
	callRead   uint8 = 2
)

// callBytes bounds a message between nodes, with room for the transport's own.
const callBytes = 4<<20 - 1<<10

func (d streamDesk) handleCalls() {
	d.broker.config.Replication.Handle(callAppend, d.handleAppend)
	d.broker.config.Replication.Handle(callRead, d.handleRead)
}

// The first byte of every answer. Numbers are part of the protocol between nodes.
const (
	answerOK       byte = 0
	answerConflict byte = 1
	answerOther    byte = 2 // an error without a number: only its text
)

// answerCodes numbers the errors that may come back from another node.
func answerCodes() map[byte]error {
	return map[byte]error{
		10: ErrUnknownTopicOrPartition, 11: ErrNotLeader, 12: ErrTimedOut, 13: ErrMessageTooLarge, 14: ErrCorruptMessage,
		15: ErrInvalidRecord, 16: ErrInvalidTimestamp, 17: ErrPolicyViolation, 18: ErrInvalidRequest, 19: ErrVersionConflict,
		20: ErrNotEventStore, 21: ErrStorage, 22: ErrLeaderNotAvailable, 23: ErrShuttingDown, 24: ErrUnsupportedCompression,
	}
}

// encodeError makes the answer of a call that failed.
func encodeError(err error) []byte {
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		w := wire{answerConflict}
		w.int(int64(conflict.Expected))
		w.int(conflict.Actual)
		without := len(w)
		if w.events(conflict.Unseen); len(w) > callBytes {
			w = w[:without]
			w.events(nil)
		}
		return w
	}
	for code, known := range answerCodes() {
		if errors.Is(err, known) {
			return append([]byte{code}, err.Error()...)
		}
	}
	return append([]byte{answerOther}, err.Error()...)
}

// decodeError reads the answer of a call; nil says that what follows the first byte is a result.
func decodeError(answer []byte) error {
	if len(answer) == 0 {
		return fmt.Errorf("empty answer from another node: %w", ErrTimedOut)
	}
	switch answer[0] {
	case answerOK:
		return nil
	case answerConflict:
		r := wireReader{rest: answer[1:]}
		conflict := &ConflictError{Expected: Expected(r.int()), Actual: r.int()}
		conflict.Unseen = r.events()
		if r.bad {
			return fmt.Errorf("conflict answer that cannot be read: %w", ErrVersionConflict)
		}
		return conflict
	}
	if known := answerCodes()[answer[0]]; known != nil {
		return &remoteError{text: string(answer[1:]), sentinel: known}
	}
	return fmt.Errorf("another node answers: %s: %w", answer[1:], ErrTimedOut)
}

// errLost says that the other node could not be asked, or that its answer was lost.
var errLost = fmt.Errorf("connection lost: %w", ErrTimedOut)

// call asks another node.
func (d streamDesk) call(ctx context.Context, node int32, kind uint8, request []byte) ([]byte, error) {
	answer, err := d.broker.config.Replication.Call(ctx, node, kind, request)
	switch {
	case err == nil:
		if err := decodeError(answer); err != nil {
			return nil, err
		}
		return answer[1:], nil
	case errors.Is(err, replication.ErrUnreachable):
		return nil, fmt.Errorf("node %d: %w: %w", node, errLost, err)
	}
	return nil, fmt.Errorf("node %d: %w: %w", node, ErrTimedOut, err)
}

// known returns the partition that another node means. One that this node has not heard of yet is ErrLeaderNotAvailable.
func (d streamDesk) known(id record.Partition) (*Partition, error) {
	view := d.broker.View()
	topic, number := view.Partition(id)
	if topic == nil {
		if view.Gone(id) {
			return nil, ErrUnknownTopicOrPartition
		}
		return nil, ErrLeaderNotAvailable
	}
	return d.broker.PartitionOf(topic, number)
}

// appendThere asks another node to append: partition u, expected i, milliseconds u, batch.
func (d streamDesk) appendThere(ctx context.Context, node int32, p *Partition, batch []byte, expected Expected) (AppendResult, error) {
	w := make(wire, 0, len(batch)+4*binary.MaxVarintLen64)
	w.int(int64(p.state.id))
	w.int(int64(expected))
	w.int(remaining(ctx))
	w = append(w, batch...)
	answer, err := d.call(ctx, node, callAppend, w)
	if err != nil {
		return AppendResult{}, err
	}
	r := wireReader{rest: answer}
	result := AppendResult{
		FirstVersion: r.int(), LastVersion: r.int(), Partition: p.number, FirstOffset: record.Offset(r.int()), Duplicate: r.int() != 0,
	}
	if r.bad {
		return AppendResult{}, fmt.Errorf("node %d answers what cannot be read: %w", node, ErrTimedOut)
	}
	return result, nil
}

func (d streamDesk) handleAppend(ctx context.Context, _ int32, request []byte) ([]byte, error) {
	r := wireReader{rest: request}
	id, expected, wait := record.Partition(r.int()), Expected(r.int()), r.int()
	if r.bad || record.CheckBatch(r.rest) != nil {
		return encodeError(fmt.Errorf("append that cannot be read: %w", ErrInvalidRequest)), nil
	}
	p, err := d.known(id)
	if err != nil {
		return encodeError(err), nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(wait)*time.Millisecond)
	defer cancel()
	f := d.broker.config.Pool.Get(len(r.rest))
	defer f.Release()
	copy(f.Bytes(), r.rest)
	result, err := d.appendHere(ctx, p, f, expected)
	if err != nil {
		return encodeError(err), nil
	}
	w := wire{answerOK}
	w.int(result.FirstVersion)
	w.int(result.LastVersion)
	w.int(int64(result.FirstOffset))
	w.int(int64(boolByte(result.Duplicate)))
	return w, nil
}

// readThere asks another node to read a stream.
func (d streamDesk) readThere(ctx context.Context, node int32, p *Partition, request *ReadStreamRequest) (StreamSlice, error) {
	var w wire
	w.int(int64(p.state.id))
	w.bytes(request.Key)
	w.int(request.From)
	w.int(int64(request.Limit))
	w.int(int64(boolByte(request.Backward)))
	until := int64(-1)
	if !request.Until.IsZero() {
		until = request.Until.UnixMilli()
	}
	w.int(until)
	w.int(request.MinVersion)
	w.int(remaining(ctx))
	answer, err := d.call(ctx, node, callRead, w)
	if err != nil {
		return StreamSlice{}, err
	}
	r := wireReader{rest: answer}
	slice := StreamSlice{Head: r.int()}
	slice.Events = r.events()
	if r.bad {
		return StreamSlice{}, fmt.Errorf("node %d answers what cannot be read: %w", node, ErrTimedOut)
	}
	for i := range slice.Events {
		slice.Events[i].Partition = p.number
	}
	return slice, nil
}

func (d streamDesk) handleRead(ctx context.Context, _ int32, request []byte) ([]byte, error) {
	r := wireReader{rest: request}
	id := record.Partition(r.int())
	read := ReadStreamRequest{Key: r.bytes(), From: r.int(), Limit: int(r.int()), Backward: r.int() != 0}
	until := r.int()
	if until >= 0 {
		read.Until = time.UnixMilli(until)
	}
	read.MinVersion = r.int()
	wait := r.int()
	if r.bad || read.Limit < 1 || read.Limit > MaxReadEvents {
		return encodeError(fmt.Errorf("read that cannot be read: %w", ErrInvalidRequest)), nil
	}
	p, err := d.known(id)
	if err != nil {
		return encodeError(err), nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(wait)*time.Millisecond)
	defer cancel()
	slice, err := d.readHere(ctx, p, &read)
	if err != nil {
		return encodeError(err), nil
	}
	w := wire{answerOK}
	w.int(slice.Head)
	if w.events(slice.Events); len(w) > callBytes {
		return encodeError(fmt.Errorf("event of %d bytes, read it from its leader, node %d: %w", len(w), d.broker.config.Node, ErrMessageTooLarge)), nil
	}
	return w, nil
}

// wire builds a message between nodes: varints, and bytes after their length.
type wire []byte

func (w *wire) int(v int64) { *w = binary.AppendVarint(*w, v) }

// bytes appends bytes; nil, which means null, has length -1.
func (w *wire) bytes(b []byte) {
	if b == nil {
		w.int(-1)
		return
	}
	w.int(int64(len(b)))
	*w = append(*w, b...)
}

func (w *wire) events(events []StreamEvent) {
	w.int(int64(len(events)))
	for i := range events {
		e := &events[i]
		w.int(e.Version)
		w.int(int64(e.Partition))
		w.int(int64(e.Offset))
		w.int(e.Timestamp)
		w.bytes(e.Value)
		w.int(int64(len(e.Headers)))
		for _, h := range e.Headers {
			w.bytes(h.Key)
			w.bytes(h.Value)
		}
	}
}

// wireReader reads what wire built; bad stays set after the first thing that is not there.
type wireReader struct {
	rest []byte
	bad  bool
}

func (r *wireReader) int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *wireReader) bytes() []byte {
	n := r.int()
	if n == -1 {
		return nil
	}
	if n < 0 || n > int64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *wireReader) events() []StreamEvent {
	count := r.int()
	if count < 0 || count > int64(len(r.rest)) {
		r.bad = r.bad || count != 0
		return nil
	}
	var events []StreamEvent
	for ; count > 0 && !r.bad; count-- {
		e := StreamEvent{Version: r.int(), Partition: int32(r.int()), Offset: record.Offset(r.int()), Timestamp: r.int(), Value: r.bytes()}
		headers := r.int()
		if headers < 0 || headers > int64(len(r.rest)) {
			r.bad = true
			break
		}
		for ; headers > 0 && !r.bad; headers-- {
			e.Headers = append(e.Headers, record.Header{Key: r.bytes(), Value: r.bytes()})
		}
		events = append(events, e)
	}
	return events
}
