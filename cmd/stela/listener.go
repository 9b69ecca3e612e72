package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// A listener is one value of --kafka: [name://]bind[,advertised].
type listener struct {
	Name       string
	Bind       string
	Advertised string // empty: the same as Bind
}

func parseListener(text string) (listener, error) {
	form := "use [name://]host:port[,advertised-host:port]"
	var l listener
	rest := text
	if name, after, ok := strings.Cut(text, "://"); ok {
		if name == "" {
			return l, fmt.Errorf("listener %q has an empty name; %s", text, form)
		}
		l.Name, rest = name, after
	}
	bind, advertised, both := strings.Cut(rest, ",")
	if err := checkAddress(bind); err != nil {
		return l, fmt.Errorf("listener %q: %w; %s", text, err, form)
	}
	l.Bind = bind
	if !both {
		return l, nil
	}
	if err := checkAddress(advertised); err != nil {
		return l, fmt.Errorf("listener %q: advertised address: %w; %s", text, err, form)
	}
	host, _, _ := net.SplitHostPort(advertised)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return l, fmt.Errorf("listener %q: clients cannot connect to the advertised host %q; name one that they can reach", text, host)
	}
	l.Advertised = advertised
	return l, nil
}

// checkAddress accepts host:port with a numeric port; the host may be empty.
func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q of %q is not a number from 0 to 65535", port, address)
	} else if strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("port %q of %q is written strangely", port, address)
	}
	return nil
}

// parsePeers reads "1=host:port,2=host:port"; several texts add up.
func parsePeers(texts []string) (map[int32]string, error) {
	peers := map[int32]string{}
	for _, text := range texts {
		for pair := range strings.SplitSeq(text, ",") {
			if pair = strings.TrimSpace(pair); pair == "" {
				continue
			}
			id, address, ok := strings.Cut(pair, "=")
			node, err := strconv.ParseInt(strings.TrimSpace(id), 10, 32)
			if !ok || err != nil || node < 0 {
				return nil, fmt.Errorf("peer %q is not node=host:port", pair)
			}
			if err := checkAddress(address); err != nil {
				return nil, fmt.Errorf("peer %q: %w", pair, err)
			}
			if _, twice := peers[int32(node)]; twice {
				return nil, fmt.Errorf("node %d is named twice", node)
			}
			peers[int32(node)] = address
		}
	}
	return peers, nil
}

// formatPeers is the inverse of parsePeers, nodes in order.
func formatPeers(peers map[int32]string) string {
	nodes := make([]int32, 0, len(peers))
	for node := range peers {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	pairs := make([]string, len(nodes))
	for i, node := range nodes {
		pairs[i] = fmt.Sprintf("%d=%s", node, peers[node])
	}
	return strings.Join(pairs, ",")
}
