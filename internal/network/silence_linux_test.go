package network

import (
	"net"
	"syscall"
	"testing"
	"time"
)

func TestLimitSilence(t *testing.T) {
	tcp := TCP()
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := tcp.Dial(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := LimitSilence(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(descriptor uintptr) {
		if ms, err := syscall.GetsockoptInt(int(descriptor), syscall.IPPROTO_TCP, tcpUserTimeout); err != nil || ms != 5000 {
			t.Errorf("%d ms, %v", ms, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	pipe, other := net.Pipe()
	defer func() { _, _ = pipe.Close(), other.Close() }()
	if err := LimitSilence(pipe, time.Second); err != nil {
		t.Error(err)
	}
}
