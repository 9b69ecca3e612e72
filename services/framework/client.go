package framework

import (
	"context"
	"net/http"
	"net/url"

	"github.com/stela-db/stela/services/web"
)

// A Client calls the operations of a running service.
type Client struct{ web *web.Client }

// NewClient returns a client of the service at address, "host:port".
func NewClient(address string, dial web.Dial) *Client {
	return &Client{web: web.NewClient(address, dial)}
}

// Alive returns nil when something serves there. It does not wait for the log.
func (c *Client) Alive(ctx context.Context) error {
	_, err := c.web.Do(ctx, web.Call{Path: "/healthz"})
	return err
}

// Status returns what the service does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	_, err := c.web.Do(ctx, web.Call{Path: "/ops/status", Into: &status})
	return status, err
}

// Digest returns the digest of its state, at a cut if that is not "".
func (c *Client) Digest(ctx context.Context, cut string) (DigestReport, error) {
	var report DigestReport
	_, err := c.web.Do(ctx, web.Call{Path: "/ops/state/digest?cut=" + url.QueryEscape(cut), Into: &report})
	return report, err
}

// StartRebuild has the service rebuild its state beside the live one, and use it if it
// is equal and install is set.
func (c *Client) StartRebuild(ctx context.Context, install bool) error {
	options := map[string]string{"switch": "manual"}
	if install {
		options["switch"] = "when-equal"
	}
	_, err := c.web.Do(ctx, web.Call{Method: http.MethodPost, Path: "/ops/rebuild", Body: options})
	return err
}

// Rebuild returns how the rebuild is that was started last.
func (c *Client) Rebuild(ctx context.Context) (RebuildReport, error) {
	var report RebuildReport
	_, err := c.web.Do(ctx, web.Call{Path: "/ops/rebuild", Into: &report})
	return report, err
}
