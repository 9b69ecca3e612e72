package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stela-db/stela/services/inventory"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/web"
)

// A Client calls a gateway. It may be used from any goroutine.
type Client struct{ web *web.Client }

// NewClient returns a client of the gateway at address, "host:port".
func NewClient(address string, dial web.Dial) *Client {
	return &Client{web: web.NewClient(address, dial)}
}

// Close drops idle connections.
func (c *Client) Close() { c.web.Close() }

// Submit submits an order; the same key, or the same orderId, has the same effect once.
// The token asks later reads for a view that has seen the order.
func (c *Client) Submit(ctx context.Context, order NewOrder, key string) (accepted Accepted, token string, err error) {
	call := web.Call{Method: http.MethodPost, Path: "/v1/orders", Body: order, Into: &accepted, Headers: map[string]string{}}
	if key != "" {
		call.Headers["Idempotency-Key"] = key
	}
	answer, err := c.web.Do(ctx, call)
	return accepted, answer.Headers["Consistency-Token"], err
}

// A Look says how an order is looked at. The zero value is: as the view has it now.
type Look struct {
	Token   string        // at least as fresh as this
	Until   string        // when it has come to this state, or a final one
	Wait    time.Duration // for either; at most query.MaxWait
	At      time.Time     // as it was then
	Version int64         // as it was then, from 1; 0: now
}

// Order returns an order.
func (c *Client) Order(ctx context.Context, id string, look Look) (query.View, error) {
	values := url.Values{}
	if look.Wait > 0 {
		values.Set("wait", fmt.Sprint(int((look.Wait+time.Second-1)/time.Second)))
	}
	if look.Until != "" {
		values.Set("until", look.Until)
	}
	if !look.At.IsZero() {
		values.Set("at", look.At.Format(time.RFC3339Nano))
	}
	if look.Version > 0 {
		values.Set("version", fmt.Sprint(look.Version-1))
	}
	call := web.Call{Path: "/v1/orders/" + url.PathEscape(id) + "?" + values.Encode(), Headers: map[string]string{}}
	if look.Token != "" {
		call.Headers["Consistency-Token"] = look.Token
	}
	var view query.View
	call.Into = &view
	_, err := c.web.Do(ctx, call)
	return view, err
}

// History returns all events of an order, causes before effects. warning, if not "", says
// which of them could not be found.
func (c *Client) History(ctx context.Context, id string) (list []HistoryEvent, warning string, err error) {
	answer, err := c.web.Do(ctx, web.Call{Path: "/v1/orders/" + url.PathEscape(id) + "/events", Into: &list})
	if text := strings.SplitN(answer.Headers["Warning"], `"`, 3); len(text) == 3 { // 199 agent "text"
		warning = text[1]
	}
	return list, warning, err
}

// Receive receives goods; the same reference has the same effect once.
func (c *Client) Receive(ctx context.Context, sku string, quantity int64, reference string) (inventory.Received, error) {
	var received inventory.Received
	_, err := c.web.Do(ctx, web.Call{
		Method: http.MethodPost, Path: "/v1/stock/" + url.PathEscape(sku) + "/receive",
		Headers: map[string]string{"Idempotency-Key": reference}, Body: inventory.ReceiveRequest{Quantity: quantity}, Into: &received,
	})
	return received, err
}

// Stock returns the stock of all articles.
func (c *Client) Stock(ctx context.Context) ([]query.StockView, error) {
	var body struct {
		Stock []query.StockView `json:"stock"`
	}
	_, err := c.web.Do(ctx, web.Call{Path: "/v1/stock", Into: &body})
	return body.Stock, err
}

// Status returns how the shop is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	_, err := c.web.Do(ctx, web.Call{Path: "/v1/status", Into: &status})
	return status, err
}
