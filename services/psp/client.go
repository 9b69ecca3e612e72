package psp

import (
	"context"
	"net/http"
	"net/url"

	"github.com/stela-db/stela/services/web"
)

// A Client calls the provider. Calls may be repeated: they are idempotent by key.
type Client struct{ web *web.Client }

// NewClient returns a client of the provider at address, "host:port".
func NewClient(address string, dial web.Dial) *Client {
	return &Client{web: web.NewClient(address, dial)}
}

// Charge charges, or says again what came of the first charge with this key.
func (c *Client) Charge(ctx context.Context, charge Charge) (Entry, error) {
	var entry Entry
	_, err := c.web.Do(ctx, web.Call{Method: http.MethodPost, Path: "/v1/charges", Body: charge, Into: &entry})
	return entry, err
}

// Void gives back what was charged with a key and lets nothing be charged any more.
func (c *Client) Void(ctx context.Context, key string) (Entry, error) {
	var entry Entry
	_, err := c.web.Do(ctx, web.Call{Method: http.MethodPost, Path: "/v1/voids", Body: map[string]string{"key": key}, Into: &entry})
	return entry, err
}

// Ledger returns the entries after a key ("" is the beginning) and the totals of all.
func (c *Client) Ledger(ctx context.Context, after string) (Ledger, error) {
	var page Ledger
	_, err := c.web.Do(ctx, web.Call{Path: "/v1/ledger?after=" + url.QueryEscape(after), Into: &page})
	return page, err
}

// SetMode sets what happens to new charges: ModeOK or ModeDecline.
func (c *Client) SetMode(ctx context.Context, mode string) error {
	_, err := c.web.Do(ctx, web.Call{Method: http.MethodPut, Path: "/v1/mode", Body: map[string]string{"mode": mode}})
	return err
}
