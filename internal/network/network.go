// Package network is the seam through which a node reaches others: the operating
// system's TCP in a real process, pipes in virtual time in a simulation.
//
// It knows how to listen, dial and (Pipes) lose; it does not know what is said.
package network

import (
	"context"
	"fmt"
	"net"
)

// A Network listens and dials. Addresses are "host:port".
type Network struct {
	// Listen opens a listener; port 0 picks a free port.
	Listen func(address string) (net.Listener, error)
	// Dial connects, or fails when ctx ends.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// TCP returns the operating system's network.
func TCP() Network {
	var dialer net.Dialer
	return Network{
		Listen: func(address string) (net.Listener, error) {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return nil, fmt.Errorf("listen on %s: %w", address, err)
			}
			return listener, nil
		},
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, fmt.Errorf("connect to %s: %w", address, err)
			}
			return conn, nil
		},
	}
}
