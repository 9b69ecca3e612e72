package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// readyEvery is how often a starting node is asked whether it is ready.
	readyEvery = 25 * time.Millisecond
	// maxReasonBytes bounds how much of an answer is read.
	maxReasonBytes = 4 << 10
)

// waitReady returns when every node says that it is ready.
func (l *localCluster) waitReady(ctx context.Context) error {
	for node := 1; node <= l.Nodes; node++ {
		if err := waitReady(ctx, l.http(node)); err != nil {
			return fmt.Errorf("wait for node %d: %w", node, err)
		}
	}
	return nil
}

// waitReady asks a node's /health/ready until it says yes or ctx ends; then the
// error has the last reason.
func waitReady(ctx context.Context, address string) error {
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	for {
		reason := readiness(ctx, address)
		if reason == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), reason)
		case <-ticker.C:
		}
	}
}

// readiness asks once; nil is ready.
func readiness(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health/ready", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxReasonBytes))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", address, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", address, strings.TrimSpace(string(body)))
	}
	return nil
}

func joinAddresses(addresses []string) string { return strings.Join(addresses, ",") }
