package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

const (
	maxReceipt     = int64(1_000_000_000)
	maxSKUBytes    = 64
	commandTimeout = 10 * time.Second
)

// Received is the answer to a receipt.
type Received struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	Warehouse string `json:"warehouse"`
	Reference string `json:"reference"`
	Duplicate bool   `json:"duplicate"` // this reference had been received before
}

// ReceiveRequest is the body of a receipt.
type ReceiveRequest struct {
	Quantity  int64  `json:"quantity"`
	Warehouse string `json:"warehouse,omitempty"`
}

// Serve adds the warehouse's routes to its service.
func Serve(service *framework.Service, rules Rules) {
	service.Handle(http.MethodPost, "/v1/stock/{sku}/receive", func(r *web.Request) error {
		return receive(service, rules, r)
	})
}

func receive(service *framework.Service, rules Rules, r *web.Request) error {
	var body ReceiveRequest
	if err := json.Unmarshal(r.Body(), &body); err != nil {
		return web.Refuse(http.StatusBadRequest, "body: %v", err)
	}
	if body.Warehouse == "" {
		body.Warehouse = rules.Warehouse
	}
	sku, key := r.Name("sku"), r.Header("Idempotency-Key")
	switch {
	case body.Warehouse != rules.Warehouse:
		return web.Refuse(http.StatusNotFound, "there is no warehouse %q", body.Warehouse)
	case body.Quantity < 1 || body.Quantity > maxReceipt:
		return web.Refuse(http.StatusBadRequest, "quantity: wanted 1 to %d", maxReceipt)
	case sku == "" || len(sku) > maxSKUBytes:
		return web.Refuse(http.StatusBadRequest, "sku: wanted 1 to %d characters", maxSKUBytes)
	case key == "" || len(key) > 128:
		return web.Refuse(http.StatusBadRequest, "header Idempotency-Key: wanted 1 to 128 characters, new for every receipt and the same when it is repeated")
	}
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	command := Receive{SKU: sku, Quantity: body.Quantity, Reference: key}
	result, err := service.Command(ctx, ReceiveInput(body.Warehouse, command))
	if err != nil {
		if errors.Is(err, framework.ErrNotReady) || errors.Is(err, context.DeadlineExceeded) {
			return web.Refuse(http.StatusServiceUnavailable, "%v; the same Idempotency-Key may be sent again", err).Later(1)
		}
		return err
	}
	var receipt Receipt
	if err := service.Read(func(tx *state.Tx) error {
		receipt, _ = GetReceipt(tx, body.Warehouse, key)
		return nil
	}); err != nil {
		return web.Refuse(http.StatusServiceUnavailable, "%v", err).Later(1)
	}
	if receipt.SKU != sku || receipt.Quantity != body.Quantity {
		return web.Refuse(http.StatusUnprocessableEntity, "Idempotency-Key %q was used for %d of %s", key, receipt.Quantity, receipt.SKU)
	}
	if result.Wrote {
		a := result.Appended
		r.SetHeader("Consistency-Token", fmt.Sprintf("%s:%d:%d", event.InventoryEvents, a.Partition, a.LastOffset()))
	}
	return r.JSON(http.StatusAccepted, Received{
		SKU: sku, Quantity: body.Quantity, Warehouse: body.Warehouse, Reference: key, Duplicate: !result.Wrote,
	})
}

// Opening returns the commands that receive the opening stock, once for all time: each
// article has a reference of its own.
func Opening(rules Rules, stock map[string]int64) []event.Recorded {
	var commands []event.Recorded
	for _, sku := range slices.Sorted(maps.Keys(stock)) {
		commands = append(commands, ReceiveInput(rules.Warehouse, Receive{SKU: sku, Quantity: stock[sku], Reference: "opening stock of " + sku}))
	}
	return commands
}
