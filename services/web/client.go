package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// defaultTimeout bounds a call whose context has no end.
const defaultTimeout = 30 * time.Second

// A Client calls one HTTP server. It may be used from any goroutine.
type Client struct {
	address string
	http    *fasthttp.Client
}

// A Dial connects to an address, "host:port"; nil stands for TCP.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// dialTimeout bounds how long a connection may take to come about.
const dialTimeout = 3 * time.Second

// NewClient returns a client of the server at address, "host:port".
func NewClient(address string, dial Dial) *Client {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &Client{address: address, http: &fasthttp.Client{
		MaxResponseBodySize:    64 << 20,
		DisablePathNormalizing: true, // an encoded slash belongs to a part
		MaxIdleConnDuration:    time.Minute,
		ReadBufferSize:         maxHeaderBytes,
		MaxConnsPerHost:        maxConnections,
		Dial: func(address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			return dial(ctx, "tcp", address)
		},
		// A kept connection may have been closed by the other side just now. Every call
		// between the services may be made twice: they are idempotent by key.
		MaxIdemponentCallAttempts: 3,
		RetryIfErr: func(_ *fasthttp.Request, _ int, err error) (bool, bool) {
			return false, errors.Is(err, io.EOF) || errors.Is(err, fasthttp.ErrConnectionClosed)
		},
	}}
}

// Address returns the server's address.
func (c *Client) Address() string { return c.address }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A Call is one request.
type Call struct {
	Method  string            // default GET
	Path    string            // with query, if any
	Headers map[string]string //
	Body    any               // sent as JSON; []byte as it is; nil: none
	Into    any               // filled from a JSON answer below 300; nil: not read
}

// An Answer is what a server said.
type Answer struct {
	Status  int
	Body    []byte
	Headers map[string]string // the names are canonical, such as Retry-After
}

// Do makes a call. A status from 400 is a *Problem.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	if call.Method == "" {
		call.Method = http.MethodGet
	}
	request.Header.SetMethod(call.Method)
	request.SetRequestURI("http://" + c.address + call.Path)
	for name, value := range call.Headers {
		request.Header.Set(name, value)
	}
	if err := setBody(request, call.Body); err != nil {
		return Answer{}, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	if err := c.http.DoDeadline(request, response, deadline); err != nil {
		if errors.Is(err, fasthttp.ErrTimeout) || errors.Is(err, fasthttp.ErrTLSHandshakeTimeout) {
			err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
		}
		return Answer{}, fmt.Errorf("%s %s of %s: %w", strings.ToLower(call.Method), call.Path, c.address, err)
	}
	return readAnswer(response, call)
}

func setBody(request *fasthttp.Request, body any) error {
	switch body := body.(type) {
	case nil:
		return nil
	case []byte:
		request.SetBody(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		request.SetBody(b)
	}
	request.Header.SetContentType(jsonContent)
	return nil
}

func readAnswer(response *fasthttp.Response, call Call) (Answer, error) {
	answer := Answer{Status: response.StatusCode(), Headers: map[string]string{}}
	answer.Body = append(answer.Body, response.Body()...)
	for name, value := range response.Header.All() {
		answer.Headers[string(name)] = string(value)
	}
	if answer.Status >= http.StatusBadRequest {
		problem := &Problem{Status: answer.Status}
		if json.Unmarshal(answer.Body, problem) != nil || problem.Title == "" {
			problem.Title = http.StatusText(answer.Status)
		}
		problem.Status = answer.Status
		return answer, problem
	}
	if call.Into != nil {
		if err := json.Unmarshal(answer.Body, call.Into); err != nil {
			return answer, fmt.Errorf("parse answer to %s: %w", call.Path, err)
		}
	}
	return answer, nil
}
