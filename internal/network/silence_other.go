//go:build !linux

package network

import (
	"net"
	"time"
)

// LimitSilence does nothing here: the system decides when a connection is dead.
func LimitSilence(net.Conn, time.Duration) error { return nil }
