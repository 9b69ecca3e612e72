package main

import (
	"context"
	"errors"

	"github.com/stela-db/stela/client"
)

// A disk is the log of a node that is not running.
type disk struct{}

var errDisk = errors.New("no disk yet")

func openDisk(string) (*disk, error) { return nil, errDisk }

func (*disk) Cut(context.Context, ...string) (client.Cut, error) { return nil, errDisk }

func (*disk) Replay(context.Context, client.ReplayRequest) error { return errDisk }

func (*disk) close() {}
