package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

// Limits of the API.
const (
	MaxWait    = 30 * time.Second
	defaultSec = 2
	maxPage    = 500
	firstPage  = 50
)

// A Token says how far the log was when something was written; see FormatToken.
type Token struct {
	Topic     string
	Partition int32
	Offset    int64
}

// FormatToken writes a token: opaque to callers, today topic:partition:offset.
func FormatToken(t Token) string { return fmt.Sprintf("%s:%d:%d", t.Topic, t.Partition, t.Offset) }

// ParseToken reads what FormatToken wrote.
func ParseToken(text string) (Token, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Token{}, fmt.Errorf("consistency token %.80q is not one of ours", text)
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || err2 != nil || partition < 0 || offset < 0 || event.Writer(parts[0]) == "" {
		return Token{}, fmt.Errorf("consistency token %.80q is not one of ours", text)
	}
	return Token{Topic: parts[0], Partition: int32(partition), Offset: offset}, nil
}

// api serves the read model over HTTP.
type api struct {
	service *framework.Service
	now     func() time.Time
}

// Serve adds the read model's routes to its service.
func Serve(service *framework.Service, now func() time.Time) {
	a := &api{service: service, now: now}
	service.Handle(http.MethodGet, "/v1/orders", a.list)
	service.Handle(http.MethodGet, "/v1/orders/{id}", a.get)
	service.Handle(http.MethodGet, "/v1/orders/{id}/positions", a.positions)
	service.Handle(http.MethodGet, "/v1/stock", a.allStock)
	service.Handle(http.MethodGet, "/v1/stock/{sku}", a.stock)
}

// get answers with one order: at least as fresh as the token, and, with until, when it
// has come to that state or a final one, both within wait seconds.
func (a *api) get(r *web.Request) error {
	id := r.Name("id")
	seconds, err := r.QueryInt("wait", defaultSec, 0, int(MaxWait/time.Second))
	if err != nil {
		return err
	}
	until := r.Query("until")
	if until != "" && !slices.Contains(Statuses(), until) {
		return web.Refuse(http.StatusBadRequest, "until=%s: wanted one of %s", until, strings.Join(Statuses(), ", "))
	}
	token := Token{Offset: -1}
	if text := r.Header("Consistency-Token"); text != "" {
		if token, err = ParseToken(text); err != nil {
			return web.Refuse(http.StatusBadRequest, "%v", err)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	var d Document
	var found, fresh bool
	err = a.service.Await(ctx, func(tx *state.Tx) (bool, error) {
		fresh = token.Offset < 0 || tx.Folded().Offset(token.Topic, token.Partition) > token.Offset
		d, found = documents.Get(tx, id)
		waits := until != "" && (!found || d.Status() != until && !IsFinal(d.Status()))
		return fresh && !waits, tx.Err()
	})
	switch {
	case errors.Is(err, framework.ErrNotReady), errors.Is(err, context.Canceled), err != nil && !fresh:
		return web.Refuse(http.StatusServiceUnavailable, "the view has not come to the token yet").Later(1)
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return err
	case !found:
		return web.Refuse(http.StatusNotFound, "there is no order %q", id)
	}
	view := d.View(id, a.now())
	r.SetHeader("ETag", `"`+strconv.FormatInt(view.Version, 10)+"-"+view.Status+`"`)
	return r.JSON(http.StatusOK, view)
}

// positions answers with where an order's events lie in streams that are not its own, once
// the view has come to a cut.
func (a *api) positions(r *web.Request) error {
	wanted, err := client.ParseCut(r.Query("cut"))
	if err != nil {
		return web.Refuse(http.StatusBadRequest, "%v", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), defaultSec*time.Second)
	defer cancel()
	var list []Position
	err = a.service.Await(ctx, func(tx *state.Tx) (bool, error) {
		list = []Position{}
		for _, row := range timeline.Scan(tx, r.Name("id")) {
			list = append(list, row)
		}
		return tx.Folded().Covers(wanted), tx.Err()
	})
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return web.Refuse(http.StatusServiceUnavailable, "the view has not come to the cut yet").Later(1)
	}
	if err != nil {
		return notReady(err)
	}
	return r.JSON(http.StatusOK, list)
}

// A Page is a part of a list of orders; Next, if not "", is the cursor of the next part.
type Page struct {
	Orders []View `json:"orders"`
	Next   string `json:"next,omitempty"`
}

// list answers with orders, newest first, of one customer, of one status, of both or all.
func (a *api) list(r *web.Request) error {
	limit, err := r.QueryInt("limit", firstPage, 1, maxPage)
	if err != nil {
		return err
	}
	customer, status := r.Query("customerId"), r.Query("status")
	if status != "" && !slices.Contains(Statuses(), status) {
		return web.Refuse(http.StatusBadRequest, "status=%s: wanted one of %s", status, strings.Join(Statuses(), ", "))
	}
	table, prefix := byTime, []string{}
	switch {
	case customer != "":
		table, prefix = byCustomer, []string{customer}
	case status != "":
		table, prefix = byStatus, []string{status}
	}
	after, err := parseCursor(r.Query("cursor"))
	if err != nil {
		return err
	}
	page := Page{Orders: []View{}}
	err = a.service.Read(func(tx *state.Tx) error {
		rows := table.Scan(tx, prefix...)
		if after != nil {
			rows = table.ScanAfter(tx, prefix, after)
		}
		last := ""
		for key := range rows {
			at, id := key[len(key)-2], key[len(key)-1]
			d, _ := documents.Get(tx, id)
			if customer != "" && status != "" && d.Status() != status {
				continue
			}
			if len(page.Orders) == limit {
				page.Next = last
				return nil
			}
			page.Orders = append(page.Orders, d.View(id, a.now()))
			last = at + "." + id
		}
		return nil
	})
	if err != nil {
		return notReady(err)
	}
	return r.JSON(http.StatusOK, page)
}

func parseCursor(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	at, id, found := strings.Cut(text, ".")
	if !found || len(at) != 16 {
		return nil, web.Refuse(http.StatusBadRequest, "cursor %.80q is not one of ours", text)
	}
	return []string{at, id}, nil
}

// A StockView is the stock of an article as the API shows it.
type StockView struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	StockRow
}

func (a *api) stock(r *web.Request) error {
	list, err := a.stockOf(r.Name("sku"))
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return web.Refuse(http.StatusNotFound, "there is no stock of %q", r.Name("sku"))
	}
	return r.JSON(http.StatusOK, list[0])
}

func (a *api) allStock(r *web.Request) error {
	list, err := a.stockOf()
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, map[string]any{"stock": list})
}

func (a *api) stockOf(sku ...string) ([]StockView, error) {
	list := []StockView{}
	err := a.service.Read(func(tx *state.Tx) error {
		for key, row := range stocks.Scan(tx, sku...) {
			list = append(list, StockView{SKU: key[0], Warehouse: key[1], StockRow: row})
		}
		return nil
	})
	return list, notReady(err)
}

func notReady(err error) error {
	if errors.Is(err, framework.ErrNotReady) {
		return web.Refuse(http.StatusServiceUnavailable, "%v", err).Later(1)
	}
	return err
}
