package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// orderPause is the time between two orders: the crash falls among them.
	orderPause = 15 * time.Millisecond
	// orderRetry is the pause before an order is sent again after no answer.
	orderRetry = 100 * time.Millisecond
	// killAfter is how many orders were accepted when the leader is killed.
	killAfter = demoOrders / 2
	// listPage is how many orders one answer of the gateway holds.
	listPage = 200
	// maxAnswerBytes bounds an answer of the gateway.
	maxAnswerBytes = 8 << 20

	statusShipped = "SHIPPED"
)

// A demoOrder is an order as the gateway shows it; the rest of the answer is left alone.
type demoOrder struct {
	OrderID string `json:"orderId"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Stock   *struct {
		State string `json:"state"`
	} `json:"stock"`
}

// final are the states that an order stays in.
func isFinal(status string) bool {
	return slices.Contains([]string{statusShipped, "DECLINED", "REJECTED", "REFUNDED", "CANCELLED"}, status)
}

// post sends body to the shop's gateway; key makes a repetition harmless.
func (s *demoShop) post(ctx context.Context, path, key string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.gateway+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	return askJSON(request, into)
}

// askJSON makes a request and decodes the answer. A status from 400 is a *gatewayError.
func askJSON(request *http.Request, into any) error {
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", request.URL.Host, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", request.URL.Host, err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return &gatewayError{status: answer.StatusCode, text: strings.TrimSpace(string(text))}
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", request.Method, request.URL.Path, err)
	}
	return nil
}

// A gatewayError is a refusal of the shop's gateway.
type gatewayError struct {
	status int
	text   string
}

func (e *gatewayError) Error() string {
	return fmt.Sprintf("status %d: %s", e.status, e.text)
}

// retriable reports whether the same request may succeed later.
func retriable(err error) bool {
	var refused *gatewayError
	return !errors.As(err, &refused) || refused.status >= 500 || refused.status == http.StatusTooManyRequests
}

// await returns an order's state once it is final.
func (s *demoShop) await(ctx context.Context, order string) (string, error) {
	for {
		var found demoOrder
		err := getJSON(ctx, "http://"+s.gateway+"/v1/orders/"+url.PathEscape(order)+"?until="+statusShipped+"&wait=10", &found)
		var refused *gatewayError
		if err != nil && errors.As(err, &refused) && refused.status != http.StatusNotFound && !retriable(err) {
			return "", err
		}
		if err == nil && isFinal(found.Status) {
			return found.Status, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("order %s is %q: %w", order, found.Status, errors.Join(ctx.Err(), err))
		case <-time.After(orderRetry):
		}
	}
}

// newOrder returns the i-th order of the tour: of most there is stock and money, of
// some there is not.
func newOrder(i int) map[string]any {
	sku, quantity, method := articles()[i%len(articles())], 1+i%3, goodMethod
	switch {
	case i%13 == 5:
		method = badMethod
	case i%17 == 7:
		sku = scarceArticle
	}
	return map[string]any{
		"customerId":    fmt.Sprintf("customer-%d", i%23),
		"lines":         []map[string]any{{"sku": sku, "quantity": quantity}},
		"shipTo":        map[string]any{"name": "Ada Lovelace", "street": "12 St James's Square", "city": "London", "postalCode": "SW1Y 4JH", "country": "GB"},
		"paymentMethod": method,
	}
}

// showOrders sends orders at a steady pace and kills the leading node in the middle.
func (d *demo) showOrders(ctx context.Context) error {
	accepted := make(chan string, demoOrders)
	failed := make(chan error, 1)
	var senders sync.WaitGroup
	// It ends with ctx or with the last order.
	go d.sendOrders(ctx, &senders, accepted, failed)
	for len(d.shop.orders) < demoOrders {
		select {
		case id := <-accepted:
			d.shop.orders = append(d.shop.orders, id)
		case err := <-failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%d of %d orders accepted: %w", len(d.shop.orders), demoOrders, ctx.Err())
		}
		switch n := len(d.shop.orders); {
		case n == killAfter:
			if err := d.killLeader(ctx); err != nil {
				return err
			}
		case n%50 == 0:
			d.stage.say("%3d of %d orders accepted", n, demoOrders)
		}
	}
	senders.Wait()
	return nil
}

// sendOrders ends with ctx or when every order was accepted.
func (d *demo) sendOrders(ctx context.Context, senders *sync.WaitGroup, accepted chan<- string, failed chan<- error) {
	ticker := time.NewTicker(orderPause)
	defer ticker.Stop()
	for i := range demoOrders {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		senders.Go(func() {
			id, err := d.submit(ctx, i)
			if err != nil {
				select {
				case failed <- err:
				default: // another one failed first
				}
				return
			}
			accepted <- id
		})
	}
}

// submit sends one order until it is accepted: the key makes a repetition harmless.
func (d *demo) submit(ctx context.Context, i int) (string, error) {
	for {
		var answer struct {
			OrderID string `json:"orderId"`
		}
		err := d.shop.post(ctx, "/v1/orders", "demo-"+strconv.Itoa(i), newOrder(i), &answer)
		if err == nil {
			return answer.OrderID, nil
		}
		if !retriable(err) {
			return "", fmt.Errorf("submit an order: %w", err)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("submit an order: %w", errors.Join(ctx.Err(), err))
		case <-time.After(orderRetry):
		}
	}
}

// killLeader kills the node that leads the shard, waits for another, and starts the dead one again.
func (d *demo) killLeader(ctx context.Context) error {
	leader, err := d.cluster.leader(ctx, articleTopic)
	if err != nil {
		return err
	}
	p := d.cluster.nodes[leader-1]
	d.stage.say("%3d of %d orders accepted; node %d leads: kill -9 %d", len(d.shop.orders), demoOrders, leader, p.ID())
	began := time.Now()
	p.Kill()
	for {
		next, err := d.cluster.leader(ctx, articleTopic)
		if err != nil {
			return err
		}
		if next != leader {
			d.stage.say("node %d leads %.2f s later; node %d is started again", next, time.Since(began).Seconds(), leader)
			return d.cluster.startNode(leader)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a new leader: %w", ctx.Err())
		case <-time.After(readyEvery):
		}
	}
}

// showAccounts waits until every accepted order has come to an end and counts the ends.
func (d *demo) showAccounts(ctx context.Context) error {
	wanted := map[string]bool{articleOrder: true}
	for _, id := range d.shop.orders {
		wanted[id] = true
	}
	for {
		orders, err := d.shop.list(ctx)
		if err != nil && (ctx.Err() != nil || !retriable(err)) {
			return err
		}
		open, ends := len(wanted), map[string]int{}
		for _, order := range orders {
			if wanted[order.OrderID] && isFinal(order.Status) {
				open--
				ends[describeOutcome(order)]++
			}
		}
		if open == 0 {
			d.stage.say("%d orders accepted, 0 lost:", len(wanted))
			for _, end := range slices.Sorted(maps.Keys(ends)) {
				d.stage.code(fmt.Sprintf("%4d  %s", ends[end], end))
			}
			return d.cluster.allReady(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d orders have not come to an end: %w", open, len(wanted), ctx.Err())
		case <-time.After(orderRetry):
		}
	}
}

// describeOutcome says how an order ended and why.
func describeOutcome(order demoOrder) string {
	switch {
	case order.Status == "REFUNDED" && order.Stock != nil && order.Stock.State == "rejected":
		return "REJECTED  out of stock, money given back"
	case order.Reason != "" && order.Status != statusShipped:
		return fmt.Sprintf("%-9s %s", order.Status, order.Reason)
	}
	return order.Status
}

// list returns all orders.
func (s *demoShop) list(ctx context.Context) ([]demoOrder, error) {
	var all []demoOrder
	cursor := ""
	for {
		var page struct {
			Orders []demoOrder `json:"orders"`
			Next   string      `json:"next"`
		}
		path := fmt.Sprintf("/v1/orders?limit=%d&cursor=%s", listPage, url.QueryEscape(cursor))
		if err := getJSON(ctx, "http://"+s.gateway+path, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Orders...)
		if page.Next == "" {
			return all, nil
		}
		cursor = page.Next
	}
}
