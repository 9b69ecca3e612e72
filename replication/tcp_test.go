package replication

import (
	"net"
	"testing"

	"go.uber.org/goleak"
)

// TestTCP runs a cluster over the operating system's network, in real time.
func TestTCP(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("cluster", func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.tcp = true
		for node := range c.peers {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c.peers[node] = listener.Addr().String()
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
		}
		c.startAll()
		want := c.fill(1, "small", 50, nil)
		want = c.large(1, "large", 10, want)
		c.agree(1, want)
		old := c.leader(1)
		old.stop()
		want = c.fill(1, "without", 5, want)
		old.start()
		c.agree(1, want)
		c.sameLogs(1)
	})
}
