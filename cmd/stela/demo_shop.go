package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stela-db/stela/internal/process"
	"github.com/stela-db/stela/services"
)

const (
	// Of this article there is less than is ordered.
	scarceArticle = "CHAIR"
	scarceStock   = 10

	goodMethod = "card"
	badMethod  = "declined:card_declined" // the payment provider knows it

	roleGateway = "gateway"
	rolePayment = "payment"
	rolePSP     = "psp"
)

// A demoShop is the tour's order services, a process each.
type demoShop struct {
	gateway string // address
	data    string
	roles   map[string]*process.Process
	orders  []string // accepted by the gateway
}

// articles are what the tour orders; there is plenty of each.
func articles() []string { return []string{"A", "B", "C", "BOOK", "LAMP"} }

// stop ends all services and waits for them.
func (s *demoShop) stop() {
	all := make([]*process.Process, 0, len(s.roles))
	for _, p := range s.roles {
		all = append(all, p)
	}
	stopAll(all)
}

// address returns where a role's HTTP listens.
func (s *demoShop) address(role string) string {
	address, err := services.AddressOf(s.gateway, role)
	if err != nil {
		panic("BUG: " + err.Error()) // both are ours
	}
	return address
}

// startRole starts or restarts a service.
func (d *demo) startRole(role string) error {
	log, err := d.cluster.logFile("shop-" + role)
	if err != nil {
		return err
	}
	var web []string
	for node := 1; node <= d.cluster.Nodes; node++ {
		web = append(web, d.cluster.http(node))
	}
	p, err := process.Start(process.Config{Output: log, Args: []string{
		"demo-role", role, "--brokers", joinAddresses(d.cluster.brokers()), "--http", joinAddresses(web),
		"--data", d.shop.data, "--address", d.shop.gateway,
	}})
	if err != nil {
		return err
	}
	d.shop.roles[role] = p
	return nil
}

// roleReady waits until a service says that it is ready, or ends.
func (d *demo) roleReady(ctx context.Context, role string) error {
	p := d.shop.roles[role]
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	path := "/readyz"
	if role == rolePSP {
		path = "/healthz"
	}
	for {
		err := getJSON(ctx, "http://"+d.shop.address(role)+path, nil)
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("service %s ended: %s", role, describeEnd(p.Err()))
		case <-ctx.Done():
			return fmt.Errorf("service %s is not ready: %w", role, errors.Join(ctx.Err(), err))
		case <-ticker.C:
		}
	}
}

func (d *demo) showShop(ctx context.Context) error {
	roles := services.Roles()
	port, err := process.FreePorts(d.cluster.Host, defaultShopPort, len(roles))
	if err != nil {
		return err
	}
	if port != defaultShopPort {
		d.stage.say("the usual ports are taken; the services have %d to %d", port, port+len(roles)-1)
	}
	d.shop.gateway = net.JoinHostPort(d.cluster.Host, strconv.Itoa(port))
	d.shop.data = filepath.Join(d.cluster.Data, "shop")
	d.shop.roles = map[string]*process.Process{}
	for _, role := range roles {
		if err := d.startRole(role); err != nil {
			return err
		}
	}
	var waiting sync.WaitGroup
	failures := make([]error, len(roles))
	for i, role := range roles {
		waiting.Go(func() { failures[i] = d.roleReady(ctx, role) })
	}
	waiting.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	d.stage.say("%s: ready; the gateway is http://%s", strings.Join(roles, ", "), d.shop.gateway)
	return nil
}

// getJSON asks a URL and decodes the answer; a status from 400 is an error.
func getJSON(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	return askJSON(request, into)
}

// An orderEvent is an event as the gateway's history shows it; the rest is left alone.
type orderEvent struct {
	Type string    `json:"type"`
	Time time.Time `json:"time"`
}

// history prints an order's events, one line each, when its last one is there.
func (d *demo) history(ctx context.Context, order string) error {
	url := "http://" + d.shop.gateway + "/v1/orders/" + order + "/events"
	for {
		var events []orderEvent
		err := getJSON(ctx, url, &events)
		if err == nil && slices.ContainsFunc(events, func(e orderEvent) bool { return e.Type == "order.shipped" }) {
			d.stage.say("its history, read from the log by key:")
			for _, event := range events {
				d.stage.code(event.Time.UTC().Format("15:04:05.000") + "  " + event.Type)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("read the history of order %s: %w", order, errors.Join(ctx.Err(), err))
		case <-time.After(orderRetry):
		}
	}
}

// A stateDigest is what a service says of its state.
type stateDigest struct {
	Digest string `json:"digest"`
	Keys   int64  `json:"keys"`
	Cut    string `json:"cut"`
}

// showRebuild deletes payment's database and lets it come back from the log.
func (d *demo) showRebuild(ctx context.Context) error {
	url := "http://" + d.shop.address(rolePayment) + "/ops/state/digest"
	var live, rebuilt stateDigest
	if err := getJSON(ctx, url, &live); err != nil {
		return fmt.Errorf("ask payment for its digest: %w", err)
	}
	stopping, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := d.shop.roles[rolePayment].Stop(stopping); err != nil {
		return fmt.Errorf("stop payment: %w", err)
	}
	folder := filepath.Join(d.shop.data, rolePayment)
	files, err := countFiles(folder)
	if err != nil {
		return fmt.Errorf("look at payment's database: %w", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("delete payment's database: %w", err)
	}
	d.stage.say("payment stopped, the %d files of its database deleted, payment started", files)
	began := time.Now()
	if err := d.startRole(rolePayment); err != nil {
		return err
	}
	if err := d.roleReady(ctx, rolePayment); err != nil {
		return err
	}
	if err := getJSON(ctx, url, &rebuilt); err != nil {
		return fmt.Errorf("ask payment for its digest: %w", err)
	}
	d.stage.say("folded from offset 0 of payment-events in %.2f s; SHA-256 over all %d keys:", time.Since(began).Seconds(), rebuilt.Keys)
	half := len(live.Digest) / 2
	d.stage.code("before   " + live.Digest[:half])
	d.stage.code("         " + live.Digest[half:])
	d.stage.code("rebuilt  " + rebuilt.Digest[:min(half, len(rebuilt.Digest))])
	d.stage.code("         " + rebuilt.Digest[min(half, len(rebuilt.Digest)):])
	if live != rebuilt {
		return fmt.Errorf("the digests differ: %d keys at %s before, %d keys at %s now", live.Keys, live.Cut, rebuilt.Keys, rebuilt.Cut)
	}
	d.stage.say("equal.")
	return nil
}

// countFiles counts the files below a folder; none is an error.
func countFiles(folder string) (int, error) {
	count := 0
	err := filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			count++
		}
		return err
	})
	if err == nil && count == 0 {
		err = fmt.Errorf("nothing is in %s", folder)
	}
	return count, err
}

// invite says what to try while everything stays up.
func (d *demo) invite() {
	s, c := d.stage, &d.cluster
	fmt.Fprintln(s.out)
	s.say("All as promised. The cluster and the services stay up until Ctrl-C. To try:")
	for _, try := range []struct{ what, command string }{
		{"the orders as any Kafka client sees them", fmt.Sprintf("kcat -b %s -t %s -C -e -q", c.kafka(1), articleTopic)},
		{"one order's events", fmt.Sprintf("curl http://%s/v1/orders/%s/events", d.shop.gateway, articleOrder)},
		{"a new order", fmt.Sprintf(`curl http://%s/v1/orders -H 'Idempotency-Key: 1' \`, d.shop.gateway)},
		{"", `  -d '{"customerId":"me","lines":[{"sku":"BOOK","quantity":1}]}'`},
		{"metrics", fmt.Sprintf("curl http://%s/metrics", c.http(1))},
		{"the cluster", fmt.Sprintf("stela cluster status -b %s", c.kafka(1))},
		{"another crash", fmt.Sprintf("kill -9 %d", c.nodes[0].ID())},
	} {
		if try.what != "" {
			fmt.Fprintln(s.out)
			s.say("%s:", try.what)
		}
		s.code(try.command)
	}
}
