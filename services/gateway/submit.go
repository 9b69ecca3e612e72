package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/order"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/web"
)

// Limits of a request.
const (
	maxKeyBytes      = 128
	maxCustomerBytes = 128
	maxSKUBytes      = 64
	maxMethodBytes   = 64
	maxShipToBytes   = 8 << 10
	maxForward       = query.MaxWait + 5*time.Second
)

// NewOrder is the body of a submission.
type NewOrder struct {
	OrderID       string          `json:"orderId,omitempty"`
	CustomerID    string          `json:"customerId"`
	Lines         []NewLine       `json:"lines"`
	ShipTo        json.RawMessage `json:"shipTo,omitempty"`
	PaymentMethod string          `json:"paymentMethod,omitempty"`
	Currency      string          `json:"currency,omitempty"`
}

// NewLine is a line of a submission; a price, if given, must be today's.
type NewLine struct {
	SKU       string       `json:"sku"`
	Quantity  int64        `json:"quantity"`
	UnitPrice *query.Money `json:"unitPrice,omitempty"`
}

// Accepted is the answer to a submission: the order is in the log.
type Accepted struct {
	OrderID  string            `json:"orderId"`
	Status   string            `json:"status"`
	Degraded bool              `json:"degraded"` // it will take longer than usual
	Links    map[string]string `json:"links"`
}

// submit appends order.submitted and answers when the log has it; with Prefer: wait=N,
// when the order has come to a state.
func (g *Gateway) submit(r *web.Request) error {
	lag := g.behind()
	if lag > refusedLag {
		return web.Refuse(http.StatusTooManyRequests, "orders are %.0f seconds behind; nothing was accepted", lag).Later(10)
	}
	submitted, key, err := g.parseOrder(r)
	if err != nil {
		return err
	}
	wait, until, err := preference(r)
	if err != nil {
		return err
	}
	token, err := g.appendOrder(r, submitted, key)
	if err != nil {
		return err
	}
	self := "/v1/orders/" + url.PathEscape(submitted.OrderID)
	r.SetHeader("Location", self)
	r.SetHeader("Consistency-Token", token)
	if wait > 0 {
		if view, reached := g.await(r, submitted.OrderID, token, wait, until); reached {
			return r.JSON(http.StatusCreated, view)
		}
	}
	return r.JSON(http.StatusAccepted, Accepted{
		OrderID: submitted.OrderID, Status: query.Submitted, Degraded: lag > degradedLag,
		Links: map[string]string{"self": self, "events": self + "/events"},
	})
}

// parseOrder checks the shape of a submission. Whether the order can be is the order
// service's decision.
func (g *Gateway) parseOrder(r *web.Request) (event.OrderSubmitted, string, error) {
	var none event.OrderSubmitted
	bad := func(format string, args ...any) (event.OrderSubmitted, string, error) {
		return none, "", web.Refuse(http.StatusBadRequest, format, args...)
	}
	var body NewOrder
	if err := json.Unmarshal(r.Body(), &body); err != nil {
		return bad("body: %v", err)
	}
	key := r.Header("Idempotency-Key")
	switch {
	case body.CustomerID == "" || len(body.CustomerID) > maxCustomerBytes:
		return bad("customerId: wanted 1 to %d characters", maxCustomerBytes)
	case len(key) > maxKeyBytes:
		return bad("header Idempotency-Key: %d characters, at most %d", len(key), maxKeyBytes)
	case key == "" && body.OrderID == "":
		return bad("header Idempotency-Key is missing: send one that is new for every order and the same when it is repeated, or name the orderId")
	case body.OrderID != "" && !event.IsOrderID(body.OrderID):
		return bad("orderId %.80q: wanted 1 to 64 letters, digits, dots, dashes and underscores", body.OrderID)
	case len(body.Lines) < 1 || len(body.Lines) > order.MaxLines:
		return bad("lines: got %d, wanted 1 to %d", len(body.Lines), order.MaxLines)
	case body.Currency != "" && !event.IsCurrency(body.Currency):
		return bad("currency %.10q: wanted three capital letters", body.Currency)
	case len(body.PaymentMethod) > maxMethodBytes || len(body.ShipTo) > maxShipToBytes:
		return bad("paymentMethod has at most %d bytes and shipTo %d", maxMethodBytes, maxShipToBytes)
	}
	submitted := event.OrderSubmitted{
		OrderID: body.OrderID, CustomerID: body.CustomerID, Currency: body.Currency, PaymentMethod: body.PaymentMethod,
	}
	if submitted.Currency == "" {
		submitted.Currency = g.config.Currency
	}
	if len(body.ShipTo) > 0 && string(body.ShipTo) != "null" {
		var compact bytes.Buffer
		if err := json.Compact(&compact, body.ShipTo); err != nil || compact.Bytes()[0] != '{' {
			return bad("shipTo: wanted an object")
		}
		submitted.ShipTo = compact.Bytes()
	}
	for i, line := range body.Lines {
		switch {
		case line.SKU == "" || len(line.SKU) > maxSKUBytes:
			return bad("lines[%d].sku: wanted 1 to %d characters", i, maxSKUBytes)
		case line.Quantity < 1 || line.Quantity > order.MaxQuantity:
			return bad("lines[%d].quantity: got %d, wanted 1 to %d", i, line.Quantity, order.MaxQuantity)
		case line.UnitPrice != nil && line.UnitPrice.Currency != submitted.Currency:
			return bad("lines[%d].unitPrice.currency: got %.10q, the order is in %s", i, line.UnitPrice.Currency, submitted.Currency)
		}
		requested := event.RequestedLine{SKU: line.SKU, Quantity: line.Quantity}
		if line.UnitPrice != nil {
			requested.UnitPriceMinor = &line.UnitPrice.Minor
		}
		submitted.Lines = append(submitted.Lines, requested)
	}
	if submitted.OrderID == "" {
		submitted.OrderID = event.OrderID(body.CustomerID, key)
	}
	canonical, err := json.Marshal(submitted)
	if err != nil {
		return none, "", fmt.Errorf("encode order: %w", err)
	}
	sum := sha256.Sum256(canonical)
	submitted.RequestHash = hex.EncodeToString(sum[:])
	return submitted, key, nil
}

// appendOrder puts the order into the log once and returns the token of its place.
func (g *Gateway) appendOrder(r *web.Request, submitted event.OrderSubmitted, key string) (string, error) {
	cause := submitted.OrderID + " " + key + " " + submitted.RequestHash
	id := event.ID(event.Gateway, cause, 0)
	wire, err := framework.Encode(&event.Recorded{
		ID: id, Type: submitted.EventType(), Source: event.Source(event.Gateway), Stream: submitted.OrderID, Time: g.config.Now().UTC(),
		Correlation: id, Causation: id, TraceParent: traceParent(r.Header("traceparent")), Data: submitted,
	})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(r.Context(), appendTimeout)
	defer cancel()
	stream := g.config.Client.Stream(event.OrderCommands, submitted.OrderID)
	appended, err := stream.Append(ctx, client.ExpectNone, wire)
	if _, ok := errors.AsType[*client.ConflictError](err); ok {
		if wire.ID, err = recognise(ctx, stream, submitted); err == nil {
			appended, err = stream.Append(ctx, client.ExpectNone, wire) // is there: says where
		}
	}
	if err != nil && (ctx.Err() != nil || client.IsUnknownTopic(err)) {
		return "", web.Refuse(http.StatusServiceUnavailable, "the log does not answer; send the same request again, it is accepted once").Later(1)
	}
	return query.FormatToken(query.Token{Topic: event.OrderCommands, Partition: appended.Partition, Offset: appended.FirstOffset}), err
}

// recognise compares a request with the one that made the order that is there already,
// and returns the id of its event.
func recognise(ctx context.Context, stream *client.Stream, submitted event.OrderSubmitted) (string, error) {
	events, _, err := stream.Read(ctx, client.ReadRequest{Limit: 1})
	if err != nil {
		return "", err
	}
	var first event.OrderSubmitted
	if len(events) == 0 || json.Unmarshal(events[0].Data, &first) != nil || first.RequestHash != submitted.RequestHash {
		return "", web.Refuse(http.StatusUnprocessableEntity, "order %s is there already, with another request", submitted.OrderID)
	}
	return events[0].ID, nil
}

// preference reads Prefer: wait=N (RFC 7240) and the state to wait for.
func preference(r *web.Request) (time.Duration, string, error) {
	until := r.Query("until")
	var wait time.Duration
	for part := range strings.FieldsFuncSeq(r.Header("Prefer"), func(c rune) bool { return c == ',' || c == ';' || c == '&' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "wait":
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil || math.IsNaN(seconds) || seconds < 0 {
				return 0, "", web.Refuse(http.StatusBadRequest, "header Prefer: wait=%.20s is no number of seconds", value)
			}
			wait = min(time.Duration(min(seconds, 3600)*float64(time.Second)), query.MaxWait)
		case "until":
			until = value
		}
	}
	if until != "" && !slices.Contains(query.Statuses(), until) {
		return 0, "", web.Refuse(http.StatusBadRequest, "until=%.40s: wanted one of %s", until, strings.Join(query.Statuses(), ", "))
	}
	return wait, until, nil
}

// await asks the read model for an order that has come to a state (a final one if none is
// named), and reports whether it has.
func (g *Gateway) await(r *web.Request, id, token string, wait time.Duration, until string) (query.View, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), wait+time.Second)
	defer cancel()
	if until == "" {
		until = query.Shipped // or any final state
	}
	var view query.View
	_, err := g.clients[event.Query].Do(ctx, web.Call{
		Path:    fmt.Sprintf("/v1/orders/%s?wait=%d&until=%s", url.PathEscape(id), int(math.Ceil(wait.Seconds())), until),
		Headers: map[string]string{"Consistency-Token": token}, Into: &view,
	})
	return view, err == nil && (view.Status == until || query.IsFinal(view.Status))
}

// traceParent takes a W3C trace context over if it looks like one.
func traceParent(text string) string {
	if len(text) < 55 || len(text) > 128 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return text
}
