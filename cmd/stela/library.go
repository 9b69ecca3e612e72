package main

import (
	"strings"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
)

// libraryConfig returns the Go client's configuration of both doors.
func (g *general) libraryConfig() client.Config {
	return client.Config{Brokers: g.Brokers, HTTP: strings.Split(g.HTTP, ","), ClientID: "stela"}
}

// library returns the Go client for both doors. The caller closes it.
func (g *general) library() (*client.Client, error) {
	cl, err := client.New(g.libraryConfig())
	if err != nil {
		return nil, command.Usage(err)
	}
	return cl, nil
}
