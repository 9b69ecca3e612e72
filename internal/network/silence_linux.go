package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), which package syscall does not name.
const tcpUserTimeout = 18

// LimitSilence has a TCP connection end when what was sent is not acknowledged, or not read, for so long. Without it the
// system goes on for a quarter of an hour. Any other connection stays as it is.
func LimitSilence(conn net.Conn, limit time.Duration) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("limit the silence of a connection: %w", err)
	}
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		failed = os.NewSyscallError("setsockopt",
			syscall.SetsockoptInt(int(descriptor), syscall.IPPROTO_TCP, tcpUserTimeout, int(limit.Milliseconds())))
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("limit the silence of a connection: %w", err)
	}
	return nil
}
