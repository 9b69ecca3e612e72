package kafka

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/server/meta"
)

// A Listener is an address at which a node takes Kafka clients.
type Listener struct {
	// Name tells listeners apart: a client that came through a listener is told the addresses
	// that all brokers have under the same name.
	Name string
	// Bind is where to listen, host:port; port 0 picks a free one.
	Bind string
	// Advertised is what clients are told, host:port; empty: Bind. Its port may be left out or 0: that of Bind.
	Advertised string
}

// A Bound is a Listener that listens.
type Bound struct {
	net.Listener
	// Advertised is what the broker has to register for it. An empty Host means that
	// every client is told the address at which it reached this node.
	Advertised meta.Listener
}

// Listen binds all listeners, or none and says why. It is apart from NewServer so that
// a broker can be made that knows the ports.
func Listen(network network.Network, listeners []Listener) ([]Bound, error) {
	var bound []Bound
	fail := func(err error) ([]Bound, error) {
		for _, b := range bound {
			err = errors.Join(err, b.Close())
		}
		return nil, err
	}
	names := map[string]bool{}
	for _, l := range listeners {
		if names[l.Name] {
			return fail(fmt.Errorf("kafka listener %q is there twice", l.Name))
		}
		names[l.Name] = true
		accepting, err := network.Listen(l.Bind)
		if err != nil {
			return fail(fmt.Errorf("kafka listener %q: %w", l.Name, err))
		}
		bound = append(bound, Bound{Listener: accepting})
		if bound[len(bound)-1].Advertised, err = advertise(l, accepting.Addr()); err != nil {
			return fail(err)
		}
	}
	return bound, nil
}

// advertise returns what clients are told of l, which listens at address.
func advertise(l Listener, address net.Addr) (meta.Listener, error) {
	host, port, err := splitAddress(l.Bind)
	if err != nil {
		return meta.Listener{}, fmt.Errorf("kafka listener %q: bind address: %w", l.Name, err)
	}
	if _, boundPort, err := splitAddress(address.String()); err == nil && boundPort != 0 {
		port = boundPort
	}
	if l.Advertised != "" {
		advertisedHost, advertisedPort, err := splitAddress(l.Advertised)
		if err != nil {
			return meta.Listener{}, fmt.Errorf("kafka listener %q: advertised address: %w", l.Name, err)
		}
		host = advertisedHost
		if advertisedPort != 0 {
			port = advertisedPort
		}
	} else if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return meta.Listener{Name: l.Name, Host: host, Port: port}, nil
}

// splitAddress splits host:port; the port may be missing, which gives 0.
func splitAddress(address string) (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		var missing *net.AddrError
		if errors.As(err, &missing) && missing.Err == "missing port in address" {
			return address, 0, nil
		}
		return "", 0, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port of %q is not a number up to 65535", address)
	}
	return host, int32(number), nil
}
