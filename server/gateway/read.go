package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/server/broker"
)

const (
	defaultLimit = 100
	// pageEvents is how many events are asked of the broker at a time.
	pageEvents = 256
)

// read answers a part of one stream.
func (s *Server) read(r *request) error {
	if accept := string(r.http.Request.Header.Peek("Accept")); strings.HasPrefix(accept, "text/event-stream") {
		return refuse(fasthttp.StatusNotAcceptable, "not-acceptable", "not in this form",
			"there is no event stream here; ask with minVersion to wait for the next event, or consume the topic with a Kafka client")
	}
	request, err := parseRead(r)
	if err != nil {
		return badRequest("%v", err)
	}
	if err := s.await(r, request); err != nil {
		return err
	}
	held := int64(s.config.MaxAnswerBytes)
	if err := s.answers.take(r.ctx, held); err != nil {
		return overloaded("no memory for an answer")
	}
	body, err := s.slice(r, request)
	if err != nil {
		s.answers.give(held)
		return err
	}
	// Most answers are small, and a client may take its time to read one.
	needed := min(held, int64(len(body)))
	s.answers.give(held - needed)
	release := func() { s.answers.give(needed) }
	r.http.Response.Header.SetContentType(contentBatch)
	r.http.Response.SetBodyStream(&answer{Reader: bytes.NewReader(body), release: release}, len(body))
	return nil
}

// answer is a body that gives its memory back when it was sent, or when the client is gone.
type answer struct {
	*bytes.Reader
	release func()
}

// Close implements io.Closer. fasthttp calls it once.
func (a *answer) Close() error {
	a.release()
	return nil
}

func parseRead(r *request) (*broker.ReadStreamRequest, error) {
	query, err := parseQuery(r.http.URI().QueryString(), "from", "direction", "limit", "until", "minVersion")
	if err != nil {
		return nil, err
	}
	if n := len(r.stream); n > broker.MaxKeyBytes {
		return nil, fmt.Errorf("the stream's name has %d bytes, limit %d", n, broker.MaxKeyBytes)
	}
	request := &broker.ReadStreamRequest{Topic: r.topic, Key: []byte(r.stream), Limit: defaultLimit, MinVersion: -1}
	switch query["direction"] {
	case "", "forward":
	case "backward":
		request.Backward = true
	default:
		return nil, fmt.Errorf("direction %q: wanted forward or backward", clip(query["direction"]))
	}
	from, given := query["from"]
	switch {
	case from == "end" || !given && request.Backward:
		request.From = -1
	case given:
		if request.From, err = parseVersion(from); err != nil {
			return nil, fmt.Errorf("from %w, and not end", err)
		}
	}
	if limit, ok := query["limit"]; ok {
		if request.Limit, err = strconv.Atoi(limit); err != nil || request.Limit < 1 || request.Limit > broker.MaxReadEvents {
			return nil, fmt.Errorf("limit %q: wanted 1 to %d", clip(limit), broker.MaxReadEvents)
		}
	}
	if until, ok := query["until"]; ok {
		if request.Until, err = time.Parse(time.RFC3339Nano, until); err != nil {
			return nil, fmt.Errorf("until %q is not a time of rfc 3339", clip(until))
		}
	}
	if version, ok := query["minVersion"]; ok {
		if request.MinVersion, err = parseVersion(version); err != nil {
			return nil, fmt.Errorf("minVersion %w", err)
		}
	}
	return request, nil
}

// await returns when the stream has the version that is to be waited for. It asks for no
// events, so that however many wait they hold no memory that others need to be answered.
func (s *Server) await(r *request, request *broker.ReadStreamRequest) error {
	if request.MinVersion < 0 {
		return nil
	}
	wait := *request
	wait.From, wait.Limit, wait.Backward = math.MaxInt64, 1, false
	if _, err := s.verbs.read(r.ctx, &wait); err != nil {
		return s.readProblem(request, err)
	}
	request.MinVersion = -1
	return nil
}

// slice reads page after page until the request is met, the stream ends or the answer is large enough.
func (s *Server) slice(r *request, request *broker.ReadStreamRequest) ([]byte, error) {
	limit, body := request.Limit, []byte{'['}
	head, next, count := int64(-1), request.From, 0
	if next < 0 && !request.Backward {
		limit, next = 0, 0 // from the end forward there is nothing yet: what is asked for is the version
	}
	for first := true; first || count < limit; first = false {
		page := *request
		page.From, page.Limit = next, max(1, min(limit-count, pageEvents))
		got, err := s.verbs.read(r.ctx, &page)
		if err != nil {
			return nil, s.readProblem(request, err)
		}
		if first {
			head = got.Head
		}
		for i := range got.Events {
			if count == limit || len(body) >= s.config.MaxAnswerBytes {
				s.link(r, request, got.Events[i].Version, limit-count)
				return s.finishSlice(r, request, body, head)
			}
			if count++; count > 1 {
				body = append(body, ',')
			}
			body = appendEvent(body, request.Topic, &got.Events[i])
			next = step(got.Events[i].Version, request.Backward)
		}
		if len(got.Events) == 0 || next < 0 || next > head {
			break
		}
	}
	return s.finishSlice(r, request, body, head)
}

func step(version int64, backward bool) int64 {
	if backward {
		return version - 1
	}
	return version + 1
}

func (s *Server) finishSlice(r *request, request *broker.ReadStreamRequest, body []byte, head int64) ([]byte, error) {
	setVersion(&r.http.Response, head)
	if head < 0 {
		return nil, refuse(fasthttp.StatusNotFound, "no-stream", "no such stream",
			"topic %s has no event with the key %q", request.Topic, clip(r.stream))
	}
	return append(body, ']', '\n'), nil
}

// link tells where an answer that ended early goes on.
func (s *Server) link(r *request, request *broker.ReadStreamRequest, version int64, left int) {
	if left <= 0 {
		return
	}
	query := url.Values{"from": {strconv.FormatInt(version, 10)}, "limit": {strconv.Itoa(left)}}
	if request.Backward {
		query.Set("direction", "backward")
	}
	if !request.Until.IsZero() {
		query.Set("until", request.Until.Format(time.RFC3339Nano))
	}
	r.http.Response.Header.Set("Link", "<"+string(r.http.URI().PathOriginal())+"?"+query.Encode()+`>; rel="next"`)
}

// readProblem tells a wait that ended without its version from other errors.
func (s *Server) readProblem(request *broker.ReadStreamRequest, err error) error {
	ended := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, broker.ErrTimedOut)
	switch {
	case ended && request.MinVersion >= 0:
		p := refuse(fasthttp.StatusServiceUnavailable, "version-not-reached", "the stream does not have this version yet",
			"version %d did not come within %s", request.MinVersion, s.config.RequestTimeout)
		p.retryAfter = 1
		return p
	case ended:
		// A read has no outcome that could be unknown: that the broker ran out of time is not wrapped.
		return fmt.Errorf("%w: %s", broker.ErrLeaderNotAvailable, err.Error())
	}
	return err
}
