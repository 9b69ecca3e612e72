package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/stela-db/stela/server/broker"
)

const headerStreamVersion = "Stream-Version"

// append stores the events of the body, all or none.
func (s *Server) append(r *request) error {
	if _, err := parseQuery(r.http.URI().QueryString()); err != nil {
		return badRequest("%v", err)
	}
	if n := len(r.stream); n > broker.MaxKeyBytes {
		return badRequest("the stream's name has %d bytes, limit %d", n, broker.MaxKeyBytes)
	}
	expected, alias, err := expectation(&r.http.Request.Header)
	if err != nil {
		return badRequest("%v", err)
	}
	single, err := bodyKind(&r.http.Request.Header)
	if err != nil {
		return err
	}
	body, release, err := s.body(r)
	if err != nil {
		return err
	}
	defer release()
	events, err := parseEvents(body, single)
	if err != nil {
		return badRequest("%v", err)
	}
	result, err := s.verbs.append(r.ctx, &broker.AppendRequest{
		Topic: r.topic, Key: []byte(r.stream), Expected: expected, Events: events,
	})
	if err != nil {
		return s.appendProblem(r, err, alias)
	}
	status := fasthttp.StatusCreated
	if result.Duplicate {
		status = fasthttp.StatusOK
	}
	setVersion(&r.http.Response, result.LastVersion)
	b := []byte(`{"firstVersion":`)
	b = strconv.AppendInt(b, result.FirstVersion, 10)
	b = append(b, `,"lastVersion":`...)
	b = strconv.AppendInt(b, result.LastVersion, 10)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(result.Partition), 10)
	b = append(b, `,"firstOffset":`...)
	b = strconv.AppendInt(b, int64(result.FirstOffset), 10)
	answerJSON(r, status, append(b, '}'))
	return nil
}

// appendProblem makes of a conflict the answer that saves the client another read.
func (s *Server) appendProblem(r *request, err error, alias bool) error {
	var conflict *broker.ConflictError
	if !errors.As(err, &conflict) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return errors.Join(broker.ErrTimedOut, err) // it may have been proposed
		}
		return err
	}
	p := s.problemOf(err)
	if alias {
		p.status = fasthttp.StatusPreconditionFailed
	}
	p.members = []member{
		{"stream", appendString(nil, r.stream)},
		{"expected", appendString(nil, conflict.Expected.String())},
		{"actual", strconv.AppendInt(nil, conflict.Actual, 10)},
		{"events", s.unseen(p, r.topic, conflict.Unseen)},
	}
	setVersion(&r.http.Response, conflict.Actual)
	return p
}

// expectation reads Expected-Version, or If-Match and If-None-Match in its place. alias
// tells that it was one of the latter, whose failure HTTP calls 412.
func expectation(header *fasthttp.RequestHeader) (expected broker.Expected, alias bool, err error) {
	given := 0
	expected = broker.ExpectAny
	for _, name := range [...]string{"Expected-Version", "If-Match", "If-None-Match"} {
		values := header.PeekAll(name)
		given += len(values)
		if given > 1 {
			return 0, false, errors.New("only one of Expected-Version, If-Match and If-None-Match may be given, and once")
		}
		if len(values) == 0 {
			continue
		}
		alias = name != "Expected-Version"
		if expected, err = parseExpected(name, string(values[0])); err != nil {
			return 0, false, err
		}
	}
	return expected, alias, nil
}

func parseExpected(name, value string) (broker.Expected, error) {
	value = strings.TrimSpace(value)
	switch {
	case name == "If-None-Match" && value == "*":
		return broker.ExpectNone, nil
	case name == "If-None-Match":
		return 0, errors.New("if-none-match must be *: the stream has no event yet")
	case name == "If-Match" && value == "*":
		return broker.ExpectExists, nil
	case name == "If-Match" && len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"':
		value = value[1 : len(value)-1]
	case name == "If-Match":
		return 0, errors.New(`if-match must be * or a version in quotes, such as "3"`)
	case value == "any":
		return broker.ExpectAny, nil
	case value == "none":
		return broker.ExpectNone, nil
	case value == "exists":
		return broker.ExpectExists, nil
	}
	version, err := parseVersion(value)
	if err != nil {
		return 0, fmt.Errorf("%s %q: wanted any, none, exists or a version from 0", name, clip(value))
	}
	return broker.Expected(version), nil
}

// parseVersion reads a version: digits and nothing else.
func parseVersion(text string) (int64, error) {
	version, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number from 0", clip(text))
	}
	return int64(version), nil
}

// bodyKind tells by the media type whether the body is a single event. The type must
// be given: a page in somebody's browser can send bodies of other types, or of none, to
// any address without asking, but not of these.
func bodyKind(header *fasthttp.RequestHeader) (single bool, err error) {
	media, _, _ := strings.Cut(string(header.ContentType()), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if encoding := header.ContentEncoding(); len(encoding) > 0 {
		return false, refuse(fasthttp.StatusUnsupportedMediaType, "unsupported-media-type", "the body's type is not understood",
			"content-encoding %q: send the body as it is", clip(string(encoding)))
	}
	switch media {
	case contentBatch, contentJSON:
		return false, nil
	case contentEvent:
		return true, nil
	}
	return false, refuse(fasthttp.StatusUnsupportedMediaType, "unsupported-media-type", "the body's type is not understood",
		"content-type %q: wanted %s", clip(media), contentBatch)
}

// body reads the request's body once there is memory for it. release gives the memory back.
func (s *Server) body(r *request) (body []byte, release func(), err error) {
	limit := s.config.MaxBodyBytes
	size := r.http.Request.Header.ContentLength() // negative when the body comes in chunks
	tooLarge := refuse(fasthttp.StatusRequestEntityTooLarge, "body-too-large", "the body is too large", "limit %d bytes", limit)
	switch {
	case size > limit:
		return nil, nil, tooLarge
	case size < 0:
		size = limit
	}
	if err := s.memory.take(r.ctx, int64(size)); err != nil {
		return nil, nil, overloaded("no memory for a body of %d bytes", size)
	}
	release = func() { s.memory.give(int64(size)) }
	body, err = readBody(r.http.Request.BodyStream(), size)
	switch {
	case err != nil:
		err = badRequest("the body ended early: %v", err)
	case len(body) > limit:
		err = tooLarge
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// readBody reads at most one byte more than size.
func readBody(stream io.Reader, size int) ([]byte, error) {
	if stream == nil {
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(stream, int64(size)+1))
}

// setVersion tells the stream's newest version, also as the entity tag that If-Match takes.
func setVersion(response *fasthttp.Response, version int64) {
	text := strconv.FormatInt(version, 10)
	response.Header.Set(headerStreamVersion, text)
	if version >= 0 {
		response.Header.Set("Etag", `"`+text+`"`)
	}
}
