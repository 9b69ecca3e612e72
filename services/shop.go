// Package services runs the order services: one, some or all of them in one process.
//
// It knows which roles there are, their addresses, folders and default configuration,
// and wires each to the log and to those that it calls. What a role does is in the
// package of its name; services/framework runs the log-first ones.
//
//	gateway    +0  HTTP for customers            no state
//	order      +1  owns order-events
//	payment    +2  owns payment-events           calls psp
//	inventory  +3  owns inventory-events
//	shipping   +4  owns shipping-events
//	query      +5  read model
//	psp        +6  payment provider (a test double)
//
// +N is the port, counted from that of the gateway. Each role has its own folder below
// Config.Data and shares no state with another but through the log and HTTP, so that it
// does not matter which process it runs in.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/gateway"
	"github.com/stela-db/stela/services/inventory"
	"github.com/stela-db/stela/services/order"
	"github.com/stela-db/stela/services/payment"
	"github.com/stela-db/stela/services/psp"
	"github.com/stela-db/stela/services/query"
	"github.com/stela-db/stela/services/shipping"
	"github.com/stela-db/stela/services/state"
)

// DefaultAddress is where the gateway listens.
const DefaultAddress = "127.0.0.1:8088"

// DefaultData is the folder of the roles' folders.
const DefaultData = "./shop-data"

// Roles returns all roles, in the order of their ports.
func Roles() []string {
	return []string{event.Gateway, event.Order, event.Payment, event.Inventory, event.Shipping, event.Query, psp.Name}
}

// Stateful returns the roles whose state is folded from the log and can be rebuilt.
func Stateful() []string {
	return []string{event.Order, event.Payment, event.Inventory, event.Shipping, event.Query}
}

// Config says what runs where. The zero value is all roles on this machine, on a log on
// this machine, with a price list and stock to try things with.
type Config struct {
	// Client says where the log is. Its Dial is used between the roles too.
	Client client.Config
	// Data is the folder of the roles' folders. Default: DefaultData.
	Data string
	// FS is the file system of Data. Default: the operating system's.
	FS state.FS
	// Address is the gateway's; the other roles follow on the next ports. Default: DefaultAddress.
	Address string
	// Roles to run here. Default: all.
	Roles []string
	// Currency of the price list. Default: EUR.
	Currency string
	// Prices is the price list, in minor units. Default: DefaultPrices.
	Prices map[string]int64
	// Opening is the stock that is received at the very first start. Default: DefaultOpening.
	Opening map[string]int64
	// PSPLimitMinor is the amount above which the provider refuses; 0: no limit.
	PSPLimitMinor int64
	// Listen opens the roles' listeners. Default: TCP.
	Listen func(address string) (net.Listener, error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets what happens. Default: nothing is logged.
	Logger *slog.Logger
	// Fatal is called when a role's database cannot be written; the process should end.
	Fatal func(error)
}

// DefaultPrices returns a small price list, in cents.
func DefaultPrices() map[string]int64 {
	return map[string]int64{"A": 1000, "B": 2500, "C": 12900, "BOOK": 1995, "LAMP": 4900, "CHAIR": 8950}
}

// DefaultOpening returns stock enough for a demo of everything in DefaultPrices.
func DefaultOpening() map[string]int64 {
	opening := map[string]int64{}
	for sku := range DefaultPrices() {
		opening[sku] = 100_000
	}
	return opening
}

func (c Config) withDefaults() Config {
	if c.Data == "" {
		c.Data = DefaultData
	}
	if c.FS == nil {
		c.FS = state.OSFS()
	}
	if c.Address == "" {
		c.Address = DefaultAddress
	}
	if len(c.Roles) == 0 {
		c.Roles = Roles()
	}
	if c.Currency == "" {
		c.Currency = event.DefaultCurrency
	}
	if c.Prices == nil {
		c.Prices = DefaultPrices()
	}
	if c.Opening == nil {
		c.Opening = DefaultOpening()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	c = c.withDefaults()
	if err := c.Client.Validate(); err != nil {
		return err
	}
	for _, role := range c.Roles {
		if !slices.Contains(Roles(), role) {
			return fmt.Errorf("there is no role %q; roles are %v", role, Roles())
		}
	}
	if !event.IsCurrency(c.Currency) {
		return fmt.Errorf("currency %q: wanted three capital letters", c.Currency)
	}
	_, err := AddressOf(c.Address, event.Gateway)
	return err
}

// AddressOf returns a role's address, given that of the gateway.
func AddressOf(gatewayAddress, role string) (string, error) {
	host, port, err := net.SplitHostPort(gatewayAddress)
	if err != nil {
		return "", fmt.Errorf("address %q is not host:port: %w", gatewayAddress, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || int(number)+len(Roles()) > 1<<16 {
		return "", fmt.Errorf("address %q: wanted a port from 1 to %d", gatewayAddress, 1<<16-len(Roles()))
	}
	index := slices.Index(Roles(), role)
	if index < 0 {
		return "", fmt.Errorf("there is no role %q; roles are %v", role, Roles())
	}
	return net.JoinHostPort(host, strconv.Itoa(int(number)+index)), nil
}

// StateOf returns where a role keeps its state.
func (c Config) StateOf(role string) state.Config {
	c = c.withDefaults()
	return state.Config{FS: c.FS, Dir: c.FS.PathJoin(c.Data, role), Logger: c.Logger, Fatal: c.Fatal}
}

// Topics returns the topics as they are created: event stores that keep everything.
func Topics() []client.Topic {
	var topics []client.Topic
	for _, t := range event.Topics() {
		topics = append(topics, client.Topic{Name: t.Name, Partitions: t.Partitions, Configs: map[string]string{
			"eventstore.enable": "true", "retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete",
		}})
	}
	return topics
}

// rules are the warehouse's.
func rules() inventory.Rules {
	return inventory.Rules{Warehouse: event.DefaultWarehouse, MadeToOrder: []string{order.CustomSKU}}
}

// Definition returns what is particular to a stateful role.
func (c Config) Definition(role string) (framework.Definition, error) {
	c = c.withDefaults()
	switch role {
	case event.Order:
		return order.Definition(order.Catalogue{Currency: c.Currency, Prices: c.Prices}), nil
	case event.Payment:
		return payment.Definition(c.provider()), nil
	case event.Inventory:
		return inventory.Definition(rules()), nil
	case event.Shipping:
		return shipping.Definition(), nil
	case event.Query:
		return query.Definition(), nil
	}
	return framework.Definition{}, fmt.Errorf("%q has no state of its own; services with state are %v", role, Stateful())
}

// provider calls the payment provider's role.
func (c Config) provider() payment.Provider {
	address, err := AddressOf(c.Address, psp.Name)
	if err != nil {
		return payment.Provider{}
	}
	calls := psp.NewClient(address, c.Client.Dial)
	return payment.Provider{
		Charge: func(ctx context.Context, key string, p payment.Pending) (event.Event, error) {
			entry, err := calls.Charge(ctx, psp.Charge{Key: key, AmountMinor: p.AmountMinor, Currency: p.Currency, Method: p.Method})
			switch {
			case err != nil:
				return nil, err
			case entry.Status == psp.Charged:
				return payment.Charged{AmountMinor: entry.AmountMinor, Reference: entry.Reference}, nil
			case entry.Status == psp.Voided:
				return payment.Refused{Code: psp.Voided}, nil
			}
			return payment.Refused{Code: entry.Code}, nil
		},
		Void: func(ctx context.Context, key string) (event.Event, error) {
			entry, err := calls.Void(ctx, key)
			if err != nil {
				return nil, err
			}
			return payment.Voided{AmountMinor: entry.RefundedMinor, Reference: entry.Reference}, nil
		},
	}
}

// Run runs the roles until ctx ends, then returns nil; or until one of them cannot go on,
// which ends the others.
func Run(ctx context.Context, config Config) error {
	config = config.withDefaults()
	if err := config.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wait sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	for _, role := range config.Roles {
		wait.Go(func() {
			if err := config.run(ctx, role); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			cancel() // one for all: a shop that lacks a role looks as if it worked
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// run runs one role.
func (c Config) run(ctx context.Context, role string) error {
	address, err := AddressOf(c.Address, role)
	if err != nil {
		return err
	}
	logger := c.Logger.With("role", role)
	if role == psp.Name {
		return psp.New(psp.Config{State: c.StateOf(role), Address: address, Listen: c.Listen, Rules: psp.Rules{LimitMinor: c.PSPLimitMinor}, Logger: logger}).Run(ctx)
	}
	clientConfig := c.Client
	clientConfig.ClientID, clientConfig.Logger = "shop-"+role, logger
	log, err := client.New(clientConfig)
	if err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	defer log.Close()
	if role == event.Gateway {
		return c.runGateway(ctx, log, address, logger)
	}
	definition, err := c.Definition(role)
	if err != nil {
		return err
	}
	run := framework.Config{
		Client: log, Topics: Topics(), State: c.StateOf(role), Address: address, Listen: c.Listen, Now: c.Now, Logger: logger,
	}
	if role == event.Inventory {
		run.First = inventory.Opening(rules(), c.Opening)
	}
	service := framework.New(definition, run)
	switch role {
	case event.Inventory:
		inventory.Serve(service, rules())
	case event.Query:
		query.Serve(service, c.Now)
	}
	return service.Run(ctx)
}

func (c Config) runGateway(ctx context.Context, log *client.Client, address string, logger *slog.Logger) error {
	var behind []gateway.Service
	for _, role := range append(Stateful(), psp.Name) {
		roleAddress, err := AddressOf(c.Address, role)
		if err != nil {
			return err
		}
		behind = append(behind, gateway.Service{Name: role, Address: roleAddress})
	}
	g, err := gateway.New(gateway.Config{
		Client: log, Topics: Topics(), Services: behind, Currency: c.Currency,
		Address: address, Listen: c.Listen, Dial: c.Client.Dial, Now: c.Now, Logger: logger,
	})
	if err != nil {
		return err
	}
	return g.Run(ctx)
}
