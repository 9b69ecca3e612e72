package network_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/internal/network"
)

func pair(t *testing.T, pipes *network.Pipes) (near, far net.Conn) {
	t.Helper()
	listener, err := pipes.Host("b").Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	near, err = pipes.Host("a").Dial(context.Background(), "b:1")
	if err != nil {
		t.Fatal(err)
	}
	far, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestPipesCarryBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, network.NewPipes())
		go func() {
			_, _ = near.Write(make([]byte, 3<<20)) // more than a buffer holds
			_ = near.Close()
		}()
		n, err := io.Copy(io.Discard, far)
		if n != 3<<20 || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
	})
}

func TestPipesBlockAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		near, far := pair(t, pipes)
		pipes.Block("a", "b")
		if _, err := near.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = far.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read over a blocked link: %v", err)
		}
		_ = far.SetReadDeadline(time.Time{})
		pipes.Heal()
		if n, err := far.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("read after heal: %d, %v", n, err)
		}
	})
}

func TestPipesCrashRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		near, _ := pair(t, pipes)
		pipes.Crash("b")
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("read from a crashed host: %v", err)
		}
		if _, err := pipes.Host("a").Dial(context.Background(), "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial a crashed host: %v", err)
		}
	})
}

func TestPipesLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := network.NewPipes()
		near, far := pair(t, pipes)
		pipes.SetLatency(3 * time.Millisecond)
		start := time.Now()
		_, _ = near.Write([]byte("x"))
		if _, err := far.Read(make([]byte, 1)); err != nil || time.Since(start) != 3*time.Millisecond {
			t.Fatalf("arrived after %v, %v", time.Since(start), err)
		}
	})
}
