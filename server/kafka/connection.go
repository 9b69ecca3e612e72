package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// bodyStep is how much of a request's body is read before more memory is asked for.
const bodyStep = 64 << 10

// connection is one client's connection. Its reader, run, takes requests in turn. A Produce request is decoded by
// the reader and answered by the writer when the broker is done with it; any other request has a goroutine of its own
// while it runs, which also writes the answer, and the reader meanwhile waits for the next request
// and so notices when the client goes away.
type connection struct {
	server   *Server
	listener *Bound
	conn     net.Conn
	source   *source
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	workers  sync.WaitGroup // the writer and the goroutine of a request
	producer *producer      // nil before the first Produce; the reader's

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	pending []*produceAnswer // Produce requests not yet answered, in order
	spare   []*produceAnswer // for the next ones
	alarm   alarm
	busy    bool // another request runs, or its answer is being written
	ended   bool
}

func newConnection(s *Server, listener *Bound, conn net.Conn) *connection {
	c := &connection{server: s, listener: listener, conn: conn, source: newSource(conn, s.limits.Read)}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.changed = sync.NewCond(&c.mu)
	c.alarm.ring = c.ring
	return c
}

// run reads requests until the connection ends, and returns when all its goroutines have ended.
func (c *connection) run() {
	deadline := time.Now().Add(c.server.limits.FirstRequest)
	for {
		size, err := c.source.size(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) && c.underWay() {
			deadline = time.Now().Add(c.server.limits.Idle)
			continue
		}
		if err != nil {
			c.server.logger.Debug("kafka: connection ended", "remote", c.conn.RemoteAddr(), "error", err)
			break
		}
		if err := c.request(size); err != nil {
			c.complain(err)
			break
		}
		deadline = time.Now().Add(c.server.limits.Idle)
	}
	c.close()
	c.workers.Wait()
}

// close ends the connection; run returns soon after.
func (c *connection) close() {
	c.mu.Lock()
	c.ended = true
	c.alarm.stop()
	c.changed.Broadcast()
	c.mu.Unlock()
	c.cancel()
	_ = c.conn.Close() // whoever reads or writes learns of it
}

// complain writes why a connection ends, when it is not what connections usually end of.
func (c *connection) complain(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || c.ctx.Err() != nil {
		return
	}
	if !errors.Is(err, errMalformed) && !errors.Is(err, errBudget) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.server.logger.Debug("kafka: connection ended", "remote", c.conn.RemoteAddr(), "error", err)
		return
	}
	c.server.noise.warn("kafka: connection closed", "remote", c.conn.RemoteAddr(), "listener", c.listener.Advertised.Name, "error", err)
}

func (c *connection) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy || len(c.pending) > 0
}

// await waits until the connection is as ready wants it, which is called with the mutex held.
func (c *connection) await(ready func() bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ready() {
		if c.ended {
			return net.ErrClosed
		}
		c.changed.Wait()
	}
	return nil
}

// request takes one request of size bytes, its size being read.
func (c *connection) request(size uint32) error {
	limits := &c.server.limits
	if size < headerBytes || uint64(size) > uint64(max(limits.ProduceBytes, limits.RequestBytes)) {
		return fmt.Errorf("request of %d bytes%s: %w", size, guess(size), errMalformed)
	}
	c.source.left = int(size)
	start, err := c.source.peek(headerBytes)
	if err != nil {
		return err
	}
	c.server.metrics.ReceivedBytes.Add(int64(size) + 4)
	h := parseHeaderStart(start)
	api := c.server.find(h.key)
	switch {
	case h.key == keyAPIVersions && !api.serves(h.version):
		return c.refuseVersion(h)
	case api == nil || !api.serves(h.version):
		return fmt.Errorf("key %d version %d is not served: %w", h.key, h.version, errMalformed)
	case h.key == keyProduce && int(size) <= limits.ProduceBytes:
		return c.produce(api, h)
	case int(size) > limits.largest(api):
		return fmt.Errorf("request %s of %d bytes: %w", api.name, size, errMalformed)
	}
	return c.start(api, h)
}

// guess says what the first four bytes of a connection may be when they are no size.
func guess(size uint32) string {
	switch {
	case size>>16 == 0x1603:
		return " (a TLS hello: this listener speaks plaintext)"
	case slices.Contains([]string{"GET ", "POST", "PUT ", "HEAD"}, string(binary.BigEndian.AppendUint32(nil, size))):
		return " (an HTTP request: this listener speaks Kafka's protocol)"
	}
	return ""
}

// start begins any request but Produce, once everything before it is answered.
func (c *connection) start(api *api, h header) error {
	err := c.await(func() bool { return !c.busy && len(c.pending) == 0 })
	if err != nil {
		return err
	}
	r := &request{header: h, connection: c, ctx: c.ctx}
	if r.held, r.body, err = c.body(); err != nil {
		r.release()
		return fmt.Errorf("read %s: %w", api.name, err)
	}
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
	began := time.Now()
	// Ends by itself when the request is answered, or when the connection's context or socket ends.
	c.workers.Go(func() {
		err := c.handle(api, r)
		r.release()
		c.server.answers.give(r.answer.held)
		if c.ctx.Err() == nil { // else the client went away, which is nobody's error
			api.metrics.Latency.Observe(time.Since(began))
			if r.failed || err != nil {
				api.metrics.Errors.Add(1)
			}
		}
		if err != nil {
			c.complain(err)
			c.close()
		}
		c.mu.Lock()
		c.busy = false
		c.changed.Broadcast()
		c.mu.Unlock()
	})
	return nil
}

// body reads the rest of a request. held is how much of the server's budget it has, also with an error.
func (c *connection) body() (held int64, body []byte, err error) {
	size := c.source.left
	for len(body) < size {
		// What a client only announced is not held for it: the body grows as it comes.
		target := min(size, max(bodyStep, 2*len(body)))
		if err = c.server.requests.take(c.ctx, int64(target)-held, c.server.limits.Wait); err != nil {
			return held, nil, err
		}
		held = int64(target)
		grown := make([]byte, target)
		n := copy(grown, body)
		if err = c.source.read(grown[n:]); err != nil {
			return held, nil, err
		}
		body = grown
	}
	return held, body, nil
}

// handle decodes and answers a request.
func (c *connection) handle(api *api, r *request) error {
	flexible := r.version >= api.flexible
	in := fields{rest: r.body[headerBytes:], flexible: flexible}
	r.body = nil // so that nobody has it while the handler waits, unless the handler itself does
	r.clientID = in.headerEnd()
	if in.bad != nil {
		return fmt.Errorf("header of %s version %d: %w", api.name, r.version, in.bad)
	}
	if api.key == keyFetch {
		return fetch(r, &in)
	}
	memory, err := scan(api.layout, in.rest, r.version, flexible)
	if err != nil {
		return fmt.Errorf("%s version %d: %w", api.name, r.version, err)
	}
	if err := r.hold(r.held + int64(memory)); err != nil {
		return fmt.Errorf("%s version %d: %d bytes to decode it: %w", api.name, r.version, memory, err)
	}
	decoded := kmsg.RequestForKey(api.key)
	decoded.SetVersion(r.version)
	if err := decoded.ReadFrom(in.rest); err != nil {
		return fmt.Errorf("%s version %d: %w: %w", api.name, r.version, err, errMalformed)
	}
	in.rest = nil
	answer := api.handle(r, decoded)
	if r.answer.refusal != nil {
		return fmt.Errorf("%s version %d: %w", api.name, r.version, r.answer.refusal)
	}
	if answer == nil {
		return fmt.Errorf("%s version %d: %w", api.name, r.version, errMalformed)
	}
	if c.ctx.Err() != nil {
		return net.ErrClosed
	}
	return c.answer(r.header, flexible && api.key != keyAPIVersions, answer)
}

// refuseVersion answers an ApiVersions request of a version that is not served: with version 0, which every
// client can read, and the range that is (KIP-511).
func (c *connection) refuseVersion(h header) error {
	if err := c.await(func() bool { return !c.busy && len(c.pending) == 0 }); err != nil {
		return err
	}
	if err := c.source.skip(c.source.left); err != nil {
		return err
	}
	return c.answer(h, false, unsupportedAPIVersions(c.server.find(keyAPIVersions)))
}

// answer writes an answer that kmsg encodes.
func (c *connection) answer(h header, tags bool, response kmsg.Response) error {
	out := appendAnswerHeader(make([]byte, 0, 512), h.correlation, tags)
	out = response.AppendTo(out)
	return c.writeOne(finishAnswer(out))
}

// appendAnswerHeader appends room for the size, and the header.
func appendAnswerHeader(dst []byte, correlation int32, tags bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if tags {
		dst = append(dst, 0)
	}
	return dst
}

// finishAnswer fills in the size of an answer that is complete.
func finishAnswer(out []byte) []byte {
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// writeOne is write with one piece.
func (c *connection) writeOne(out []byte) error {
	for rest := out; len(rest) > 0; {
		step := rest[:min(len(rest), writeStep)]
		rest = rest[len(step):]
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.limits.Write)); err != nil {
			return err
		}
		if _, err := c.conn.Write(step); err != nil {
			return err
		}
	}
	c.server.metrics.SentBytes.Add(int64(len(out)))
	return nil
}

// write sends pieces of total bytes. The peer has limits.Write for every writeStep of them. Only who owns the
// connection's writing side may call it: the goroutine of a request while busy, else the writer.
func (c *connection) write(pieces net.Buffers, total int) error {
	for len(pieces) > 0 {
		n, step := 0, net.Buffers(nil)
		for len(pieces) > 0 && n < writeStep {
			piece := pieces[0]
			if n+len(piece) > writeStep {
				piece = piece[:writeStep-n]
				pieces[0] = pieces[0][len(piece):]
			} else {
				pieces = pieces[1:]
			}
			n += len(piece)
			step = append(step, piece)
		}
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.server.limits.Write)); err != nil {
			return err
		}
		if _, err := step.WriteTo(c.conn); err != nil {
			return err
		}
	}
	c.server.metrics.SentBytes.Add(int64(total))
	return nil
}
