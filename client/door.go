package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	cloudEventsBatch = "application/cloudevents-batch+json"

	// attemptTimeout bounds one request; the caller's context bounds them all.
	attemptTimeout = 15 * time.Second
	firstBackoff   = 10 * time.Millisecond
	lastBackoff    = time.Second

	// maxAnswerBytes bounds what is read of one answer.
	maxAnswerBytes = 256 << 20

	// topicPatience is how long a topic that a node does not know is asked for again:
	// one that was just created may not have come to every node.
	topicPatience = time.Second
)

// An answer is what the HTTP door said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *Stream) path() string {
	return "/v1/topics/" + url.PathEscape(s.topic) + "/streams/" + url.PathEscape(s.key)
}

func (s *Stream) append(ctx context.Context, expected Expected, events []Event) (Appended, error) {
	body, err := encodeEvents(events)
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s stream %q: %w", s.topic, s.key, err)
	}
	got, err := s.client.ask(ctx, func(ctx context.Context, base string) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+s.path(), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", cloudEventsBatch)
		r.Header.Set("Expected-Version", expected.String())
		return r, nil
	})
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s stream %q: %w", s.topic, s.key, err)
	}
	switch got.status {
	case http.StatusOK, http.StatusCreated:
		return parseAppended(got)
	case http.StatusConflict:
		return Appended{}, s.conflict(expected, got) // or the topic keeps no streams
	default:
		return Appended{}, fmt.Errorf("append to %s stream %q: %w", s.topic, s.key, got.refusal())
	}
}

func parseAppended(got answer) (Appended, error) {
	var body struct {
		FirstVersion int64 `json:"firstVersion"`
		LastVersion  int64 `json:"lastVersion"`
		Partition    int32 `json:"partition"`
		FirstOffset  int64 `json:"firstOffset"`
	}
	if err := json.Unmarshal(got.body, &body); err != nil {
		return Appended{}, fmt.Errorf("parse the answer to an append: %w", err)
	}
	return Appended{
		FirstVersion: body.FirstVersion, LastVersion: body.LastVersion, Partition: body.Partition,
		FirstOffset: body.FirstOffset, Duplicate: got.status == http.StatusOK,
	}, nil
}

func (s *Stream) conflict(expected Expected, got answer) error {
	var body struct {
		Actual *int64            `json:"actual"`
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(got.body, &body); err != nil || body.Actual == nil {
		return fmt.Errorf("append to %s stream %q: %w", s.topic, s.key, got.refusal())
	}
	conflict := &ConflictError{Topic: s.topic, Key: s.key, Expected: expected, Actual: *body.Actual}
	for _, raw := range body.Events {
		event, err := decodeEvent(raw)
		if err != nil {
			return fmt.Errorf("append to %s stream %q: parse unseen event: %w", s.topic, s.key, err)
		}
		conflict.Unseen = append(conflict.Unseen, event)
	}
	return conflict
}

// read follows the server's links until it has all that was asked for: an answer that
// becomes too large ends early.
func (s *Stream) read(ctx context.Context, request ReadRequest) ([]Event, int64, error) {
	var all []Event
	for target := s.path() + "?" + request.query(); ; {
		events, got, err := s.readPart(ctx, request, target)
		if errors.Is(err, ErrNoStream) {
			return nil, -1, err
		}
		if err != nil {
			return nil, 0, err
		}
		all = append(all, events...)
		target = nextLink(got.header.Get("Link"))
		if target == "" || len(events) == 0 {
			head, err := strconv.ParseInt(got.header.Get("Stream-Version"), 10, 64)
			if err != nil {
				return nil, 0, fmt.Errorf("read %s stream %q: header Stream-Version %q is not a version", s.topic, s.key, got.header.Get("Stream-Version"))
			}
			return all, head, nil
		}
		request.From += int64(len(events))
	}
}

// nextLink returns the path to which a Link header (RFC 8288) of rel="next" points, "" for none.
func nextLink(header string) string {
	target, rest, found := strings.Cut(strings.TrimPrefix(header, "<"), ">")
	if !found || !strings.HasPrefix(target, "/") || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	return target
}

// query returns the request as the door wants it.
func (request *ReadRequest) query() string {
	query := url.Values{"from": {strconv.FormatInt(request.From, 10)}}
	if request.FromEnd {
		query.Set("from", "end")
	}
	if request.Backward {
		query.Set("direction", "backward")
	}
	if request.Limit > 0 {
		query.Set("limit", strconv.Itoa(request.Limit))
	}
	if !request.Until.IsZero() {
		query.Set("until", request.Until.UTC().Format(time.RFC3339Nano))
	}
	if request.MinVersion != nil {
		query.Set("minVersion", strconv.FormatInt(*request.MinVersion, 10))
	}
	return query.Encode()
}

// readPart reads what one answer has.
func (s *Stream) readPart(ctx context.Context, request ReadRequest, target string) ([]Event, answer, error) {
	got, err := s.client.ask(ctx, func(ctx context.Context, base string) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, base+target, nil)
	})
	if err != nil {
		return nil, got, fmt.Errorf("read %s stream %q: %w", s.topic, s.key, err)
	}
	if got.status != http.StatusOK {
		refusal := got.refusal()
		if refusal.Kind == noStream {
			return nil, got, fmt.Errorf("read %s stream %q: %w", s.topic, s.key, ErrNoStream)
		}
		return nil, got, fmt.Errorf("read %s stream %q: %w", s.topic, s.key, refusal)
	}
	events, err := decodeEvents(got.body, request)
	if err != nil {
		return nil, got, fmt.Errorf("read %s stream %q: %w", s.topic, s.key, err)
	}
	return events, got, nil
}

// ask sends a request until a node answers it for good: connection errors, 503 (no
// leader), 504 (outcome unknown) and 429 (too many connections) are asked again, of the
// next node, with a growing pause, until ctx ends; an unknown topic likewise, but not for long.
func (c *Client) ask(ctx context.Context, build func(ctx context.Context, base string) (*http.Request, error)) (answer, error) {
	pause, began := firstBackoff, time.Now()
	for attempt := 1; ; attempt++ {
		door := c.door.Load()
		address := c.config.HTTP[int(door)%len(c.config.HTTP)]
		got, err := c.askOnce(ctx, address, build)
		if err == nil {
			refusal := got.refusal()
			if !refusal.isPassing(time.Since(began)) {
				return got, nil
			}
			err = refusal
		}
		c.door.CompareAndSwap(door, door+1)
		if attempt%len(c.config.HTTP) != 0 {
			continue // another node may be better off at once
		}
		select {
		case <-ctx.Done():
			return answer{}, fmt.Errorf("%s after %d attempts: %w (%w)", address, attempt, err, context.Cause(ctx))
		case <-time.After(pause):
			pause = min(2*pause, lastBackoff)
		}
	}
}

func (c *Client) askOnce(ctx context.Context, address string, build func(ctx context.Context, base string) (*http.Request, error)) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request, err := build(ctx, "http://"+address)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("User-Agent", c.config.ClientID)
	response, err := c.web.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the address is said by whoever gives up
		}
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswerBytes {
		return answer{}, fmt.Errorf("answer exceeds %d bytes", maxAnswerBytes)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

// The kinds of problems that mean something here.
const (
	problemPrefix = "urn:stela:problem:"
	noStream      = "no-stream"
	unknownTopic  = "unknown-topic"
)

// isPassing reports whether another attempt may end differently, after so much time.
func (e *StatusError) isPassing(waited time.Duration) bool {
	switch e.Status {
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusBadGateway, http.StatusTooManyRequests:
		return true
	}
	return e.Kind == unknownTopic && waited < topicPatience
}

// refusal makes an error of a problem document (RFC 9457) or of the bare status.
func (a answer) refusal() *StatusError {
	problem := &StatusError{Status: a.status}
	var body struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(a.body, &body) == nil {
		problem.Kind = strings.TrimPrefix(body.Type, problemPrefix)
		problem.Title, problem.Detail = body.Title, body.Detail
	}
	if problem.Title == "" {
		problem.Title = http.StatusText(a.status)
	}
	return problem
}
