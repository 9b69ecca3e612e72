package gateway

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/valyala/fasthttp"
)

const (
	contentJSON    = "application/json"
	contentProblem = "application/problem+json"

	// problemPrefix begins every problem's type; what follows is its name in the table of errors.go and in openapi.yaml.
	problemPrefix = "urn:stela:problem:"
)

// A problem is an answer that is not a success, as RFC 9457 draws it.
type problem struct {
	status     int
	name       string // of the kind of problem; stable, for programs
	title      string // of the kind of problem, for people
	detail     string // of this occurrence
	retryAfter int    // seconds; 0 says nothing
	members    []member
	release    func() // if not nil, called once when the answer is sent: its memory was taken from a budget
}

// A member is a further field of a problem's JSON object, its value already written as JSON.
type member struct {
	name  string
	value []byte
}

// Error makes a problem an error, so that handlers can return it as one.
func (p *problem) Error() string { return p.title + ": " + p.detail }

// refuse returns a problem with a detail, formatted.
func refuse(status int, name, title, format string, args ...any) *problem {
	return &problem{status: status, name: name, title: title, detail: fmt.Sprintf(format, args...)}
}

// badRequest is the problem of a request that can never succeed as it is.
func badRequest(format string, args ...any) *problem {
	return refuse(fasthttp.StatusBadRequest, "bad-request", "the request is not well-formed", format, args...)
}

// overloaded is the problem of a request for which there is no memory left.
func overloaded(format string, args ...any) *problem {
	p := refuse(fasthttp.StatusServiceUnavailable, "overloaded", "too much is going on", format, args...)
	p.retryAfter = 1
	return p
}

// body returns the problem's document.
func (p *problem) body() []byte {
	b := []byte(`{"type":`)
	b = appendString(b, problemPrefix+p.name)
	b = append(b, `,"title":`...)
	b = appendString(b, p.title)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(p.status), 10)
	if p.detail != "" {
		b = append(b, `,"detail":`...)
		b = appendString(b, p.detail)
	}
	for _, m := range p.members {
		b = append(b, ',')
		b = appendString(b, m.name)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}', '\n')
}

func (p *problem) write(response *fasthttp.Response) {
	response.SetStatusCode(p.status)
	response.Header.SetContentType(contentProblem)
	if p.retryAfter > 0 {
		response.Header.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	body := p.body()
	if p.release == nil {
		response.SetBodyRaw(body)
		return
	}
	response.SetBodyStream(&answer{Reader: bytes.NewReader(body), release: p.release}, len(body))
}
