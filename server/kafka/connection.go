package kafka

import (
	"net"

	"github.com/stela-db/stela/internal/metrics"
)

type api struct{}

func serve(*metrics.Kafka) []api { return nil }

type connection struct{ net.Conn }

func newConnection(s *Server, listener *Bound, conn net.Conn) *connection { return &connection{conn} }
func (c *connection) run()                                               {}
func (c *connection) close()                                             { _ = c.Close() }
