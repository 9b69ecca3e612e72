package process

import (
	"fmt"
	"net"
	"strconv"
)

// maxPort is the last TCP port.
const maxPort = 65535

// FreePorts returns the first port at or after start from which count ports in
// a row are free on host, looking at count ports at a time. Somebody else may take them before
// they are used.
func FreePorts(host string, start, count int) (int, error) {
	for first := start; first+count-1 <= maxPort; first += count {
		if allFree(host, first, count) {
			return first, nil
		}
	}
	return 0, fmt.Errorf("find %d free ports in a row on %s from %d on: none", count, host, start)
}

func allFree(host string, first, count int) bool {
	for port := first; port < first+count; port++ {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		_ = listener.Close() // It only asked whether the port is free.
	}
	return true
}
