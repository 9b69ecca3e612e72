package main

import (
	"strings"

	"github.com/stela-db/stela/client"
)

// library returns the Go client for both doors. The caller closes it.
func (g *general) library() (*client.Client, error) {
	cl, err := client.New(client.Config{Brokers: g.Brokers, HTTP: strings.Split(g.HTTP, ","), ClientID: "stela"})
	if err != nil {
		return nil, usage(err)
	}
	return cl, nil
}
