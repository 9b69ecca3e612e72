package order

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
)

const (
	// CustomSKU stands for whatever an order from outside is about. Inventory makes it
	// to order.
	CustomSKU = "CUSTOM"
	// foreignCustomer is the customer of an order from outside that names none.
	foreignCustomer = "foreign"
	statusCreated   = "CREATED"
)

// A foreignOrder is an order as another program wrote it: {orderId, total, status}.
type foreignOrder struct {
	id         string
	totalMinor int64
	currency   string
	customer   string
}

// foreignStream returns the stream for a record from outside: the order it names, or one
// of its own when it names none, so that Intake gets to see and refuse it.
func foreignStream(in event.Recorded) string {
	if in.Topic != event.OrderEvents && in.Topic != event.OrderCommands {
		return ""
	}
	if o, err := parseForeign(in.Value); err == nil {
		return o.id
	}
	return in.ID
}

// Intake decides on a record of order-events that another program wrote. JSON with
// orderId, a decimal total and status CREATED (or none) is an order of one line at that
// price, to the cent; anything else is put aside. An order that is there already stays
// as it is.
func Intake(o Order, in event.Recorded) framework.Decision {
	if in.Topic != event.OrderEvents {
		return framework.PutAside(fmt.Sprintf("only %s writes %s", event.Source(event.Writer(in.Topic)), in.Topic))
	}
	if in.Source != "" {
		return framework.PutAside(fmt.Sprintf("event %s of %s: only %s writes events here", in.Type, in.Source, event.Source(event.Order)))
	}
	foreign, err := parseForeign(in.Value)
	if err != nil {
		return framework.PutAside(err.Error())
	}
	if o.Facts.Placed || o.Facts.Rejected {
		if o.Facts.Placed && o.TotalMinor == foreign.totalMinor && o.Currency == foreign.currency {
			return framework.Nothing()
		}
		return framework.PutAside(fmt.Sprintf("order %s is there already, with another total", foreign.id))
	}
	return framework.Append(event.OrderPlaced{
		OrderID: foreign.id, CustomerID: foreign.customer, Currency: foreign.currency, TotalMinor: foreign.totalMinor,
		Lines: []event.Line{{SKU: CustomSKU, Quantity: 1, UnitPriceMinor: foreign.totalMinor}},
	})
}

// parseForeign reads an order from outside. Numbers are kept as they were written.
func parseForeign(value []byte) (foreignOrder, error) {
	var raw struct {
		OrderID    json.RawMessage `json:"orderId"`
		Total      *json.Number    `json:"total"`
		Status     string          `json:"status"`
		Currency   string          `json:"currency"`
		CustomerID string          `json:"customerId"`
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil {
		return foreignOrder{}, fmt.Errorf("an order from outside is json: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return foreignOrder{}, errors.New("more after the order's json")
	}
	o := foreignOrder{currency: raw.Currency, customer: raw.CustomerID}
	if o.currency == "" {
		o.currency = event.DefaultCurrency
	}
	if o.customer == "" {
		o.customer = foreignCustomer
	}
	var named bool
	o.id, named = foreignID(raw.OrderID)
	switch {
	case !named || !event.IsOrderID(o.id):
		return foreignOrder{}, fmt.Errorf("orderId %.80s: wanted 1 to 64 letters, digits, dots, dashes and underscores", raw.OrderID)
	case raw.Status != "" && !strings.EqualFold(raw.Status, statusCreated):
		return foreignOrder{}, fmt.Errorf("status %.40q: only %s begins an order", raw.Status, statusCreated)
	case !event.IsCurrency(o.currency):
		return foreignOrder{}, fmt.Errorf("currency %.40q: wanted three capital letters", raw.Currency)
	case raw.Total == nil:
		return foreignOrder{}, errors.New("no total")
	}
	var err error
	if o.totalMinor, err = event.ParseMinor(*raw.Total, o.currency); err != nil {
		return foreignOrder{}, fmt.Errorf("total: %w", err)
	}
	if o.totalMinor == 0 {
		return foreignOrder{}, errors.New("total is 0")
	}
	return o, nil
}

// foreignID reads an order's id: a string or a whole number.
func foreignID(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return text, true
	}
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
	return string(raw), len(raw) > 0 && strings.TrimFunc(string(raw), isDigit) == ""
}
